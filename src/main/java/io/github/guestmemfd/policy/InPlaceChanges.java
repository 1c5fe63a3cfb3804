package io.github.guestmemfd.policy;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Memslot;
import io.github.guestmemfd.kvm.VirtualMachine;
import java.util.Optional;

/**
 * Conversions of pages that stay where they are, in place; private content may be punched before.
 */
final class InPlaceChanges implements Changes {
  private final VirtualMachine vm;
  private final PrivatePages onShared;

  /** The ranges being converted, where private pages are discarded. */
  private final RangesUnderWay underWay;

  InPlaceChanges(VirtualMachine vm, PrivatePages onShared, RangesUnderWay underWay) {
    this.vm = vm;
    this.onShared = onShared;
    this.underWay = underWay;
  }

  @Override
  public Errno change(GpaRange range, MemoryAttribute attribute, BusyGuestPage busy) {
    if (onShared == PrivatePages.KEEP) {
      return vm.tryConvertInPlace(range.gpa(), range.size(), attribute, busy);
    }
    // What depends on a conversion that this ends may convert the range too: it comes afterwards.
    return GuestMemfd.completingAfter(() -> discardAndChange(range, attribute, busy));
  }

  private Errno discardAndChange(GpaRange range, MemoryAttribute attribute, BusyGuestPage busy) {
    if (!underWay.lock(range)) {
      return Errno.EINTR;
    }
    try {
      Errno errno = attribute == MemoryAttribute.SHARED ? discard(range) : Errno.OK;
      return errno == Errno.OK
          ? vm.tryConvertInPlace(range.gpa(), range.size(), attribute, busy)
          : errno;
    } finally {
      underWay.unlock(range);
    }
  }

  // ---- discarding ----

  /** Punches the private pages of a range. */
  private Errno discard(GpaRange range) {
    if (!hasMemory(range)) {
      return Errno.ENOENT; // before anything is lost
    }
    for (long at = range.gpa(); at < range.end(); ) {
      Optional<Memslot> found = vm.memslotAt(at);
      if (found.isEmpty()) {
        return Errno.ENOENT;
      }
      Memslot slot = found.get();
      long to = Math.min(range.end(), slot.gpa() + slot.size());
      long offset = slot.offsetOf(at);
      Errno errno = discard(slot, offset, offset + (to - at));
      if (errno != Errno.OK) {
        return errno;
      }
      at = to;
    }
    return Errno.OK;
  }

  private boolean hasMemory(GpaRange range) {
    for (long at = range.gpa(); at < range.end(); ) {
      Optional<Memslot> slot = vm.memslotAt(at);
      if (slot.isEmpty()) {
        return false;
      }
      at = slot.get().gpa() + slot.get().size();
    }
    return true;
  }

  private static Errno discard(Memslot slot, long offset, long end) {
    if (slot.memfd() == null) {
      return Errno.OK; // none of it can be private
    }
    Optional<GuestMemfd> file = slot.openFile();
    if (file.isEmpty()) {
      return Errno.EBADF;
    }
    try (GuestMemfd memfd = file.get()) {
      for (long at = offset; at < end; ) {
        if (Thread.currentThread().isInterrupted()) {
          return Errno.EINTR;
        }
        long from = memfd.firstInaccessible(at, end - at);
        if (from < end) {
          at = memfd.firstAccessible(from, end - from);
          if (from < at) {
            memfd.punchHole(from, at - from);
          }
        } else {
          at = end;
        }
      }
      return Errno.OK;
    } catch (GuestMemfdException e) {
      return e.errno();
    }
  }
}
