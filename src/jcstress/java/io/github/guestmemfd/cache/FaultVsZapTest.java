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
  final Tables tables = Tables.empty();
  final PageTable table = tables.table;
  final AtomicInteger given = new AtomicInteger();
  volatile boolean busy;

  @Actor
  public void fault() {
    long entry = table.install(0, Tables.PFN);
    if (!busy) {
      table.confirm(0, entry);
    } else if (table.tryRemove(0, entry)) {
      given.incrementAndGet();
    }
  }

  @Actor
  public void unmap() {
    busy = true;
    if (tables.zap() != 0) {
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
  public static class Twin extends FaultVsZapTest {
    @Actor
    @Override
    public void fault() {
      boolean good = !busy;
      Frames.gap();
      if (good) {
        table.confirm(0, table.install(0, Tables.PFN));
      } else {
        given.incrementAndGet();
      }
    }

    @Actor
    @Override
    public void unmap() {
      super.unmap();
    }

    @Arbiter
    @Override
    public void after(II_Result r) {
      super.after(r);
    }
  }
}
