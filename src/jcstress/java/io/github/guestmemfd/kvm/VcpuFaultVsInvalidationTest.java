package io.github.guestmemfd.kvm;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.Errno;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.I_Result;

/**
 * Hypothesis: after a conversion to private the guest has no shared mapping of the page, whatever
 * fault was under way.
 *
 * <p>The hole looked for: an entry that is made after the zap, for what the page was before.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t VcpuFaultVsInvalidationTest}</pre>
 */
@JCStressTest
@Outcome(id = "0", expect = ACCEPTABLE, desc = "Converted, and not mapped.")
@Outcome(expect = FORBIDDEN, desc = "Mapped as what it was, or not converted.")
@State
public class VcpuFaultVsInvalidationTest {
  private final Machine machine = new Machine();
  private Errno errno = Errno.OK;

  @Actor
  public void fault() {
    machine.vcpu.tryTouch(0, Access.READ, MemoryAttribute.SHARED);
  }

  @Actor
  public void convert() {
    errno = machine.memfd.tryMakeInaccessible(0, Machine.PAGE);
  }

  @Arbiter
  public void outcome(I_Result r) {
    r.r1 = errno != Errno.OK ? 2 : machine.isMapped() ? 1 : 0;
    machine.close();
  }

  /** Broken: the fault does not look whether an invalidation came in between. */
  @JCStressTest
  @Outcome(id = "0", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "1", expect = ACCEPTABLE_INTERESTING, desc = "Mapped as what it was.")
  @State
  public static class Twin {
    private final Machine machine = new Machine();
    private Errno errno = Errno.OK;

    @Actor
    public void fault() {
      machine.faultBlindly();
    }

    @Actor
    public void convert() {
      errno = machine.memfd.tryMakeInaccessible(0, Machine.PAGE);
    }

    @Arbiter
    public void outcome(I_Result r) {
      r.r1 = errno != Errno.OK ? 2 : machine.isMapped() ? 1 : 0;
      machine.close();
    }
  }
}
