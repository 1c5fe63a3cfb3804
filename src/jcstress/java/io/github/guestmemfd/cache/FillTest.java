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
 * Hypothesis: of two that fill a hole one succeeds, and the other gives its frame back.
 *
 * <p>The hole looked for: one folio replaces the other, which is then lost.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t FillTest}</pre>
 */
@JCStressTest
@Outcome(id = "1, 1", expect = ACCEPTABLE, desc = "One folio, with one reference.")
@Outcome(expect = FORBIDDEN, desc = "Two folios for one page.")
@State
public class FillTest {
  private final PageCache cache = Pages.empty(1);
  private final long hole = cache.slot(0);

  @Actor
  public void one() {
    cache.fill(0, hole, false);
  }

  @Actor
  public void two() {
    cache.fill(0, hole, false);
  }

  @Arbiter
  public void count(II_Result r) {
    r.r1 = (int) cache.present();
    r.r2 = Counts.refs(Frames.TABLE.counts(SlotWord.pfn(cache.slot(0))));
    Pages.lock(cache, 0, 1);
    Pages.clear(cache);
  }

  /** Broken: sees that there is a hole, and stores. */
  @JCStressTest
  @Outcome(id = "1, 1", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "2, 1", expect = ACCEPTABLE_INTERESTING, desc = "Two folios for one page.")
  @State
  public static class Twin {
    private final Frames.Word present = new Frames.Word(0);
    private volatile int slot;

    private void fill(int pfn) {
      if (slot == 0) {
        Frames.gap();
        slot = pfn;
        present.add(1);
      }
    }

    @Actor
    public void one() {
      fill(1);
    }

    @Actor
    public void two() {
      fill(2);
    }

    @Arbiter
    public void count(II_Result r) {
      r.r1 = (int) present.get();
      r.r2 = slot == 0 ? 0 : 1;
    }
  }
}
