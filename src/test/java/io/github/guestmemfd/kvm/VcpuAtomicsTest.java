package io.github.guestmemfd.kvm;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.fixtures.VmFixture;
import io.github.guestmemfd.fixtures.Worker;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Atomic updates by vCPUs. */
class VcpuAtomicsTest extends VmFixture {
  private static final int COUNTS = 100_000;

  @ParameterizedTest
  @ValueSource(ints = {4, 8})
  void compareAndSetSaysWhatWasThere(int size) {
    bound(2);
    Vcpu vcpu = vm.createVcpu();
    long at = GPA + PAGE - size;
    write(vcpu, GPA + PAGE - 8, -1, SHARED);
    long all = size == 4 ? 0xffff_ffffL : -1;
    assertTrue(vcpu.tryCompareAndSet(at, size, 5, 6, SHARED));
    assertEquals(all, vcpu.value(), "what was there");
    assertFalse(vcpu.compareAndSet(at, size, 5, 6, SHARED));
    assertTrue(vcpu.compareAndSet(at, size, -1, 6, SHARED));
    assertTrue(vcpu.tryRead(at, size, SHARED));
    assertEquals(6, vcpu.value());
    assertEquals(6, vcpu.getAndAdd(at, size, -7, SHARED));
    assertTrue(vcpu.tryGetAndAdd(at, size, 0, SHARED));
    assertEquals(all, vcpu.value());
    if (size == 4) {
      assertTrue(vcpu.tryRead(at - 4, 4, SHARED));
      assertEquals(all, vcpu.value(), "the neighbour");
    }
  }

  @ParameterizedTest
  @CsvSource({"4, 2", "8, 4", "8, 1", "2, 0", "1, 0", "0, 0", "16, 0"})
  void whatIsNoAtomicAccessIsRefused(int size, int in) {
    bound(1);
    Vcpu vcpu = vm.createVcpu();
    assertThrows(
        IllegalArgumentException.class, () -> vcpu.tryCompareAndSet(GPA + in, size, 0, 1, SHARED));
    assertThrows(
        IllegalArgumentException.class, () -> vcpu.compareAndSet(GPA + in, size, 0, 1, SHARED));
    assertThrows(
        IllegalArgumentException.class, () -> vcpu.tryGetAndAdd(GPA + in, size, 1, SHARED));
    assertThrows(IllegalArgumentException.class, () -> vcpu.getAndAdd(GPA + in, size, 1, SHARED));
  }

  @Test
  void theWrongViewExitsAndChangesNothing() {
    GuestMemfd memfd = bound(1);
    Vcpu vcpu = vm.createVcpu();
    assertMemoryFault(
        vcpu.tryCompareAndSet(GPA + 8, 8, 0, 1, PRIVATE),
        vcpu,
        GPA,
        PRIVATE,
        Access.WRITE,
        Errno.EFAULT);
    assertMemoryFault(
        vcpu.tryGetAndAdd(GPA + 8, 4, 1, PRIVATE), vcpu, GPA, PRIVATE, Access.WRITE, Errno.EFAULT);
    assertEquals(0, read(vcpu, GPA + 8, SHARED));
    memfd.makeInaccessible(0, PAGE);
    assertTrue(vcpu.compareAndSet(GPA + 8, 8, 0, 1, PRIVATE));
    assertEquals(1, read(vcpu, GPA + 8, PRIVATE));
  }

  /** Where nothing is, the handler says what was there. */
  @Test
  void mmioIsTheHandlers() {
    Vcpu vcpu = vm.createVcpu();
    boolean[] set = new boolean[2];
    long[] old = new long[1];
    Optional<VcpuExit> exit =
        vcpu.run(
            guest -> {
              set[0] = guest.compareAndSet(GPA, 4, -1, 2, SHARED);
              set[1] = guest.compareAndSet(GPA, 4, 1, 2, SHARED);
              old[0] = guest.getAndAdd(GPA, 4, 1, SHARED);
            },
            (cpu, why) -> {
              VcpuExit.Mmio mmio = (VcpuExit.Mmio) why;
              assertEquals(Access.WRITE, mmio.access());
              cpu.completeMmio(-1);
              return true;
            });
    assertTrue(exit.isEmpty());
    assertTrue(set[0], "the low bytes are as expected");
    assertFalse(set[1]);
    assertEquals(0xffff_ffffL, old[0]);
  }

  @Test
  void aHostWithoutBytesHasNone() {
    try (HostMemory none = HostMemory.metadataOnly(PAGE);
        GuestMemfd memfd = vm.createGuestMemfd(GuestMemfd.builder(none).size(PAGE))) {
      vm.bind(0, GPA, PAGE, memfd, 0);
      Vcpu vcpu = vm.createVcpu();
      assertThrows(
          UnsupportedOperationException.class, () -> vcpu.tryCompareAndSet(GPA, 8, 0, 1, PRIVATE));
      assertThrows(
          UnsupportedOperationException.class, () -> vcpu.tryGetAndAdd(GPA, 8, 1, PRIVATE));
      memfd.punchHole(0, PAGE); // would wait for an access that was left under way
    }
  }

  /** A guest and its host count on one page, while it is taken from each of them now and then. */
  @ParameterizedTest
  @ValueSource(ints = {4, 8})
  void guestAndHostCountTogether(int size) throws Exception {
    GuestMemfd memfd = bound(1);
    HostMapping window = closing(memfd.mmap(0, PAGE, Protection.READ, Protection.WRITE));
    Worker<Void> host = Worker.start(() -> countByHost(window, size));
    Worker<Integer> guest = Worker.start(() -> countByGuest(memfd, size));
    int exits = guest.result();
    host.result();
    Vcpu vcpu = vm.createVcpu();
    assertTrue(vcpu.tryRead(GPA, size, SHARED), () -> vcpu.exit().toString());
    assertEquals(2L * COUNTS, vcpu.value());
    assertTrue(exits > 0, "the page was never taken from the guest");
  }

  private static Void countByHost(HostMapping window, int size) {
    for (int i = 0; i < COUNTS; ) {
      try {
        boolean counted;
        if (size == 4) {
          int old = window.getIntVolatile(0);
          counted = window.compareAndSetInt(0, old, old + 1);
        } else {
          long old = window.getLongVolatile(0);
          counted = window.compareAndSetLong(0, old, old + 1);
        }
        i += counted ? 1 : 0;
      } catch (SigBusException e) {
        Thread.onSpinWait(); // it is the guest's now, and will be ours again
      }
    }
    return null;
  }

  /** Counts in turns by the two operations, in whatever view is right; answers how often not. */
  private int countByGuest(GuestMemfd memfd, int size) {
    Vcpu vcpu = vm.createVcpu();
    int exits = 0;
    MemoryAttribute view = SHARED;
    for (int i = 0; i < COUNTS; ) {
      if (i % 1000 == 500) {
        memfd.tryMakeInaccessible(0, PAGE); // EAGAIN while a fault of the host is under way
      } else if (i % 1000 == 510) {
        memfd.makeAccessible(0, PAGE);
      }
      boolean done;
      boolean counted = true;
      if (i % 2 == 0) {
        done = vcpu.tryGetAndAdd(GPA, size, 1, view);
      } else if (vcpu.tryRead(GPA, size, view)) {
        long old = vcpu.value();
        done = vcpu.tryCompareAndSet(GPA, size, old, old + 1, view);
        counted = vcpu.value() == old;
      } else {
        done = false;
      }
      if (!done) {
        exits++;
        view = other(view);
      } else if (counted) {
        i++;
      }
    }
    memfd.makeAccessible(0, PAGE);
    return exits;
  }
}
