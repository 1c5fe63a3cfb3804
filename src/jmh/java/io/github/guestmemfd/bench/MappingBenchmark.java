package io.github.guestmemfd.bench;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Protection;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * Accesses through a mapping whose pages are all mapped, beside the same on a raw direct buffer: 8
 * bytes of a random page, and 1 MiB.
 */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 4, time = 400, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 400, timeUnit = TimeUnit.MILLISECONDS)
@Fork(value = 2, jvmArgsAppend = "-XX:MaxDirectMemorySize=3g")
@State(Scope.Benchmark)
public class MappingBenchmark {
  private static final int MIB = 1 << 20;
  private static final int WINDOW_PAGES = 64;
  private static final int WINDOW_WRITES = 4096;

  /** How many pages: 64 stay in the cache of a core, 262,144 are 1 GiB. */
  @Param({"64", "262144"})
  public int pages;

  private final byte[] bytes = new byte[MIB];
  private ByteBuffer raw;
  private HostMemory host;
  private GuestMemfd memfd;
  private HostMapping map;

  @Setup
  public void open() {
    int size = Math.max(MIB, pages << 12);
    raw = ByteBuffer.allocateDirect(size).order(ByteOrder.LITTLE_ENDIAN);
    host = HostMemory.ofBytes(size);
    memfd =
        GuestMemfd.builder(host).size(size).flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED).build();
    map = memfd.mmap(0, size, Protection.READ, Protection.WRITE);
    for (int page = 0; page < size; page += 4096) {
      map.putLong(page, page);
      raw.putLong(page, page);
    }
  }

  @TearDown
  public void close() {
    map.close();
    memfd.close();
    host.close();
  }

  private long mebibyte(Pages random) {
    return ((long) random.next(pages) << 12) & -MIB;
  }

  @Benchmark
  public long readRaw(Pages random) {
    return raw.getLong((int) random.nextOffset(pages));
  }

  @Benchmark
  public long readMapped(Pages random) {
    return map.getLong(random.nextOffset(pages));
  }

  @Benchmark
  public void writeRaw(Pages random) {
    raw.putLong((int) random.nextOffset(pages), 1);
  }

  @Benchmark
  public void writeRawAndFence(Pages random) {
    raw.putLong((int) random.nextOffset(pages), 1);
    VarHandle.fullFence();
  }

  @Benchmark
  public void writeMapped(Pages random) {
    map.putLong(random.nextOffset(pages), 1);
  }

  /** Writes at random places of 256 KiB. */
  @Benchmark
  @OperationsPerInvocation(WINDOW_WRITES)
  public void writesRaw(Pages random) {
    for (int i = 0; i < WINDOW_WRITES; i++) {
      raw.putLong((int) random.nextOffset(WINDOW_PAGES), 1);
    }
  }

  /** The same through a window. */
  @Benchmark
  @OperationsPerInvocation(WINDOW_WRITES)
  public void writesInWindow(Pages random) {
    map.window(
        0,
        WINDOW_PAGES << 12,
        Protection.WRITE,
        (offset, bytes) -> {
          for (int i = 0; i < WINDOW_WRITES; i++) {
            bytes.putLong((int) random.nextOffset(WINDOW_PAGES), 1);
          }
        });
  }

  @Benchmark
  public byte[] copyRaw(Pages random) {
    raw.get((int) mebibyte(random), bytes, 0, MIB);
    return bytes;
  }

  @Benchmark
  public byte[] copyMapped(Pages random) {
    map.get(mebibyte(random), bytes, 0, MIB);
    return bytes;
  }
}
