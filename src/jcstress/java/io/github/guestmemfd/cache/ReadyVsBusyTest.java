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
 * Hypothesis: the owner of a locked range alone writes its slots: no first use marks a busy page
 * ready.
 *
 * <p>The hole looked for: a first use that saw the page in time writes it after it was made busy,
 * and wipes the busy bit out.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t ReadyVsBusyTest}</pre>
 */
@JCStressTest
@Outcome(id = "true, true", expect = ACCEPTABLE, desc = "The slot stayed as its owner saw it.")
@Outcome(expect = FORBIDDEN, desc = "Another thread has written it.")
@State
public class ReadyVsBusyTest {
  private final PageCache cache = Pages.full();
  private final long seen = cache.slot(0);
  private long locked;

  @Actor
  public void user() {
    cache.markReady(0, seen);
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
        slot.set(seen | 1);
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
