package io.github.guestmemfd.cache;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.memory.Frames;
import java.util.concurrent.atomic.AtomicInteger;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.II_Result;

/**
 * Hypothesis: an entry that a fault enters too late, after its page was made busy, does not stay;
 * its reference is given back once.
 *
 * <p>The hole looked for: the fault looks, the zap passes, the fault enters.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t FaultVsZapTest}</pre>
 */
@JCStressTest
@Outcome(id = "0, 1", expect = ACCEPTABLE, desc = "Not mapped; given back once.")
@Outcome(expect = FORBIDDEN, desc = "Still mapped, or given back twice or never.")
@State
public class FaultVsZapTest {
  private final PageTable table = Tables.empty();
  private final AtomicInteger given = new AtomicInteger();
  private volatile boolean busy;

  @Actor
  public void fault() {
    table.install(0, 7);
    long entry = table.entry(0);
    if (PageTable.isPending(entry) && table.settle(0, entry, !busy) != 0) {
      given.incrementAndGet();
    }
  }

  @Actor
  public void unmap() {
    busy = true;
    if (Tables.zap(table) != 0) {
      given.incrementAndGet();
    }
  }

  @Arbiter
  public void after(II_Result r) {
    r.r1 = PageTable.held(table.entry(0));
    r.r2 = given.get();
  }

  /** Broken: the fault looks at the page only before it enters. */
  @JCStressTest
  @Outcome(id = "0, 1", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "7, 0", expect = ACCEPTABLE_INTERESTING, desc = "Still mapped.")
  @State
  public static class Twin {
    private final PageTable table = Tables.empty();
    private final AtomicInteger given = new AtomicInteger();
    private volatile boolean busy;

    @Actor
    public void fault() {
      boolean good = !busy;
      Frames.gap();
      if (good && table.install(0, 7)) {
        table.settle(0, table.entry(0), true);
      } else {
        given.incrementAndGet();
      }
    }

    @Actor
    public void unmap() {
      busy = true;
      if (Tables.zap(table) != 0) {
        given.incrementAndGet();
      }
    }

    @Arbiter
    public void after(II_Result r) {
      r.r1 = PageTable.held(table.entry(0));
      r.r2 = given.get();
    }
  }
}
