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
  private final Tables tables = Tables.mapped();
  private volatile boolean revoked;

  @Actor
  public void access(I_Result r) {
    long access = tables.table.begin(0, 1);
    if (access != 0) {
      r.r1 = revoked ? 2 : 1;
      tables.accesses.end(access);
    }
  }

  @Actor
  public void zap() {
    tables.zap();
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
    private final Tables tables = Tables.mapped();
    private volatile boolean revoked;

    @Actor
    public void access(I_Result r) {
      long access = tables.table.begin(0, 1);
      if (access != 0) {
        Frames.gap();
        r.r1 = revoked ? 2 : 1;
        tables.accesses.end(access);
      }
    }

    @Actor
    public void zap() {
      tables.table.revoke(0);
      tables.table.remove(0);
      revoked = true;
    }
  }

  /** Broken: the access reads the entry, and then announces itself, and does not read it again. */
  @JCStressTest
  @Outcome(
      id = {"0", "1"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "2", expect = ACCEPTABLE_INTERESTING, desc = "Under way after the zap.")
  @State
  public static class TwinWithoutSecondRead {
    private final Tables tables = Tables.mapped();
    private volatile boolean revoked;

    @Actor
    public void access(I_Result r) {
      int pfn = PageTable.pfn(tables.table.entry(0));
      if (pfn != 0) {
        Frames.gapUntil(() -> revoked);
        long access = tables.accesses.begin(pfn, 1);
        r.r1 = revoked ? 2 : 1;
        tables.accesses.end(access);
      }
    }

    @Actor
    public void zap() {
      tables.zap();
      revoked = true;
    }
  }
}
