package io.github.guestmemfd.bench;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.HolderKind;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.jctools.maps.NonBlockingHashMapLong;
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
 * Taking and dropping a reference on a random present page of a 1 GiB guest, beside what it costs
 * at the least (two atomic adds on an element of one flat array) and beside the two maps of counted
 * objects that one would take off the shelf.
 *
 * <p>Compare the rows of one run with each other only.
 */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 5, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(3)
@State(Scope.Benchmark)
public class GrabPutBenchmark {
  private static final int PAGES = 1 << 18;
  private static final VarHandle LONGS = MethodHandles.arrayElementVarHandle(long[].class);

  /** A page as an object with a count that is never raised from 0. */
  static final class CountedPage {
    final AtomicInteger refs = new AtomicInteger(1);

    boolean tryGet() {
      for (; ; ) {
        int n = refs.get();
        if (n == 0) {
          return false;
        }
        if (refs.compareAndSet(n, n + 1)) {
          return true;
        }
      }
    }

    int put() {
      return refs.decrementAndGet();
    }
  }

  /** Random pages, the same sequence for all: xorshift64. */
  @State(Scope.Thread)
  public static class Pages {
    private long x = 0x9E3779B97F4A7C15L ^ Thread.currentThread().getId();

    int next() {
      x ^= x << 13;
      x ^= x >>> 7;
      x ^= x << 17;
      return (int) (x >>> 40) & (PAGES - 1);
    }
  }

  private final long[] flat = new long[PAGES];
  private final NonBlockingHashMapLong<CountedPage> nonBlocking = new NonBlockingHashMapLong<>();
  private final ConcurrentHashMap<Long, CountedPage> concurrent = new ConcurrentHashMap<>();
  private HostMemory host;
  private GuestMemfd memfd;

  @Setup
  public void open() {
    host = HostMemory.metadataOnly((long) PAGES << 12);
    memfd =
        GuestMemfd.builder(host)
            .size((long) PAGES << 12)
            .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
            .build();
    for (int i = 0; i < PAGES; i++) {
      memfd.put(memfd.tryGrab((long) i << 12, HolderKind.SAFE), HolderKind.SAFE);
      nonBlocking.put((long) i, new CountedPage());
      concurrent.put((long) i, new CountedPage());
    }
  }

  @TearDown
  public void close() {
    memfd.close();
    host.close();
  }

  @Benchmark
  public long twoAtomics(Pages pages) {
    int page = pages.next();
    long before = (long) LONGS.getAndAdd(flat, page, 1L);
    return before + (long) LONGS.getAndAdd(flat, page, -1L);
  }

  @Benchmark
  public int grabPut(Pages pages) {
    int pfn = memfd.tryGrab((long) pages.next() << 12, HolderKind.SAFE);
    memfd.put(pfn, HolderKind.SAFE);
    return pfn;
  }

  @Benchmark
  public int nonBlockingHashMapLong(Pages pages) {
    CountedPage page = nonBlocking.get((long) pages.next());
    return page.tryGet() ? page.put() : -1;
  }

  @Benchmark
  public int concurrentHashMap(Pages pages) {
    CountedPage page = concurrent.get((long) pages.next());
    return page.tryGet() ? page.put() : -1;
  }
}
