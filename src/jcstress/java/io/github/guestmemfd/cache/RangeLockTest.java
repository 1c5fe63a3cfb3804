package io.github.guestmemfd.cache;

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
 * Hypothesis: operations on ranges that meet in a page exclude each other, and each sees what the
 * one before wrote.
 *
 * <p>The hole looked for: both own the page in which they meet.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t RangeLockTest}</pre>
 */
@JCStressTest
@Outcome(id = "2", expect = ACCEPTABLE, desc = "One after the other.")
@Outcome(expect = FORBIDDEN, desc = "Both at once.")
@State
public class RangeLockTest {
  private final PageCache cache = Pages.empty(3);
  private int counter; // plain: guarded by the busy bit of page 1

  @Actor
  public void low() {
    Pages.lock(cache, 0, 2);
    counter++;
    cache.unlock(0, 2);
  }

  @Actor
  public void high() {
    Pages.lock(cache, 1, 3);
    counter++;
    cache.unlock(1, 3);
  }

  @Arbiter
  public void count(I_Result r) {
    r.r1 = counter;
  }

  /** Broken: looks whether the whole range is free, and then takes it. */
  @JCStressTest
  @Outcome(id = "2", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "1", expect = ACCEPTABLE_INTERESTING, desc = "Both at once.")
  @State
  public static class Twin {
    private volatile boolean low;
    private volatile boolean middle;
    private volatile boolean high;
    private int counter;

    @Actor
    public void low() {
      while (low || middle) {
        Thread.onSpinWait();
      }
      low = true;
      middle = true;
      counter++;
      middle = false;
      low = false;
    }

    @Actor
    public void high() {
      while (middle || high) {
        Thread.onSpinWait();
      }
      middle = true;
      high = true;
      counter++;
      high = false;
      middle = false;
    }

    @Arbiter
    public void count(I_Result r) {
      r.r1 = counter;
    }
  }
}
