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
 * Hypothesis: while a safe holder comes and goes, the unsafe holders, refs - safe, are seen as they
 * are: here the page cache and one plain reference.
 *
 * <p>The hole looked for: for a moment the pair is apart, and the plain reference looks safe.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t SafePairTest}</pre>
 */
@JCStressTest
@Outcome(id = "2", expect = ACCEPTABLE, desc = "Two unsafe references.")
@Outcome(expect = FORBIDDEN, desc = "The pair was seen apart.")
@State
public class SafePairTest {
  private final int pfn = Frames.frame(Counts.CACHE_REF + Counts.REF);

  @Actor
  public void holder() {
    Frames.TABLE.tryGet(pfn, Counts.SAFE_REF);
    Frames.TABLE.put(pfn, Counts.SAFE_REF);
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

  /** Broken: drops its reference first and then says that it was a safe one. */
  @JCStressTest
  @Outcome(id = "2", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "1", expect = ACCEPTABLE_INTERESTING, desc = "The plain reference looks safe.")
  @State
  public static class Twin {
    private final Frames.Word word = new Frames.Word(2 * Counts.REF);

    @Actor
    public void holder() {
      word.add(Counts.SAFE_REF);
      word.add(-Counts.REF);
      Frames.gap();
      word.add(-Counts.SAFE);
    }

    @Actor
    public void converter(I_Result r) {
      Frames.gap();
      long counts = word.get();
      r.r1 = Counts.refs(counts) - Counts.safe(counts);
    }
  }
}
