package io.github.guestmemfd.kvm;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.spi.Counters;

/**
 * The prefaulting of a range, which maps pages before the guest uses them: {@code
 * KVM_PRE_FAULT_MEMORY}.
 */
final class PreFault {
  private final MemoryRegions regions;
  private final Mmu mmu;
  private final Counters<VmMeter> counters;

  PreFault(MemoryRegions regions, Mmu mmu, Counters<VmMeter> counters) {
    this.regions = regions;
    this.mmu = mmu;
    this.counters = counters;
  }

  /** See {@link VirtualMachine#preFault}. */
  long preFault(long gpa, long size) {
    String wrong = GuestRange.wrongUnsigned(gpa, size);
    Errno errno = wrong == null ? Errno.OK : Errno.EINVAL;
    long done = 0;
    while (errno == Errno.OK && done != size) {
      errno = Thread.currentThread().isInterrupted() ? Errno.EINTR : preFaultPage(gpa + done);
      if (errno == Errno.OK) {
        done += HostMemory.PAGE_SIZE;
      }
    }
    if (done == 0) {
      throw new GuestMemfdException(
          errno,
          "pre-fault gpa "
              + Hex.of(gpa)
              + " size "
              + Long.toUnsignedString(size)
              + ": "
              + (wrong == null ? whyNotMapped(errno, gpa) : wrong));
    }
    return done;
  }

  private String whyNotMapped(Errno errno, long gpa) {
    Memslots memslots = regions.memslots();
    BoundSlot slot = memslots.find(gpa);
    if (slot != null && !slot.isInFile(MemoryAttribute.SHARED) && errno == Errno.EFAULT) {
      return "no memory of the host, or no file for what is private: " + slot.memslot;
    }
    if (slot != null && slot.memslot.memfd() != null && slot.gmem == null) {
      return "expected a file from createGuestMemfd, or adopted, actual " + slot.memslot;
    }
    return slot != null && errno == Errno.EFAULT
        ? "the file of " + slot.memslot + " is gone"
        : memslots.why(errno, gpa);
  }

  private Errno preFaultPage(long gpa) {
    MemoryAttribute attribute = MemoryAttribute.PRIVATE;
    for (int round = 0; ; ) {
      BoundSlot slot = regions.memslots().find(gpa);
      if (slot == null) {
        return Errno.ENOENT;
      }
      int result = mmu.fault(slot, slot.page(gpa), attribute, false, counters);
      if (result == Mmu.NO_HOST_MEMORY) {
        return Errno.EFAULT;
      } else if (result == Mmu.MISMATCH) {
        attribute =
            attribute == MemoryAttribute.PRIVATE ? MemoryAttribute.SHARED : MemoryAttribute.PRIVATE;
      } else if (result != Mmu.RETRY) {
        return Errno.ofResult(result);
      } else if (!mmu.awaitRetry(round++)) {
        return Errno.EINTR;
      }
    }
  }
}
