package io.github.guestmemfd.memory;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;

/**
 * Hypothesis: a put of a safe holder that is none is refused, and no thread sees the references
 * change meanwhile.
 *
 * <p>The hole looked for: the step below zero borrows from the neighbouring field.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t GuardTest}</pre>
 */
@JCStressTest
@Outcome(id = "1, 0", expect = ACCEPTABLE, desc = "One reference, all the time; as it was.")
@Outcome(expect = FORBIDDEN, desc = "A field was corrupted.")
@State
public class GuardTest {
  private final int pfn = Frames.frame(Counts.REF);
  private final long before = Frames.TABLE.counts(pfn);

  @Actor
  public void misuse() {
    try {
      Frames.TABLE.put(pfn, Counts.SAFE);
      throw new AssertionError("put without get was not refused");
    } catch (IllegalStateException expected) {
      // refused
    }
  }

  @Actor
  public void look(II_Result r) {
    r.r1 = Counts.refs(Frames.TABLE.counts(pfn));
  }

  @Arbiter
  public void after(II_Result r) {
    r.r2 = Frames.TABLE.counts(pfn) == before ? 0 : 1;
    Frames.TABLE.put(pfn, Counts.REF);
  }

  /** Broken: subtracts first and looks afterwards, so that the borrow reaches the references. */
  @JCStressTest
  @Outcome(id = "1, 0", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "0, 0", expect = ACCEPTABLE_INTERESTING, desc = "No reference, for a moment.")
  @State
  public static class Twin {
    private final Frames.Word word = new Frames.Word(1L << 32);

    @Actor
    public void misuse() {
      if ((int) word.add(-1) == 0) {
        Frames.gap();
        word.add(1);
      }
    }

    @Actor
    public void look(II_Result r) {
      r.r1 = (int) (word.get() >> 32);
    }

    @Arbiter
    public void after(II_Result r) {
      r.r2 = word.get() == 1L << 32 ? 0 : 1;
    }
  }
}
