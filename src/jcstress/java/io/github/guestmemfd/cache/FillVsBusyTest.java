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
import org.openjdk.jcstress.infra.results.ZZ_Result;

/**
 * Hypothesis: the owner of a locked range finds in it what will be in it: no other thread fills a
 * busy hole.
 *
 * <p>The hole looked for: a fill that saw the hole in time writes it after it was made busy.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t FillVsBusyTest}</pre>
 */
@JCStressTest
@Outcome(id = "true, true", expect = ACCEPTABLE, desc = "The slot stayed as its owner saw it.")
@Outcome(expect = FORBIDDEN, desc = "Another thread has written it.")
@State
public class FillVsBusyTest {
  private final PageCache cache = Pages.empty(1);
  private final long seen = cache.slot(0);
  private long locked;

  @Actor
  public void user() {
    cache.fill(0, seen, false);
  }

  @Actor
  public void range() {
    Pages.lock(cache, 0, 1);
    locked = cache.slot(0);
  }

  @Arbiter
  public void compare(ZZ_Result r) {
    r.r1 = cache.slot(0) == locked;
    r.r2 = SlotWord.isBusy(cache.slot(0));
    Pages.clear(cache);
  }

  /** Broken: sees that the page is not busy, and stores. */
  @JCStressTest
  @Outcome(id = "true, true", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(expect = ACCEPTABLE_INTERESTING, desc = "A busy slot was written.")
  @State
  public static class Twin {
    private static final int BUSY = 4;
    private final Frames.Word slot = new Frames.Word(0);
    private long locked;

    @Actor
    public void user() {
      long seen = slot.get();
      if ((seen & BUSY) == 0) {
        Frames.gap();
        slot.set(seen | 2);
      }
    }

    @Actor
    public void range() {
      long word = slot.get();
      while (!slot.cas(word, word | BUSY)) {
        word = slot.get();
      }
      locked = word | BUSY;
    }

    @Arbiter
    public void compare(ZZ_Result r) {
      r.r1 = slot.get() == locked;
      r.r2 = (slot.get() & BUSY) != 0;
    }
  }
}
