package io.github.guestmemfd.cache;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.cache.PageCache.Wanted;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.I_Result;

/**
 * Hypothesis: who meets a folio in its slot can drain the reference that its LRU batch holds: a
 * conversion that locks the page, drains and looks finds the page cache's reference alone.
 *
 * <p>The hole looked for: the folio is in its slot, and not yet in the batch.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t LruFillTest}</pre>
 */
@JCStressTest
@Outcome(id = "0", expect = ACCEPTABLE, desc = "A hole still.")
@Outcome(id = "1", expect = ACCEPTABLE, desc = "The page cache's reference alone.")
@Outcome(expect = FORBIDDEN, desc = "A reference that could not be drained.")
@State
public class LruFillTest {
  private final LruBatches lru = new LruBatches(Frames.TABLE, 1, 8);
  private final PageCache cache = Pages.empty(1, lru);

  @Actor
  public void fill() {
    cache.fill(0, cache.slot(0), false);
  }

  @Actor
  public void convert(I_Result r) {
    r.r1 = refsAfterDrain(cache, lru);
  }

  @Arbiter
  public void free() {
    lru.drain();
    Pages.lock(cache, 0, 1);
    Pages.clear(cache);
  }

  private static int refsAfterDrain(PageCache cache, LruBatches lru) {
    Pages.lock(cache, 0, 1);
    int pfn = SlotWord.pfn(cache.slot(0));
    lru.drain();
    int refs = pfn == 0 ? 0 : Counts.refs(Frames.TABLE.counts(pfn));
    cache.unlock(0, 1);
    return refs;
  }

  /** Broken: takes the reference at once, and puts the folio into the batch later. */
  @JCStressTest
  @Outcome(
      id = {"0", "1"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "2", expect = ACCEPTABLE_INTERESTING, desc = "Could not be drained.")
  @State
  public static class Twin {
    private final LruBatches lru = new LruBatches(Frames.TABLE, 1, 8);
    private final PageCache cache = Pages.empty(1);

    @Actor
    public void fill() {
      cache.fill(0, cache.slot(0), false);
      long slot = cache.lookup(0, Counts.REF, Wanted.ANY);
      Frames.gap();
      if (Pages.isHit(slot)) {
        lru.add(SlotWord.pfn(slot));
      }
    }

    @Actor
    public void convert(I_Result r) {
      r.r1 = refsAfterDrain(cache, lru);
    }

    @Arbiter
    public void free() {
      lru.drain();
      Pages.lock(cache, 0, 1);
      Pages.clear(cache);
    }
  }
}
