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
 * Hypothesis: of two holders that let go at the same time exactly one frees the frame.
 *
 * <p>The hole looked for: both, or neither, find themselves to be the last.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t PutsFreeOnceTest}</pre>
 */
@JCStressTest
@Outcome(id = "1", expect = ACCEPTABLE, desc = "Freed once.")
@Outcome(expect = FORBIDDEN, desc = "Freed twice or never.")
@State
public class PutsFreeOnceTest {
  private final Frames.Counted frame = new Frames.Counted(2 * Counts.REF);

  @Actor
  public void one() {
    Frames.TABLE.put(frame.pfn, Counts.REF);
  }

  @Actor
  public void two() {
    Frames.TABLE.put(frame.pfn, Counts.REF);
  }

  @Arbiter
  public void freed(I_Result r) {
    r.r1 = frame.freed.get();
    frame.owner.close();
  }

  /** Broken: looks at the count again, instead of at what its own step answered. */
  @JCStressTest
  @Outcome(id = "1", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "2", expect = ACCEPTABLE_INTERESTING, desc = "Freed twice.")
  @State
  public static class Twin {
    private final Frames.Word word = new Frames.Word(2);

    private void drop() {
      word.add(-1);
      Frames.gap();
      if (word.get() == 0) {
        word.freed.incrementAndGet();
      }
    }

    @Actor
    public void one() {
      drop();
    }

    @Actor
    public void two() {
      drop();
    }

    @Arbiter
    public void freed(I_Result r) {
      r.r1 = word.freed.get();
    }
  }
}
