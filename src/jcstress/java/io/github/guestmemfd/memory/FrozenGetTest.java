package io.github.guestmemfd.memory;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.ZZI_Result;

/**
 * Hypothesis: lookups that add to a frozen count and take it back do not bring it to life for each
 * other, and leave it as it was.
 *
 * <p>The hole looked for: the second sees what the first has added and not yet taken back.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t FrozenGetTest}</pre>
 */
@JCStressTest
@Outcome(id = "false, false, 0", expect = ACCEPTABLE, desc = "Both fail, nothing is left.")
@Outcome(expect = FORBIDDEN, desc = "A frozen frame was taken, or is frozen no longer.")
@State
public class FrozenGetTest {
  private final int pfn = Frames.frozen();

  @Actor
  public void one(ZZI_Result r) {
    r.r1 = Frames.TABLE.tryGet(pfn, Counts.REF);
  }

  @Actor
  public void two(ZZI_Result r) {
    r.r2 = Frames.TABLE.tryGet(pfn, Counts.SAFE_REF);
  }

  @Arbiter
  public void left(ZZI_Result r) {
    r.r3 = Frames.TABLE.counts(pfn) == Counts.FREE ? 0 : 1;
    Frames.TABLE.thaw(pfn, Counts.REF);
    Frames.TABLE.put(pfn, Counts.REF);
  }

  /** Broken: frozen is -1, next to 0, instead of far from it. */
  @JCStressTest
  @Outcome(id = "false, false, 0", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(expect = ACCEPTABLE_INTERESTING, desc = "A frozen frame was taken.")
  @State
  public static class Twin {
    private final Frames.Word word = new Frames.Word(-1);

    @Actor
    public void one(ZZI_Result r) {
      if (word.add(1) >= 0) {
        r.r1 = true;
      } else {
        Frames.gap();
        word.add(-1);
      }
    }

    @Actor
    public void two(ZZI_Result r) {
      r.r2 = word.tryGet();
    }

    @Arbiter
    public void left(ZZI_Result r) {
      r.r3 = word.get() == -1 ? 0 : 1;
    }
  }
}
