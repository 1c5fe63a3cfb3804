package io.github.guestmemfd.kvm;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.memory.Frames;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.I_Result;

/**
 * Hypothesis: a read of a vCPU, which announces no access, has the bytes of its page, though the
 * page may be punched, and its frame reused for another file in the middle of it.
 *
 * <p>The hole looked for: the frame changes hands between the look at the entry and the bytes.
 *
 * <pre>{@code java -jar target/guest-memfd-jcstress.jar -t VcpuReadVsReuseTest}</pre>
 */
@JCStressTest
@Outcome(
    id = {"0", "1"},
    expect = ACCEPTABLE,
    desc = "The page after the punch, or before.")
@Outcome(expect = FORBIDDEN, desc = "The bytes of another file.")
@State
public class VcpuReadVsReuseTest {
  private static final long OWN = 1;
  private static final long OTHERS = 2;

  /** Of all states: a host for each would be made too slowly. */
  private static final HostMemory HOST = HostMemory.ofBytes(1L << 28);

  private final VirtualMachine vm = new VirtualMachine();
  private final GuestMemfd memfd = vm.createGuestMemfd(file());
  private final GuestMemfd other = file().build();
  final Vcpu vcpu = vm.createVcpu();

  public VcpuReadVsReuseTest() {
    vm.bind(0, 0, HostMemory.PAGE_SIZE, memfd, 0);
    vcpu.write(0, Long.BYTES, OWN, MemoryAttribute.SHARED);
  }

  private static GuestMemfd.Builder file() {
    return GuestMemfd.builder(HOST)
        .size(HostMemory.PAGE_SIZE)
        .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED);
  }

  @Actor
  public void read(I_Result r) {
    r.r1 = (int) vcpu.read(0, Long.BYTES, MemoryAttribute.SHARED);
  }

  @Actor
  public void punchAndReuse() {
    memfd.punchHole(0, HostMemory.PAGE_SIZE);
    try (Folio folio = other.grab(0)) {
      folio.buffer().putLong(0, OTHERS);
    }
  }

  @Arbiter
  public void free() {
    memfd.close();
    other.close();
  }

  /** Broken: the entry is not read again. */
  @JCStressTest
  @Outcome(
      id = {"0", "1"},
      expect = ACCEPTABLE,
      desc = "As the shipped one.")
  @Outcome(id = "2", expect = ACCEPTABLE_INTERESTING, desc = "The bytes of another file.")
  @State
  public static class Twin extends VcpuReadVsReuseTest {
    @Actor
    @Override
    public void read(I_Result r) {
      BoundSlot slot = vcpu.vm().regions.memslots().find(0);
      long entry = slot.table.get(0);
      for (int i = 0; i < 10; i++) {
        Frames.gap(); // the other actor has much to do
      }
      if (TdpEntry.maps(entry, MemoryAttribute.SHARED, false)) {
        r.r1 = (int) slot.frames(entry).peek(TdpEntry.pfn(entry), 0, Long.BYTES);
      }
    }

    @Actor
    @Override
    public void punchAndReuse() {
      super.punchAndReuse();
    }

    @Arbiter
    @Override
    public void free() {
      super.free();
    }
  }
}
