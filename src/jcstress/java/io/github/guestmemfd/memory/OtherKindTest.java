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
 * Hypothesis: a put that names a kind of which there is no holder is refused, whatever the holder
 * of another kind does meanwhile, and takes nothing from it; its own put frees the frame.
 *
 * <p>The hole looked for: the references of all kinds are one number.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t OtherKindTest}</pre>
 */
@JCStressTest
@Outcome(id = "0, 1, 1", expect = ACCEPTABLE, desc = "Refused; put; freed once.")
@Outcome(expect = FORBIDDEN, desc = "The mistake took the holder's reference.")
@State
public class OtherKindTest {
  private final Frames.Counted frame = new Frames.Counted(Counts.ACCESSIBLE_REF);

  private int put(long unit) {
    try {
      Frames.TABLE.put(frame.pfn, unit);
      return 1;
    } catch (IllegalStateException e) {
      return 0;
    }
  }

  @Actor
  public void mistake(III_Result r) {
    r.r1 = put(Counts.UNSAFE_REF);
  }

  @Actor
  public void holder(III_Result r) {
    r.r2 = put(Counts.ACCESSIBLE_REF);
  }

  @Arbiter
  public void freed(III_Result r) {
    r.r3 = frame.freed.get();
    frame.owner.close();
  }

  /** Broken: one number of references, and of them one of how many are accessible users'. */
  @JCStressTest
  @Outcome(id = "0, 1, 1", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(expect = ACCEPTABLE_INTERESTING, desc = "The mistake took the holder's reference.")
  @State
  public static class Twin {
    private static final long REF = 1L << 32;
    private final Frames.Word word = new Frames.Word(REF + 1);

    /** Looks whether there are references, and whether the rest makes sense. */
    private int put(long unit) {
      for (; ; ) {
        long old = word.get();
        long left = old - unit;
        if (left >> 32 < 0 || (int) left < 0) {
          return 0;
        }
        if (word.cas(old, left)) {
          if (left >> 32 == 0) {
            word.freed.incrementAndGet();
          }
          return 1;
        }
      }
    }

    @Actor
    public void mistake(III_Result r) {
      r.r1 = put(REF);
    }

    @Actor
    public void holder(III_Result r) {
      r.r2 = put(REF + 1);
    }

    @Arbiter
    public void freed(III_Result r) {
      r.r3 = word.freed.get();
    }
  }
}
