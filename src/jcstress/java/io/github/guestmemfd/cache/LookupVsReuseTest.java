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
 * Hypothesis: a lookup that returned a frame holds the frame of its page, though the page may be
 * punched and the frame reused for another file in the middle of it.
 *
 * <p>The hole looked for: between the load of the slot and the reference the frame changes hands.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t LookupVsReuseTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"0", "1"},
    expect = ACCEPTABLE,
    desc = "A miss, or the frame of the page.")
@Outcome(expect = FORBIDDEN, desc = "A reference on a frame of another file.")
@State
public class LookupVsReuseTest {
  private final PageCache cache = Pages.full();
  private final PageCache other = Pages.empty(1);
  private volatile boolean removed;

  @Actor
  public void lookup(I_Result r) {
    long slot = cache.lookup(0, Counts.REF, Wanted.ANY);
    if (Pages.isHit(slot)) {
      // Still in its slot, or an orphan: either way not in the other file.
      int pfn = SlotWord.pfn(slot);
      r.r1 = removed && SlotWord.pfn(other.slot(0)) == pfn ? 2 : 1;
      Frames.TABLE.put(pfn, Counts.REF);
    }
  }

  @Actor
  public void punchAndReuse() {
    Pages.lock(cache, 0, 1);
    cache.remove(0);
    other.fill(0, other.slot(0), false);
    removed = true;
    cache.unlock(0, 1);
  }

  @Arbiter
  public void free() {
    Pages.lock(other, 0, 1);
    Pages.clear(other);
  }

  /** Broken: the lookup does not read the slot again. */
  @JCStressTest
  @Outcome(
      id = {"0", "1"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "2", expect = ACCEPTABLE_INTERESTING, desc = "A frame of another file.")
  @State
  public static class Twin {
    private final Frames.Word counts = new Frames.Word(1);
    private volatile int slot = 1;
    private volatile boolean reused;

    @Actor
    public void lookup(I_Result r) {
      if (slot != 0) {
        Frames.gap();
        if (counts.tryGet()) {
          r.r1 = reused ? 2 : 1;
          counts.add(-1);
        }
      }
    }

    @Actor
    public void punchAndReuse() {
      slot = 0;
      if (counts.cas(1, -(1 << 20))) {
        reused = true;
        counts.add(1 + (1 << 20));
      }
    }
  }
}
