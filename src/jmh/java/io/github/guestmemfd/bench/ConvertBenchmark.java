package io.github.guestmemfd.bench;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
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

/** Converting there and back: one page, 2 MiB of present pages, and 1 TiB of untouched ones. */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 5, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(3)
@State(Scope.Benchmark)
public class ConvertBenchmark {
  private static final long PAGE = 4096;
  private static final long RANGE = 2L << 20;
  private static final long UNTOUCHED = 1L << 40;

  private HostMemory host;
  private GuestMemfd memfd;

  @Setup
  public void open() {
    host = HostMemory.metadataOnly(1L << 30);
    memfd =
        GuestMemfd.builder(host)
            .size(2 * UNTOUCHED)
            .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
            .build();
    memfd.allocate(0, RANGE);
    for (long page = 0; page < RANGE; page += PAGE) {
      memfd.grab(page).close();
    }
  }

  @TearDown
  public void close() {
    memfd.close();
    host.close();
  }

  private Errno thereAndBack(long offset, long length) {
    Errno there = memfd.tryMakeInaccessible(offset, length);
    return there == Errno.OK ? memfd.tryMakeAccessible(offset, length) : there;
  }

  @Benchmark
  public Errno onePage() {
    return thereAndBack(PAGE, PAGE);
  }

  @Benchmark
  public Errno presentPages() {
    return thereAndBack(0, RANGE);
  }

  @Benchmark
  public Errno untouchedTebibyte() {
    return thereAndBack(UNTOUCHED, UNTOUCHED);
  }
}
