package io.github.guestmemfd.kvm;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Protection;
import java.util.Optional;

/** The operations of a virtual machine monitor on the files behind guest addresses. */
final class ByGuestAddress {
  private final MemoryRegions regions;

  ByGuestAddress(MemoryRegions regions) {
    this.regions = regions;
  }

  HostMapping mmap(long gpa, long size, Protection... protection) {
    return mmap("mmap", gpa, size, protection);
  }

  private HostMapping mmap(String operation, long gpa, long size, Protection... protection) {
    Memslots memslots = checked(operation, gpa, size);
    BoundSlot slot = at(memslots, gpa);
    long end = memslots.endOfPiece(slot, gpa + size);
    if (end < gpa + size) {
      throw new GuestMemfdException(
          Errno.EINVAL,
          what(operation, gpa, size)
              + ": expected one piece of one file, which ends at "
              + Hex.of(end));
    }
    try (GuestMemfd memfd = file(operation, gpa, size, slot)) {
      return memfd.mmap(slot.memslot.offsetOf(gpa), size, protection);
    }
  }

  HostReference pin(long gpa, long size) {
    Optional<String> callback = GuestMemfd.currentCallback();
    if (callback.isPresent()) { // the mapping by which it is pinned could not be unmapped
      throw new GuestMemfdException(
          Errno.EDEADLK, what("pin", gpa, size) + ": called from inside " + callback.get());
    }
    HostReference reference = null;
    try (HostMapping mapping = mmap("pin", gpa, size, Protection.READ, Protection.WRITE)) {
      reference = mapping.pinFully(0, size);
    } catch (Throwable e) {
      if (reference != null) { // a callback threw while it was unmapped
        reference.close();
      }
      throw e;
    }
    return reference;
  }

  void punchHole(long gpa, long size) {
    Memslots memslots = checked("punch", gpa, size);
    for (long at = gpa, to; at < gpa + size; at = to) {
      BoundSlot slot = at(memslots, at);
      to = memslots.endOfPiece(slot, gpa + size);
      try (GuestMemfd memfd = file("punch", gpa, size, slot)) {
        memfd.punchHole(slot.memslot.offsetOf(at), to - at);
      }
    }
  }

  /** The memslots, which cover all of a range of pages. */
  private Memslots checked(String operation, long gpa, long size) {
    String wrong = GuestRange.wrong(gpa, size);
    if (wrong != null) {
      throw new GuestMemfdException(Errno.EINVAL, what(operation, gpa, size) + ": " + wrong);
    }
    Memslots memslots = regions.memslots();
    long missing = memslots.firstMissing(gpa, size);
    if (missing >= 0) {
      throw new GuestMemfdException(
          Errno.ENOENT, what(operation, gpa, size) + ": no memslot at " + Hex.of(missing));
    }
    return memslots;
  }

  private static BoundSlot at(Memslots memslots, long gpa) {
    BoundSlot slot = memslots.find(gpa);
    if (slot == null) {
      throw new AssertionError("a gap at " + Hex.of(gpa) + " in what was checked");
    }
    return slot;
  }

  private static GuestMemfd file(String operation, long gpa, long size, BoundSlot slot) {
    return slot.memslot
        .openFile()
        .orElseThrow(
            () ->
                new GuestMemfdException(
                    Errno.EBADF, what(operation, gpa, size) + ": " + slot.memslot.whyNoFile()));
  }

  private static String what(String operation, long gpa, long size) {
    return operation + " gpa " + Hex.of(gpa) + " size " + size;
  }
}
