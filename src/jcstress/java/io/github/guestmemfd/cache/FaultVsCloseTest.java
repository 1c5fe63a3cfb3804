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
 * Hypothesis: an entry that a fault enters while the mapping is being closed does not stay; its
 * reference is given back once.
 *
 * <p>The hole looked for: the close has passed the page when the fault enters it.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t FaultVsCloseTest}</pre>
 */
@JCStressTest
@Outcome(id = "0, 1", expect = ACCEPTABLE, desc = "Not mapped; given back once.")
@Outcome(expect = FORBIDDEN, desc = "Still mapped, or given back twice or never.")
@State
public class FaultVsCloseTest {
  final Tables tables = Tables.empty();
  final PageTable table = tables.table;
  final AtomicInteger given = new AtomicInteger();

  @Actor
  public void fault() {
    long entry = table.install(0, Tables.PFN);
    if (!table.isClosed()) {
      table.confirm(0, entry);
    } else if (table.tryRemove(0, entry)) {
      given.incrementAndGet();
    }
  }

  @Actor
  public void unmap() {
    table.close();
    if (tables.zap() != 0) {
      given.incrementAndGet();
    }
  }

  @Arbiter
  public void after(II_Result r) {
    r.r1 = PageTable.held(table.entry(0));
    r.r2 = given.get();
  }

  /** Broken: the table is closed after its entries are removed. */
  @JCStressTest
  @Outcome(id = "0, 1", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "7, 0", expect = ACCEPTABLE_INTERESTING, desc = "Still mapped.")
  @State
  public static class Twin extends FaultVsCloseTest {
    @Actor
    @Override
    public void fault() {
      super.fault();
    }

    @Actor
    @Override
    public void unmap() {
      if (tables.zap() != 0) {
        given.incrementAndGet();
      }
      Frames.gap();
      table.close();
    }

    @Arbiter
    @Override
    public void after(II_Result r) {
      super.after(r);
    }
  }
}
