package io.github.guestmemfd.cache;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;

/**
 * Hypothesis: a conversion that drains and waits finds no holder, even when another thread is
 * draining at the same time; the batch's reference is dropped once.
 *
 * <p>The hole looked for: both find the folio in its batch, and both drop the reference, the second
 * time that of the page cache.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t LruDrainTest}</pre>
 */
@JCStressTest
@Outcome(id = "1, 1", expect = ACCEPTABLE, desc = "Converts; the page cache's reference is left.")
@Outcome(expect = FORBIDDEN, desc = "A reference too many, or too few.")
@State
public class LruDrainTest {
  private static final long PATIENCE = 10_000_000_000L;

  private final LruBatches lru = new LruBatches(Frames.TABLE, 1, 8);
  private final int pfn = Frames.frame(Counts.CACHE_REF + Counts.REF);

  public LruDrainTest() {
    lru.add(pfn);
  }

  @Actor
  public void drain() {
    lru.drain();
  }

  @Actor
  public void convert(II_Result r) {
    lru.drain();
    Frames.run(
        () ->
            r.r1 =
                Frames.TABLE.awaitCounts(pfn, counts -> Counts.refs(counts) == 1, PATIENCE)
                    ? 1
                    : 0);
  }

  @Arbiter
  public void after(II_Result r) {
    r.r2 = Counts.refs(Frames.TABLE.counts(pfn));
    Frames.TABLE.put(pfn, Counts.CACHE_REF);
  }

  /** Broken: takes the folio out of its batch in two steps. */
  @JCStressTest
  @Outcome(id = "1, 1", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(
      id = {"0, 0", "1, 0"},
      expect = ACCEPTABLE_INTERESTING,
      desc = "Dropped twice.")
  @State
  public static class Twin {
    private final Frames.Word counts = new Frames.Word(2);
    private volatile boolean inBatch = true;

    private void drainOnce() {
      if (inBatch) {
        Frames.gap();
        inBatch = false;
        counts.add(-1);
      }
    }

    @Actor
    public void drain() {
      drainOnce();
    }

    @Actor
    public void convert(II_Result r) {
      drainOnce();
      while (counts.get() > 1) {
        Thread.onSpinWait();
      }
      r.r1 = counts.get() == 1 ? 1 : 0;
    }

    @Arbiter
    public void after(II_Result r) {
      r.r2 = (int) counts.get();
    }
  }
}
