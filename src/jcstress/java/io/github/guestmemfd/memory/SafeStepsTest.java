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
 * Hypothesis: while a safe holder that raises the counts one after the other comes and goes, the
 * unsafe holders, refs - safe, never look fewer than they are: here the page cache and one plain
 * reference. That they look more for a moment is the window of the mail thread.
 *
 * <p>The hole looked for: the plain reference looks safe.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t SafeStepsTest}</pre>
 */
@JCStressTest
@Outcome(id = "2", expect = ACCEPTABLE, desc = "Two unsafe references.")
@Outcome(id = "3", expect = ACCEPTABLE, desc = "In the window: the holder looks unsafe.")
@Outcome(expect = FORBIDDEN, desc = "The plain reference looks safe.")
@State
public class SafeStepsTest {
  private final int pfn = Frames.frame(Counts.CACHE_REF + Counts.REF);

  @Actor
  public void holder() {
    Frames.TABLE.tryGet(pfn, Counts.REF);
    Frames.TABLE.markSafe(pfn);
    Frames.TABLE.put(pfn, Counts.SAFE);
    Frames.TABLE.put(pfn, Counts.REF);
  }

  @Actor
  public void converter(I_Result r) {
    long counts = Frames.TABLE.counts(pfn);
    r.r1 = Counts.refs(counts) - Counts.safe(counts);
  }

  @Arbiter
  public void free() {
    Frames.TABLE.put(pfn, Counts.REF);
    Frames.TABLE.put(pfn, Counts.CACHE_REF);
  }

  /** Broken: says that it is safe first and then takes its reference. */
  @JCStressTest
  @Outcome(
      id = {"2", "3"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "1", expect = ACCEPTABLE_INTERESTING, desc = "The plain reference looks safe.")
  @State
  public static class Twin {
    private final Frames.Word word = new Frames.Word(2 * Counts.REF);

    @Actor
    public void holder() {
      word.add(Counts.SAFE);
      Frames.gap();
      word.add(Counts.REF);
      word.add(-Counts.SAFE);
      word.add(-Counts.REF);
    }

    @Actor
    public void converter(I_Result r) {
      long counts = word.get();
      r.r1 = Counts.refs(counts) - Counts.safe(counts);
    }
  }
}
