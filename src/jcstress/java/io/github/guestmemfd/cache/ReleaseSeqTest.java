package io.github.guestmemfd.cache;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;

/**
 * Hypothesis: a page whose slot reads the same and not busy twice was not operated on in between:
 * the release raises the sequence.
 *
 * <p>The hole looked for: a whole operation between the two reads that goes unnoticed.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t ReleaseSeqTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"0, 0", "1, 1", "-1, -1"},
    expect = ACCEPTABLE,
    desc = "All, nothing, or noticed.")
@Outcome(expect = FORBIDDEN, desc = "Half of an operation was seen as none.")
@State
public class ReleaseSeqTest {
  private final PageCache cache = Pages.full();
  private volatile int a;
  private volatile int b;

  @Actor
  public void reader(II_Result r) {
    long slot = cache.slot(0);
    r.r1 = a;
    r.r2 = b;
    if (SlotWord.isBusy(slot) || cache.slot(0) != slot) {
      r.r1 = -1;
      r.r2 = -1;
    }
  }

  @Actor
  public void range() {
    Pages.lock(cache, 0, 1);
    a = 1;
    b = 1;
    cache.unlock(0, 1);
  }

  @Arbiter
  public void free() {
    Pages.lock(cache, 0, 1);
    Pages.clear(cache);
  }

  /** Broken: the release clears the busy bit and leaves the sequence as it was. */
  @JCStressTest
  @Outcome(
      id = {"0, 0", "1, 1", "-1, -1"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "0, 1", expect = ACCEPTABLE_INTERESTING, desc = "Half seen as none.")
  @State
  public static class Twin {
    private final Frames.Word slot = new Frames.Word(0);
    private volatile int a;
    private volatile int b;

    @Actor
    public void reader(II_Result r) {
      long seen = slot.get();
      r.r1 = a;
      Frames.gap();
      r.r2 = b;
      if (seen != 0 || slot.get() != seen) {
        r.r1 = -1;
        r.r2 = -1;
      }
    }

    @Actor
    public void range() {
      slot.setOpaque(1);
      a = 1;
      b = 1;
      slot.setOpaque(0);
    }
  }
}
