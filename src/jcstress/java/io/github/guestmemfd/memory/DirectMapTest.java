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
 * Hypothesis: an access through the direct map ends before the removal of its frame returns, or
 * does not begin.
 *
 * <p>The hole looked for: an access that saw the frame in the map announces itself after the
 * removal has looked.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t DirectMapTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"0", "1"},
    expect = ACCEPTABLE,
    desc = "Refused, or over in time.")
@Outcome(id = "2", expect = FORBIDDEN, desc = "Still there after the removal.")
@State
public class DirectMapTest {
  private final int pfn = Frames.frame(Counts.REF);
  private volatile boolean removed;

  @Actor
  public void access(I_Result r) {
    long access = Frames.TABLE.beginDirectAccess(pfn);
    if (access != 0) {
      r.r1 = removed ? 2 : 1;
      Frames.TABLE.accesses.end(access);
    }
  }

  @Actor
  public void remove() {
    Frames.run(() -> Frames.TABLE.removeFromDirectMap(pfn));
    removed = true;
  }

  @Arbiter
  public void free() {
    Frames.TABLE.put(pfn, Counts.REF);
  }

  /** Broken: looks at the flag and then announces itself, in two steps. */
  @JCStressTest
  @Outcome(
      id = {"0", "1"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "2", expect = ACCEPTABLE_INTERESTING, desc = "Still there after the removal.")
  @State
  public static class Twin {
    private final Frames.Word accesses = new Frames.Word(0);
    private volatile boolean out;
    private volatile boolean removed;

    @Actor
    public void access(I_Result r) {
      if (!out) {
        Frames.gap();
        accesses.add(1);
        r.r1 = removed ? 2 : 1;
        accesses.add(-1);
      }
    }

    @Actor
    public void remove() {
      out = true;
      while (accesses.get() != 0) {
        Thread.onSpinWait();
      }
      removed = true;
    }
  }
}
