package io.github.guestmemfd.bench;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.HolderKind;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
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
import org.openjdk.jmh.annotations.Threads;
import org.openjdk.jmh.annotations.Warmup;

/**
 * Grab and put by one thread, by two threads on neighbouring pages, and by two on one page:
 * operations of all threads in a microsecond.
 */
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 4, time = 400, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 400, timeUnit = TimeUnit.MILLISECONDS)
@Fork(2)
@State(Scope.Benchmark)
public class TwoThreadsBenchmark {
  private HostMemory host;
  private GuestMemfd memfd;
  private final AtomicInteger threads = new AtomicInteger();

  /** A page of each thread. */
  @State(Scope.Thread)
  public static class Own {
    private long offset;

    @Setup
    public void open(TwoThreadsBenchmark all) {
      offset = (long) (all.threads.getAndIncrement() & 63) << 12;
    }
  }

  @Setup
  public void open() {
    host = HostMemory.metadataOnly(1 << 20);
    memfd =
        GuestMemfd.builder(host)
            .size(1 << 20)
            .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
            .build();
    for (int i = 0; i < 256; i++) {
      memfd.put(memfd.tryGrab((long) i << 12, HolderKind.SAFE), HolderKind.SAFE);
    }
  }

  @TearDown
  public void close() {
    memfd.close();
    host.close();
  }

  private int grabPut(long offset) {
    int pfn = memfd.tryGrab(offset, HolderKind.SAFE);
    memfd.put(pfn, HolderKind.SAFE);
    return pfn;
  }

  @Benchmark
  @Threads(1)
  public int oneThread(Own own) {
    return grabPut(own.offset);
  }

  @Benchmark
  @Threads(2)
  public int neighbours(Own own) {
    return grabPut(own.offset);
  }

  @Benchmark
  @Threads(2)
  public int onePage(Own own) {
    return grabPut(own.offset & 0);
  }
}
