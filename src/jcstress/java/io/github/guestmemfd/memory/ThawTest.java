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
 * Hypothesis: a late lookup that meets the thawing of a reused frame loses and invents no
 * reference.
 *
 * <p>The hole looked for: the thawing wipes out what the lookup has added and is about to take
 * back.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t ThawTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"0, 1", "1, 2"},
    expect = ACCEPTABLE,
    desc = "The count is that of the holders.")
@Outcome(expect = FORBIDDEN, desc = "The count and the holders differ.")
@State
public class ThawTest {
  private final int pfn = Frames.frozen();

  @Actor
  public void thaw() {
    Frames.TABLE.thaw(pfn, Counts.REF);
  }

  @Actor
  public void get(II_Result r) {
    r.r1 = Frames.TABLE.tryGet(pfn, Counts.REF) ? 1 : 0;
  }

  @Arbiter
  public void refs(II_Result r) {
    r.r2 = Counts.refs(Frames.TABLE.counts(pfn));
    Frames.TABLE.put(pfn, r.r2 * Counts.REF);
  }

  /** Broken: thaws by storing the count. */
  @JCStressTest
  @Outcome(
      id = {"0, 1", "1, 2"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(expect = ACCEPTABLE_INTERESTING, desc = "The count and the holders differ.")
  @State
  public static class Twin {
    private final Frames.Word word = new Frames.Word(Frames.Word.FROZEN);

    @Actor
    public void thaw() {
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
