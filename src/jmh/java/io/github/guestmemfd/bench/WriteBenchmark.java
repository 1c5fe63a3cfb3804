package io.github.guestmemfd.bench;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Protection;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * 16 MiB of initial content into a file that has no page yet: by write, by stores through a
 * mapping, 8 bytes at a time, and by bulk copies through it.
 */
@BenchmarkMode(Mode.SingleShotTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 40)
@Measurement(iterations = 40)
@Fork(value = 2, jvmArgsAppend = "-XX:MaxDirectMemorySize=1g")
@State(Scope.Benchmark)
public class WriteBenchmark {
  private static final int BYTES = 16 << 20;

  private final ByteBuffer content =
      ByteBuffer.allocateDirect(BYTES).order(ByteOrder.LITTLE_ENDIAN);
  private HostMemory host;
  private GuestMemfd memfd;
  private HostMapping map;

  @Setup
  public void makeHost() {
    host = HostMemory.ofBytes(BYTES);
  }

  @Setup(Level.Invocation)
  public void open() {
    memfd =
        GuestMemfd.builder(host)
            .size(BYTES)
            .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED, CreateFlag.WRITE)
            .build();
    map = memfd.mmap(0, BYTES, Protection.READ, Protection.WRITE);
    content.clear();
  }

  @TearDown(Level.Invocation)
  public void closeFile() {
    map.close();
    memfd.close();
  }

  @TearDown
  public void closeHost() {
    host.close();
  }

  @Benchmark
  public int write() {
    return memfd.write(0, content);
  }

  @Benchmark
  public void storeMapped() {
    for (int at = 0; at < BYTES; at += Long.BYTES) {
      map.putLong(at, content.getLong(at));
    }
  }

  @Benchmark
  public void copyMapped() {
    map.put(0, content);
  }
}
