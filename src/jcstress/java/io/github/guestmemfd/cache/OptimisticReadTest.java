package io.github.guestmemfd.cache;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.memory.Frames;
import java.lang.invoke.VarHandle;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.J_Result;

/**
 * Hypothesis: an optimistic read that finds its entry unchanged has read bytes from before the zap.
 *
 * <p>The hole looked for: what is written to the frame after the zap, plainly, is read and kept.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t OptimisticReadTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"0", "-1"},
    expect = ACCEPTABLE,
    desc = "The old bytes, or a fault.")
@Outcome(id = "42", expect = FORBIDDEN, desc = "The secret.")
@State
public class OptimisticReadTest {
  private final Tables tables = Tables.mapped();
  private long bytes; // plain, as the bytes of a frame

  @Actor
  public void read(J_Result r) {
    long entry = tables.table.entry(0);
    r.r1 = -1;
    if (PageTable.pfn(entry) != 0) {
      long value = bytes;
      VarHandle.acquireFence();
      if (tables.table.entry(0) == entry) {
        r.r1 = value;
      }
    }
  }

  @Actor
  public void zapAndWrite() {
    tables.zap();
    bytes = 42;
  }

  /** Broken: the reader does not read the entry again. */
  @JCStressTest
  @Outcome(
      id = {"0", "-1"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "42", expect = ACCEPTABLE_INTERESTING, desc = "The secret.")
  @State
  public static class Twin {
    private volatile int entry = 7;
    private long bytes;

    @Actor
    public void read(J_Result r) {
      r.r1 = -1;
      if (entry != 0) {
        Frames.gap();
        r.r1 = bytes;
      }
    }

    @Actor
    public void zapAndWrite() {
      entry = 0;
      bytes = 42;
    }
  }
}
