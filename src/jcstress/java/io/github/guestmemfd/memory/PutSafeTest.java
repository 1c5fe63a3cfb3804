package io.github.guestmemfd.memory;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.I_Result;

/**
 * Hypothesis: a safe holder without a reference, which lets go while the folio leaves its page
 * cache, gives back the reference that it was lent, or is lent none; the frame is freed once.
 *
 * <p>The hole looked for: it is lent a reference after it has looked what it must give back.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t PutSafeTest}</pre>
 */
@JCStressTest
@Outcome(id = "1", expect = ACCEPTABLE, desc = "Freed once.")
@Outcome(expect = FORBIDDEN, desc = "Freed twice or never.")
@State
public class PutSafeTest {
  private final Frames.Counted frame = new Frames.Counted(Counts.CACHE_REF + Counts.SAFE);

  @Actor
  public void holder() {
    Frames.TABLE.putSafe(frame.pfn);
  }

  @Actor
  public void truncate() {
    Frames.TABLE.putCacheRefAndLend(frame.pfn);
  }

  @Arbiter
  public void freed(I_Result r) {
    r.r1 = frame.freed.get();
    frame.owner.close();
  }

  /** Broken: looks whether the folio is in its page cache, and then gives back what that means. */
  @JCStressTest
  @Outcome(id = "1", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "0", expect = ACCEPTABLE_INTERESTING, desc = "Never freed.")
  @State
  public static class Twin {
    private final Frames.Word word = new Frames.Word(Counts.CACHE_REF + Counts.SAFE);

    private void drop(long unit) {
      if (Counts.refs(word.add(-unit) - unit) == 0) {
        word.freed.incrementAndGet();
      }
    }

    @Actor
    public void holder() {
      boolean cached = Counts.isCached(word.get());
      Frames.gap();
      if (cached) {
        word.add(-Counts.SAFE);
      } else {
        drop(Counts.SAFE_REF);
      }
    }

    @Actor
    public void truncate() {
      long old = word.get();
      while (!word.cas(old, old + Counts.safe(old) * Counts.REF)) {
        old = word.get();
      }
      drop(Counts.CACHE_REF);
    }

    @Arbiter
    public void freed(I_Result r) {
      r.r1 = word.freed.get();
    }
  }
}
