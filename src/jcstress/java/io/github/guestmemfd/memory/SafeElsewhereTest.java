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
 * Hypothesis: a late lookup of a file whose safe holders have no reference hides no holder on the
 * frame of a file whose holders have one: here the page cache and one user.
 *
 * <p>The hole looked for: it is counted as safe there, and the user's reference looks like its own.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t SafeElsewhereTest}</pre>
 */
@JCStressTest
@Outcome(id = "2", expect = ACCEPTABLE, desc = "Two unsafe references.")
@Outcome(expect = FORBIDDEN, desc = "The user looks safe.")
@State
public class SafeElsewhereTest {
  private final int pfn = Frames.frame(Counts.CACHE_REF + Counts.UNSAFE_REF);

  @Actor
  public void late() {
    if (Frames.TABLE.tryGet(pfn, Counts.SAFE)) {
      Frames.TABLE.undoGet(pfn, Counts.SAFE);
    }
  }

  @Actor
  public void converter(I_Result r) {
    long counts = Frames.TABLE.counts(pfn);
    r.r1 = Counts.refs(counts) - Counts.safe(counts);
  }

  @Arbiter
  public void free() {
    Frames.TABLE.put(pfn, Counts.UNSAFE_REF);
    Frames.TABLE.put(pfn, Counts.CACHE_REF);
  }

  /** Broken: asks whether the frame is in a page cache, and not of which kind. */
  @JCStressTest
  @Outcome(id = "2", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "1", expect = ACCEPTABLE_INTERESTING, desc = "The user looks safe.")
  @State
  public static class Twin {
    private final Frames.Word word = new Frames.Word(Counts.CACHE_REF + Counts.UNSAFE_REF);

    @Actor
    public void late() {
      long old = word.get();
      if (Counts.isCached(old) && word.cas(old, old + Counts.SAFE)) {
        Frames.gap();
        word.add(-Counts.SAFE);
      }
    }

    @Actor
    public void converter(I_Result r) {
      Frames.gap();
      long counts = word.get();
      r.r1 = Counts.refs(counts) - Counts.safe(counts);
    }
  }
}
