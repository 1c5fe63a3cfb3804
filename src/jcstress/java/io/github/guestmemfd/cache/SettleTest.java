package io.github.guestmemfd.cache;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;

/**
 * Hypothesis: a fault that takes its pending entry back and a zap that removes it give its
 * reference back once between them.
 *
 * <p>The hole looked for: both find the entry, and both give it back.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t SettleTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"7, 0", "0, 7"},
    expect = ACCEPTABLE,
    desc = "Given back once.")
@Outcome(expect = FORBIDDEN, desc = "Given back twice or never.")
@State
public class SettleTest {
  private final Tables tables = Tables.empty();
  private final long pending = tables.table.install(0, Tables.PFN);

  @Actor
  public void fault(II_Result r) {
    r.r1 = tables.table.tryRemove(0, pending) ? Tables.PFN : 0;
  }

  @Actor
  public void unmap(II_Result r) {
    r.r2 = tables.zap();
  }

  /** Broken: sees that the entry is there, and stores. */
  @JCStressTest
  @Outcome(
      id = {"7, 0", "0, 7"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "7, 7", expect = ACCEPTABLE_INTERESTING, desc = "Given back twice.")
  @State
  public static class Twin {
    private volatile int entry = 7;

    private int remove() {
      int pfn = entry;
      if (pfn != 0) {
        Frames.gap();
        entry = 0;
      }
      return pfn;
    }

    @Actor
    public void fault(II_Result r) {
      r.r1 = remove();
    }

    @Actor
    public void unmap(II_Result r) {
      r.r2 = remove();
    }
  }
}
