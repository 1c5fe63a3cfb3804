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
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * Bytes through a mapping of a 1 GiB guest, beside the same through one raw buffer of that size.
 *
 * <p>Compare the rows of one run with each other only. Needs {@code -XX:MaxDirectMemorySize=3g}.
 */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 5, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(value = 3, jvmArgsAppend = "-XX:MaxDirectMemorySize=3g")
@State(Scope.Benchmark)
public class MappingBenchmark {
  private static final int SIZE = 1 << 30;
  private static final int MIB = 1 << 20;

  private final byte[] bytes = new byte[MIB];
  private ByteBuffer raw;
  private HostMemory host;
  private GuestMemfd memfd;
  private HostMapping map;

  @Setup
  public void open() {
    raw = ByteBuffer.allocateDirect(SIZE).order(ByteOrder.LITTLE_ENDIAN);
    host = HostMemory.ofBytes(SIZE);
    memfd =
        GuestMemfd.builder(host).size(SIZE).flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED).build();
    map = memfd.mmap(0, SIZE, Protection.READ, Protection.WRITE);
    for (int page = 0; page < SIZE; page += 4096) {
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

  private static int random(GrabPutBenchmark.Pages pages) {
    int page = pages.next();
    return (page << 12) | ((page * 72) & 0xff8);
  }

  @Benchmark
  public long readRaw(GrabPutBenchmark.Pages pages) {
    return raw.getLong(random(pages));
  }

  @Benchmark
  public long readMapped(GrabPutBenchmark.Pages pages) {
    return map.getLong(random(pages));
  }

  @Benchmark
  public void writeRaw(GrabPutBenchmark.Pages pages) {
    raw.putLong(random(pages), 1);
  }

  @Benchmark
  public void writeMapped(GrabPutBenchmark.Pages pages) {
    map.putLong(random(pages), 1);
  }

  @Benchmark
  public byte[] copyRaw(GrabPutBenchmark.Pages pages) {
    raw.get((pages.next() << 12) & ~(MIB - 1), bytes, 0, MIB);
    return bytes;
  }

  @Benchmark
  public byte[] copyMapped(GrabPutBenchmark.Pages pages) {
    map.get(((long) pages.next() << 12) & ~(MIB - 1), bytes, 0, MIB);
    return bytes;
  }
}
