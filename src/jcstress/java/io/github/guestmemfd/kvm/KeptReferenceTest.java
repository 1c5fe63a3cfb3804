package io.github.guestmemfd.kvm;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.HolderKind;
import io.github.guestmemfd.memory.Frames;
import java.nio.ByteBuffer;
import java.util.concurrent.atomic.AtomicInteger;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.I_Result;

/**
 * Hypothesis: the reference of a zapped entry is given back once, by who zaps or by the last access
 * under way.
 *
 * <p>The hole looked for: both give it back, or each leaves it to the other.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t KeptReferenceTest}</pre>
 */
@JCStressTest
@Outcome(id = "1", expect = ACCEPTABLE, desc = "Given back once.")
@Outcome(expect = FORBIDDEN, desc = "Given back twice, or never.")
@State
public class KeptReferenceTest {
  private final Machine machine = new Machine();
  private final int pfn = machine.memfd.tryGrab(0, HolderKind.SAFE);
  private final TdpEntry entry =
      new TdpEntry(ByteBuffer.allocate(0), MemoryAttribute.SHARED, machine.memfd, pfn);
  private boolean letIn;
  private int tooOften;

  public KeptReferenceTest() {
    letIn = entry.begin();
  }

  @Actor
  public void access() {
    try {
      entry.end();
    } catch (IllegalStateException e) {
      tooOften++; // put without get
    }
  }

  @Actor
  public void zap() {
    entry.zap();
    entry.release();
  }

  @Arbiter
  public void outcome(I_Result r) {
    int puts = letIn ? 1 : 0;
    try {
      machine.memfd.put(pfn, HolderKind.SAFE);
      puts--; // it was still there
    } catch (IllegalStateException e) {
      // it is not
    }
    r.r1 = puts + tooOften;
    machine.close();
  }

  /** Broken: looks whether it is owed and no access is under way, and then gives it back. */
  @JCStressTest
  @Outcome(id = "1", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(
      id = {"0", "2"},
      expect = ACCEPTABLE_INTERESTING,
      desc = "Given back twice, or never.")
  @State
  public static class Twin {
    private final AtomicInteger accesses = new AtomicInteger(1);
    private final AtomicInteger puts = new AtomicInteger();
    private volatile boolean owed;
    private volatile boolean settled;

    @Actor
    public void access() {
      accesses.decrementAndGet();
      settle();
    }

    @Actor
    public void zap() {
      owed = true;
      settle();
    }

    private void settle() {
      Frames.gap(); // these for both, so that neither runs away from the other
      boolean mine = owed && accesses.get() == 0 && !settled;
      Frames.gap();
      if (mine) {
        settled = true;
        puts.incrementAndGet();
      }
    }

    @Arbiter
    public void outcome(I_Result r) {
      r.r1 = puts.get();
    }
  }
}
