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
 * cache, frees the frame, or the page cache does; one of them, once.
 *
 * <p>The hole looked for: each sees the other and leaves it to that.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t PutSafeTest}</pre>
 */
@JCStressTest
@Outcome(id = "1", expect = ACCEPTABLE, desc = "Freed once.")
@Outcome(expect = FORBIDDEN, desc = "Freed twice or never.")
@State
public class PutSafeTest {
  private final Frames.Counted frame = new Frames.Counted(Counts.LENT_CACHE_REF + Counts.SAFE);

  @Actor
  public void holder() {
    Frames.TABLE.put(frame.pfn, Counts.SAFE);
  }

  @Actor
  public void truncate() {
    Frames.TABLE.put(frame.pfn, Counts.LENT_CACHE_REF);
  }

  @Arbiter
  public void freed(I_Result r) {
    r.r1 = frame.freed.get();
    frame.owner.close();
  }

  /** Broken: looks whether it is the last, and drops its own in a second step. */
  @JCStressTest
  @Outcome(id = "1", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "0", expect = ACCEPTABLE_INTERESTING, desc = "Never freed.")
  @State
  public static class Twin {
    private final Frames.Word word = new Frames.Word(Counts.CACHE_REF + Counts.SAFE);

    private void drop(long unit) {
      boolean last = word.get() == unit;
      Frames.gap();
      word.add(-unit);
      if (last) {
        word.freed.incrementAndGet();
      }
    }

    @Actor
    public void holder() {
      drop(Counts.SAFE);
    }

    @Actor
    public void truncate() {
      drop(Counts.CACHE_REF);
    }

    @Arbiter
    public void freed(I_Result r) {
      r.r1 = word.freed.get();
    }
  }
}
