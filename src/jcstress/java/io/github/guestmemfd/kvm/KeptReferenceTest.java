package io.github.guestmemfd.kvm;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.memory.Frames;
import java.util.concurrent.atomic.AtomicInteger;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.I_Result;

/**
 * Hypothesis: the reference that an entry of a guest page table keeps is given back once, by the
 * conversion that zaps the entry or by the deletion of its memslot.
 *
 * <p>The hole looked for: both zap the entry, both wait, and both give the reference back; or each
 * leaves it to the other.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t KeptReferenceTest}</pre>
 */
@JCStressTest
@Outcome(id = "1", expect = ACCEPTABLE, desc = "Given back once.")
@Outcome(expect = FORBIDDEN, desc = "Given back twice, or never.")
@State
public class KeptReferenceTest {
  private final Machine machine = new Machine(VirtualMachine.builder().keepReferences().build());
  private final int pfn;
  private final AtomicInteger tooOften = new AtomicInteger();

  public KeptReferenceTest() {
    machine.vcpu.tryTouch(0, Access.READ, MemoryAttribute.SHARED);
    pfn = TdpEntry.pfn(machine.slot.table.get(0));
  }

  @Actor
  public void convert() {
    try {
      machine.memfd.tryMakeInaccessible(0, Machine.PAGE);
    } catch (IllegalStateException e) {
      tooOften.incrementAndGet(); // put without get
    }
  }

  @Actor
  public void unbind() {
    try {
      machine.vm.unbind(0);
    } catch (IllegalStateException e) {
      tooOften.incrementAndGet();
    }
  }

  @Arbiter
  public void outcome(I_Result r) {
    int puts = 1;
    try {
      machine.memfd.put(pfn, HolderKind.SAFE);
      puts--; // it was still there
    } catch (IllegalStateException e) {
      // it is not
    }
    r.r1 = puts + tooOften.get();
    machine.close();
  }

  /** Broken: looks whether the entry is there, and then removes it and gives its reference back. */
  @JCStressTest
  @Outcome(id = "1", expect = ACCEPTABLE, desc = "As the shipped one.")
  @Outcome(id = "2", expect = ACCEPTABLE_INTERESTING, desc = "Given back twice.")
  @State
  public static class Twin {
    private final AtomicInteger puts = new AtomicInteger();
    private volatile boolean there = true;

    private void remove() {
      if (there) {
        Frames.gap();
        there = false;
        puts.incrementAndGet();
      }
    }

    @Actor
    public void convert() {
      remove();
    }

    @Actor
    public void unbind() {
      remove();
    }

    @Arbiter
    public void outcome(I_Result r) {
      r.r1 = puts.get();
    }
  }
}
