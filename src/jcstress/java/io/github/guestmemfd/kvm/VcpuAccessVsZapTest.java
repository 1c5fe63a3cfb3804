package io.github.guestmemfd.kvm;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.I_Result;

/**
 * Hypothesis: an access of a vCPU that was let in is over when the deletion of its memslot returns.
 *
 * <p>The hole looked for: an access that has read its entry and is announced after the deletion has
 * looked.
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
  private final Machine machine = Machine.mapped();
  private volatile boolean revoked;

  @Actor
  public void access(I_Result r) {
    BoundSlot slot = machine.slot;
    long access = machine.vcpu.walk.begin(slot, 0, MemoryAttribute.SHARED, false);
    if (access != 0) {
      r.r1 = revoked ? 2 : 1;
      machine.vcpu.walk.used().end(access);
    }
  }

  @Actor
  public void unbind() {
    machine.vm.unbind(0);
    revoked = true;
  }

  @Arbiter
  public void close() {
    machine.close();
  }

  /** Broken: the access reads its entry, announces itself, and does not read the entry again. */
  @JCStressTest
  @Outcome(
      id = {"0", "1"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "2", expect = ACCEPTABLE_INTERESTING, desc = "Under way after the zap.")
  @State
  public static class Twin {
    private final Machine machine = Machine.mapped();
    private volatile boolean revoked;

    @Actor
    public void access(I_Result r) {
      BoundSlot slot = machine.slot;
      long entry = slot.table.get(0);
      if (TdpEntry.maps(entry, MemoryAttribute.SHARED, false)) {
        Frames.gapUntil(() -> revoked);
        long access = slot.frames(entry).begin(TdpEntry.pfn(entry));
        r.r1 = revoked ? 2 : 1;
        slot.frames(entry).end(access);
      }
    }

    @Actor
    public void unbind() {
      machine.vm.unbind(0);
      revoked = true;
    }

    @Arbiter
    public void close() {
      machine.close();
    }
  }
}
