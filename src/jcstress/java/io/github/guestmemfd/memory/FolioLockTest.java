package io.github.guestmemfd.memory;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.IZ_Result;

/**
 * Hypothesis: the folio lock has one holder, who sees what the one before wrote.
 *
 * <p>The hole looked for: two inside, or a plain write that is not seen.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t memory.FolioLockTest}</pre>
 */
@JCStressTest
@Outcome(id = "2, false", expect = ACCEPTABLE, desc = "Both counted, and unlocked in the end.")
@Outcome(expect = FORBIDDEN, desc = "Two at once, or still locked.")
@State
public class FolioLockTest {
  private final int pfn = Frames.frame(Counts.REF);
  private int counter; // plain: guarded by the folio lock

  private void count() {
    Frames.run(() -> Frames.TABLE.lock(pfn));
    counter++;
    Frames.TABLE.unlock(pfn);
  }

  @Actor
  public void one() {
    count();
  }

  @Actor
  public void two() {
    count();
  }

  @Arbiter
  public void counted(IZ_Result r) {
    r.r1 = counter;
    r.r2 = Frames.TABLE.isLocked(pfn);
    Frames.TABLE.put(pfn, Counts.REF);
  }

  /** Broken: looks whether it is locked and then locks, in two steps. */
  @JCStressTest
  @Outcome(id = "2, false", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "1, false", expect = ACCEPTABLE_INTERESTING, desc = "Two at once.")
  @State
  public static class Twin {
    private volatile boolean locked;
    private int counter;

    private void count() {
      while (locked) {
        Thread.onSpinWait();
      }
      locked = true;
      counter++;
      locked = false;
    }

    @Actor
    public void one() {
      count();
    }

    @Actor
    public void two() {
      count();
    }

    @Arbiter
    public void counted(IZ_Result r) {
      r.r1 = counter;
      r.r2 = locked;
    }
  }
}
