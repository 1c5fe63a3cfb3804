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
 * Hypothesis: of a freeze and a {@code tryGet} exactly one succeeds, and the count is that of the
 * holders afterwards.
 *
 * <p>The hole looked for: a reference is taken between the look at the count and the freezing.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t FreezeVsGetTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"true, false, 1", "false, true, 2"},
    expect = ACCEPTABLE,
    desc = "One of the two.")
@Outcome(expect = FORBIDDEN, desc = "Held and frozen, or neither, or miscounted.")
@State
public class FreezeVsGetTest {
  private final int pfn = Frames.frame(Counts.CACHE_REF);

  @Actor
  public void freeze(ZZI_Result r) {
    r.r1 = Frames.TABLE.freeze(pfn, counts -> true);
  }

  @Actor
  public void get(ZZI_Result r) {
    r.r2 = Frames.TABLE.tryGet(pfn, Counts.REF);
  }

  @Arbiter
  public void refs(ZZI_Result r) {
    if (r.r1) {
      Frames.TABLE.unfreeze(pfn);
    }
    r.r3 = Counts.refs(Frames.TABLE.counts(pfn));
    if (r.r2) {
      Frames.TABLE.put(pfn, Counts.REF);
    }
    Frames.TABLE.put(pfn, Counts.CACHE_REF);
  }

  /** Broken: looks at the count and then freezes it, in two steps. */
  @JCStressTest
  @Outcome(
      id = {"true, false, 1", "false, true, 2"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "true, true, 2", expect = ACCEPTABLE_INTERESTING, desc = "Held and frozen.")
  @State
  public static class Twin {
    private final Frames.Word word = new Frames.Word(1);

    @Actor
    public void freeze(ZZI_Result r) {
      if (word.get() == 1) {
        Frames.gap();
        word.add(Frames.Word.FROZEN);
        r.r1 = true;
      }
    }

    @Actor
    public void get(ZZI_Result r) {
      r.r2 = word.tryGet();
    }

    @Arbiter
    public void refs(ZZI_Result r) {
      if (r.r1) {
        word.add(-Frames.Word.FROZEN);
      }
      r.r3 = (int) word.get();
    }
  }
}
