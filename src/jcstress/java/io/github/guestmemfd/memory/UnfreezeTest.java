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
 * Hypothesis: a lookup that meets the end of a freeze loses and invents no reference, and the page
 * cache's is still there.
 *
 * <p>The hole looked for: the unfreezing wipes out what the lookup has added.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t UnfreezeTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"0, 1", "1, 2"},
    expect = ACCEPTABLE,
    desc = "The count is that of the holders.")
@Outcome(expect = FORBIDDEN, desc = "The count and the holders differ.")
@State
public class UnfreezeTest {
  private final int pfn = Frames.frame(Counts.CACHE_REF);

  public UnfreezeTest() {
    Frames.TABLE.freeze(pfn, counts -> true);
  }

  @Actor
  public void unfreeze() {
    Frames.TABLE.unfreeze(pfn);
  }

  @Actor
  public void get(II_Result r) {
    r.r1 = Frames.TABLE.tryGet(pfn, Counts.REF) ? 1 : 0;
  }

  @Arbiter
  public void refs(II_Result r) {
    r.r2 = Counts.refs(Frames.TABLE.counts(pfn));
    Frames.TABLE.put(pfn, r.r1 * Counts.REF);
    Frames.TABLE.put(pfn, Counts.CACHE_REF);
  }

  /** Broken: stores the count that it has frozen, as the kernel may and this library may not. */
  @JCStressTest
  @Outcome(
      id = {"0, 1", "1, 2"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(expect = ACCEPTABLE_INTERESTING, desc = "The count and the holders differ.")
  @State
  public static class Twin {
    private final Frames.Word word = new Frames.Word(Frames.Word.FROZEN + 1);

    @Actor
    public void unfreeze() {
      word.set(1);
    }

    @Actor
    public void get(II_Result r) {
      if (word.add(1) >= 0) {
        r.r1 = 1;
      } else {
        Frames.gap();
        word.add(-1);
      }
    }

    @Arbiter
    public void refs(II_Result r) {
      r.r2 = (int) word.get();
    }
  }
}
