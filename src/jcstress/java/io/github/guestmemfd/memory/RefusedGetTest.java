package io.github.guestmemfd.memory;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.III_Result;

/**
 * Hypothesis: a get that is refused at the limit of its kind makes no put of another holder fail,
 * whatever it has added for a moment.
 *
 * <p>The hole looked for: a put finds a guard bit that the get has changed and not yet restored,
 * and takes that for its own mistake.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t RefusedGetTest}</pre>
 */
@JCStressTest
@Outcome(id = "0, 1, 0", expect = ACCEPTABLE, desc = "Refused; put; nothing is left of either.")
@Outcome(expect = FORBIDDEN, desc = "A holder could not let go, or a count is wrong.")
@State
public class RefusedGetTest {
  private static final long FULL = Counts.CACHE_REF + Counts.MAX_SAFE * Counts.SAFE_REF;

  private final int pfn = Frames.frame(FULL + Counts.UNSAFE_REF);

  @Actor
  public void oneTooMany(III_Result r) {
    try {
      r.r1 = Frames.TABLE.tryGet(pfn, Counts.SAFE_REF) ? 1 : 2;
    } catch (IllegalStateException e) {
      r.r1 = 0;
    }
  }

  @Actor
  public void holder(III_Result r) {
    try {
      Frames.TABLE.put(pfn, Counts.UNSAFE_REF);
      r.r2 = 1;
    } catch (IllegalStateException e) {
      r.r2 = 0;
    }
  }

  @Arbiter
  public void after(III_Result r) {
    r.r3 = Frames.TABLE.counts(pfn) == FULL ? 0 : 1;
    Frames.TABLE.put(pfn, Counts.CACHE_REF);
    Frames.TABLE.put(pfn, Counts.MAX_SAFE * Counts.SAFE_REF);
  }

  /** Broken: a put looks at the guards of all fields. */
  @JCStressTest
  @Outcome(id = "0, 1, 0", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "0, 0, 1", expect = ACCEPTABLE_INTERESTING, desc = "A holder could not let go.")
  @State
  public static class Twin {
    private static final long GUARD = 1L << 15; // set by a step past the largest count
    private static final long REF = 1L << 32;
    private static final long FULL = GUARD - 1;
    private final Frames.Word word = new Frames.Word(FULL + REF);

    @Actor
    public void oneTooMany(III_Result r) {
      if ((word.add(1) + 1 & GUARD) != 0) {
        Frames.gap();
        word.add(-1);
      }
    }

    @Actor
    public void holder(III_Result r) {
      for (; ; ) {
        long old = word.get();
        if ((old - REF & GUARD) != 0) {
          return;
        }
        if (word.cas(old, old - REF)) {
          r.r2 = 1;
          return;
        }
      }
    }

    @Arbiter
    public void after(III_Result r) {
      r.r3 = word.get() == FULL ? 0 : 1;
    }
  }
}
