package io.github.guestmemfd.memory;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;

/**
 * Hypothesis: of an access that announces its frame and reads the entry again, and a removal that
 * changes the entry and looks at the slots, at least one sees the other.
 *
 * <p>The hole looked for: both read what was there before the other's write: store buffering.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t memory.AccessesTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"0, 0", "0, 1", "1, 1"},
    expect = ACCEPTABLE,
    desc = "The access gives up, or is found, or both.")
@Outcome(id = "1, 0", expect = FORBIDDEN, desc = "Let in, and not found.")
@State
public class AccessesTest {
  private static final int PFN = 7;

  private final Accesses accesses = new Accesses();
  private final Frames.Word entry = new Frames.Word(PFN);

  @Actor
  public void access(II_Result r) {
    accesses.begin(PFN, 1);
    r.r1 = entry.get() == PFN ? 1 : 0;
  }

  @Actor
  public void removal(II_Result r) {
    entry.set(0);
    r.r2 = accesses.underWay() == null ? 0 : 1;
  }

  /** Broken: right order, but all four accesses are in opaque mode. */
  @JCStressTest
  @Outcome(
      id = {"0, 0", "0, 1", "1, 1"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "1, 0", expect = ACCEPTABLE_INTERESTING, desc = "Let in, and not found.")
  @State
  public static class TwinWithoutFence {
    private final Frames.Word slot = new Frames.Word(0);
    private final Frames.Word entry = new Frames.Word(PFN);

    @Actor
    public void access(II_Result r) {
      slot.setOpaque(PFN);
      r.r1 = entry.opaque() == PFN ? 1 : 0;
    }

    @Actor
    public void removal(II_Result r) {
      entry.setOpaque(0);
      r.r2 = slot.opaque() == 0 ? 0 : 1;
    }
  }
}
