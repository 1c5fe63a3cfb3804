package io.github.guestmemfd.bench;

import io.github.guestmemfd.Folio;
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
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * Taking and dropping a reference on a random present page, beside what it costs at the least (two
 * atomic adds on an element of one flat array) and beside the two maps of counted objects that one
 * would take off the shelf. 64 pages stay in the cache of a core; 262,144 are 1 GiB, 16,777,216 are
 * 64 GiB.
 *
 * <p>Compare the rows of one run with each other only.
 */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 4, time = 400, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 5, time = 400, timeUnit = TimeUnit.MILLISECONDS)
@Fork(value = 2, jvmArgsAppend = "-Xmx4g")
@State(Scope.Benchmark)
public class GrabPutBenchmark {
  private static final VarHandle LONGS = MethodHandles.arrayElementVarHandle(long[].class);

  /** How many pages. */
  @Param({"64", "262144"})
  public int pages;

  /** An array with a count for each page. */
  @State(Scope.Benchmark)
  public static class Flat {
    private long[] counts;

    @Setup
    public void open(GrabPutBenchmark size) {
      counts = new long[size.pages];
    }
  }

  /** A file with all pages present. */
  @State(Scope.Benchmark)
  public static class PresentFile {
    private HostMemory host;
    GuestMemfd memfd;

    @Setup
    public void open(GrabPutBenchmark size) {
      int pages = size.pages;
      host = HostMemory.metadataOnly((long) pages << 12);
      memfd =
          GuestMemfd.builder(host)
              .size((long) pages << 12)
              .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
              .build();
      for (int i = 0; i < pages; i++) {
        memfd.put(memfd.tryGrab((long) i << 12, HolderKind.SAFE), HolderKind.SAFE);
      }
    }

    @TearDown
    public void close() {
      memfd.close();
      host.close();
    }
  }

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

  /** The map of JCTools. */
  @State(Scope.Benchmark)
  public static class NonBlocking {
    private final NonBlockingHashMapLong<CountedPage> map = new NonBlockingHashMapLong<>();

    @Setup
    public void open(GrabPutBenchmark size) {
      for (int i = 0; i < size.pages; i++) {
        map.put((long) i, new CountedPage());
      }
    }
  }

  /** The map of the JDK. */
  @State(Scope.Benchmark)
  public static class Concurrent {
    private final ConcurrentHashMap<Long, CountedPage> map = new ConcurrentHashMap<>();

    @Setup
    public void open(GrabPutBenchmark size) {
      for (int i = 0; i < size.pages; i++) {
        map.put((long) i, new CountedPage());
      }
    }
  }

  @Benchmark
  public long twoAtomics(Flat flat, Pages random) {
    int page = random.next(pages);
    long before = (long) LONGS.getAndAdd(flat.counts, page, 1L);
    return before + (long) LONGS.getAndAdd(flat.counts, page, -1L);
  }

  @Benchmark
  public int grabPut(PresentFile file, Pages random) {
    int pfn = file.memfd.tryGrab((long) random.next(pages) << 12, HolderKind.SAFE);
    file.memfd.put(pfn, HolderKind.SAFE);
    return pfn;
  }

  @Benchmark
  public long grabClose(PresentFile file, Pages random) {
    try (Folio folio = file.memfd.grab((long) random.next(pages) << 12, HolderKind.SAFE)) {
      return folio.offset();
    }
  }

  @Benchmark
  public int nonBlockingHashMapLong(NonBlocking peer, Pages random) {
    CountedPage page = peer.map.get((long) random.next(pages));
    return page.tryGet() ? page.put() : -1;
  }

  @Benchmark
  public int concurrentHashMap(Concurrent peer, Pages random) {
    CountedPage page = peer.map.get((long) random.next(pages));
    return page.tryGet() ? page.put() : -1;
  }
}
