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
import org.openjdk.jcstress.infra.results.II_Result;

/**
 * Hypothesis: a lookup that returned a frame is seen in the counts by every range operation that
 * made the page busy; all others drop what they took. Each writes one word and then reads the
 * other's.
 *
 * <p>The hole looked for: the range operation counts no reference but the page cache's, and the
 * lookup succeeds nevertheless.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t LookupVsRangeTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"0, 1", "0, 2", "1, 2"},
    expect = ACCEPTABLE,
    desc = "Too late, or counted.")
@Outcome(expect = FORBIDDEN, desc = "A reference that was not counted.")
@State
public class LookupVsRangeTest {
  private final PageCache cache = Pages.full();
  private final int pfn = SlotWord.pfn(cache.slot(0));

  @Actor
  public void lookup(II_Result r) {
    r.r1 = Pages.isHit(cache.lookup(0, Counts.REF, Wanted.ANY)) ? 1 : 0;
  }

  @Actor
  public void range(II_Result r) {
    Pages.lock(cache, 0, 1);
    r.r2 = Counts.refs(Frames.TABLE.counts(pfn));
  }

  @Arbiter
  public void free(II_Result r) {
    if (r.r1 == 1) {
      Frames.TABLE.put(pfn, Counts.REF);
    }
    Pages.clear(cache);
  }

  /** Broken: the lookup does not read the slot again. */
  @JCStressTest
  @Outcome(
      id = {"0, 1", "0, 2", "1, 2"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "1, 1", expect = ACCEPTABLE_INTERESTING, desc = "Not counted.")
  @State
  public static class TwinWithoutSecondRead {
    private final Frames.Word counts = new Frames.Word(1);
    private volatile boolean busy;

    @Actor
    public void lookup(II_Result r) {
      if (!busy) {
        Frames.gap();
        r.r1 = counts.tryGet() ? 1 : 0;
      }
    }

    @Actor
    public void range(II_Result r) {
      busy = true;
      r.r2 = (int) counts.get();
    }
  }

  /** Broken: the range operation looks at the counts before it makes the page busy. */
  @JCStressTest
  @Outcome(
      id = {"0, 1", "0, 2", "1, 2"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "1, 1", expect = ACCEPTABLE_INTERESTING, desc = "Not counted.")
  @State
  public static class TwinThatCountsFirst {
    private final Frames.Word counts = new Frames.Word(1);
    private volatile boolean counted;
    private volatile boolean busy;

    @Actor
    public void lookup(II_Result r) {
      Frames.gapUntil(() -> counted);
      if (!busy && counts.tryGet()) {
        r.r1 = 1;
        if (busy) {
          r.r1 = 0;
          counts.add(-1);
        }
      }
    }

    @Actor
    public void range(II_Result r) {
      r.r2 = (int) counts.get();
      counted = true;
      Frames.gap();
      busy = true;
    }
  }

  /** Broken: right order, but the busy bit is written and the counts are read in opaque mode. */
  @JCStressTest
  @Outcome(
      id = {"0, 1", "0, 2", "1, 2"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "1, 1", expect = ACCEPTABLE_INTERESTING, desc = "Not counted.")
  @State
  public static class TwinWithoutFence {
    private final Frames.Word counts = new Frames.Word(1);
    private final Frames.Word busy = new Frames.Word(0);

    @Actor
    public void lookup(II_Result r) {
      if (busy.opaque() == 0 && counts.tryGet()) {
        r.r1 = 1;
        if (busy.opaque() != 0) {
          r.r1 = 0;
          counts.add(-1);
        }
      }
    }

    @Actor
    public void range(II_Result r) {
      busy.setOpaque(1);
      r.r2 = (int) counts.opaque();
    }
  }
}
