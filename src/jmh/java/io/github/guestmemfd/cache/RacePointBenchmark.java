package io.github.guestmemfd.cache;

import io.github.guestmemfd.cache.PageCache.Wanted;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.RaceHook;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
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
import org.openjdk.jmh.annotations.Warmup;

/**
 * What the three race points of a lookup cost: a reference on a random present page taken and
 * dropped, by the shipped lookup without a hook and with one that does nothing, and by a copy of
 * the lookup in which the race points have been left out.
 *
 * <p>The small guest lies in the first-level cache, where a branch more would show; the large one,
 * of 1 GiB, is that of the other benchmarks. Compare the rows of one run with each other only.
 */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 5, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(3)
public class RacePointBenchmark {
  private static final long UNIT = Counts.SAFE_REF;

  /** Random pages, the same sequence for all: xorshift64. */
  @State(Scope.Thread)
  public static class Pages {
    private long x = 0x9E3779B97F4A7C15L ^ Thread.currentThread().getId();

    int next(int pages) {
      x ^= x << 13;
      x ^= x >>> 7;
      x ^= x << 17;
      return (int) (x >>> 40) & (pages - 1);
    }
  }

  /** A file, every page of which is present. A benchmark that uses one kind makes no other. */
  @State(Scope.Benchmark)
  public abstract static class Guest {
    /** How many; a power of two. */
    @Param({"64", "262144"})
    public int pages;

    FrameTable frames;
    PageCache cache;

    @Setup
    public void open() {
      frames = new FrameTable(pages, IdleStrategy.spinThenPark());
      cache =
          new PageCache(
              pages,
              false,
              frames,
              null,
              frames.newOwner(pfn -> {}),
              IdleStrategy.spinThenPark(),
              hook(),
              null,
              false,
              () -> {});
      for (int i = 0; i < pages; i++) {
        if (!cache.fill(i, cache.slot(i), false)) {
          throw new IllegalStateException("no frame for page " + i);
        }
      }
    }

    @Nullable RaceHook hook() {
      return null;
    }

    int grabPut(int page) {
      int pfn = SlotWord.pfn(cache.lookup(page, UNIT, Wanted.ANY));
      frames.put(pfn, UNIT);
      return pfn;
    }
  }

  @State(Scope.Benchmark)
  public static class NoHook extends Guest {}

  @State(Scope.Benchmark)
  public static class EmptyHook extends Guest {
    @Override
    RaceHook hook() {
      return (point, index) -> {};
    }
  }

  @State(Scope.Benchmark)
  public static class NoRacePoints extends Guest {
    private Copy copy;

    @Setup // after that of the superclass
    public void makeCopy() {
      copy = new Copy(cache, pages, frames);
    }

    @Override
    int grabPut(int page) {
      int pfn = SlotWord.pfn(copy.lookup(page, UNIT, Wanted.ANY));
      frames.put(pfn, UNIT);
      return pfn;
    }
  }

  /** {@link PageCache} and its lookup, without the race points. */
  private static final class Copy {
    private final FrameTable frames;
    private final SparseWords slots;

    Copy(PageCache cache, int pages, FrameTable frames) {
      this.frames = frames;
      this.slots = new SparseWords(pages, SlotWord.PFN_MASK, 0);
      for (int i = 0; i < pages; i++) {
        slots.compareAndSet(i, 0, cache.slot(i));
      }
    }

    long lookup(long index, long unit, Wanted wanted) {
      long[] leaf = slots.leaf(index);
      for (; ; ) {
        long slot = leaf == null ? slots.get(index) : SparseWords.getVolatile(leaf, index);
        if (!PageCache.isHit(slot, wanted)) {
          return slot;
        }
        int pfn = SlotWord.pfn(slot);
        if (frames.tryGet(pfn, unit)) {
          boolean hit = false;
          try {
            if ((leaf == null ? slots.get(index) : SparseWords.getVolatile(leaf, index)) == slot) {
              hit = true;
              return slot;
            }
          } finally {
            if (!hit) {
              frames.put(pfn, unit);
            }
          }
        }
      }
    }
  }

  @Benchmark
  public int noHook(NoHook guest, Pages random) {
    return guest.grabPut(random.next(guest.pages));
  }

  @Benchmark
  public int emptyHook(EmptyHook guest, Pages random) {
    return guest.grabPut(random.next(guest.pages));
  }

  @Benchmark
  public int noRacePoints(NoRacePoints guest, Pages random) {
    return guest.grabPut(random.next(guest.pages));
  }
}
