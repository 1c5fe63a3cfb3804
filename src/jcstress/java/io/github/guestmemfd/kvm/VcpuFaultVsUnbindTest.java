package io.github.guestmemfd.kvm;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.I_Result;

/**
 * Hypothesis: a memslot that has been deleted has nothing mapped, whatever fault was under way.
 *
 * <p>The hole looked for: an entry that is made after the memslot's entries have been zapped.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t VcpuFaultVsUnbindTest}</pre>
 */
@JCStressTest
@Outcome(id = "0", expect = ACCEPTABLE, desc = "Nothing is mapped.")
@Outcome(id = "1", expect = FORBIDDEN, desc = "Mapped by a memslot that is gone.")
@State
public class VcpuFaultVsUnbindTest {
  private final Machine machine = new Machine();

  @Actor
  public void fault() {
    machine.vcpu.tryTouch(0, Access.READ, MemoryAttribute.SHARED);
  }

  @Actor
  public void unbind() {
    machine.vm.unbind(0);
  }

  @Arbiter
  public void outcome(I_Result r) {
    r.r1 = machine.isMapped() ? 1 : 0;
    machine.close();
  }

  /** Broken: the fault does not look whether the memslot is gone. */
  @JCStressTest
  @Outcome(id = "0", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "1", expect = ACCEPTABLE_INTERESTING, desc = "Mapped by a memslot that is gone.")
  @State
  public static class Twin {
    private final Machine machine = new Machine();

    @Actor
    public void fault() {
      machine.faultBlindly();
    }

    @Actor
    public void unbind() {
      machine.vm.unbind(0);
    }

    @Arbiter
    public void outcome(I_Result r) {
      r.r1 = machine.isMapped() ? 1 : 0;
      machine.close();
    }
  }
}
