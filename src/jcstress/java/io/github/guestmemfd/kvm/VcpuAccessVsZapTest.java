package io.github.guestmemfd.kvm;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.memory.Frames;
import java.nio.ByteBuffer;
import java.util.concurrent.atomic.AtomicInteger;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.I_Result;

/**
 * Hypothesis: an access of a vCPU that was let in is over when who zapped its entry sees no access
 * under way.
 *
 * <p>The hole looked for: an access that is let in after that.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t VcpuAccessVsZapTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"0", "1"},
    expect = ACCEPTABLE,
    desc = "Faulted, or over in time.")
@Outcome(id = "2", expect = FORBIDDEN, desc = "Under way after the zap.")
@State
public class VcpuAccessVsZapTest {
  private final TdpEntry entry =
      new TdpEntry(ByteBuffer.allocate(0), MemoryAttribute.SHARED, null, 1);
  private volatile boolean revoked;

  @Actor
  public void access(I_Result r) {
    if (entry.begin()) {
      r.r1 = revoked ? 2 : 1;
      entry.end();
    }
  }

  @Actor
  public void zap() {
    entry.zap();
    while (entry.isInUse()) {
      Thread.onSpinWait();
    }
    revoked = true;
  }

  /** Broken: the access looks whether the entry is zapped, and then announces itself. */
  @JCStressTest
  @Outcome(
      id = {"0", "1"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "2", expect = ACCEPTABLE_INTERESTING, desc = "Under way after the zap.")
  @State
  public static class Twin {
    private final AtomicInteger accesses = new AtomicInteger();
    private volatile boolean zapped;
    private volatile boolean revoked;

    @Actor
    public void access(I_Result r) {
      if (!zapped) {
        Frames.gapUntil(() -> revoked);
        accesses.incrementAndGet();
        r.r1 = revoked ? 2 : 1;
        accesses.decrementAndGet();
      }
    }

    @Actor
    public void zap() {
      zapped = true;
      while (accesses.get() != 0) {
        Thread.onSpinWait();
      }
      revoked = true;
    }
  }
}
