package io.github.guestmemfd.cache;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.I_Result;

/**
 * Hypothesis: an access that was let in is over when the zap of its page returns.
 *
 * <p>The hole looked for: the zap does not see the access that is under way.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t AccessVsZapTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"0", "1"},
    expect = ACCEPTABLE,
    desc = "Faulted, or over in time.")
@Outcome(id = "2", expect = FORBIDDEN, desc = "Under way after the zap.")
@State
public class AccessVsZapTest {
  private final PageTable table = Tables.mapped();
  private volatile boolean revoked;

  @Actor
  public void access(I_Result r) {
    if (table.begin(0) != 0) {
      r.r1 = revoked ? 2 : 1;
      table.end(0);
    }
  }

  @Actor
  public void zap() {
    Tables.zap(table);
    revoked = true;
  }

  /** Broken: the zap removes the entry and does not wait for accesses under way. */
  @JCStressTest
  @Outcome(
      id = {"0", "1"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "2", expect = ACCEPTABLE_INTERESTING, desc = "Under way after the zap.")
  @State
  public static class Twin {
    private final PageTable table = Tables.mapped();
    private final long entry = table.entry(0);
    private volatile boolean revoked;

    @Actor
    public void access(I_Result r) {
      if (table.begin(0) != 0) {
        Frames.gap();
        r.r1 = revoked ? 2 : 1;
        table.end(0);
      }
    }

    @Actor
    public void zap() {
      // Removes as a fault does that takes its entry back, when nobody can be inside.
      while (PageTable.held(table.entry(0)) != 0) {
        table.settle(0, entry, false);
      }
      revoked = true;
    }
  }
}
