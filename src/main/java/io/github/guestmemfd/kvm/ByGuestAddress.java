package io.github.guestmemfd.kvm;

import io.github.guestmemfd.AttributeRange;
import io.github.guestmemfd.Errno;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdException;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.Protection;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** What a virtual machine monitor does with the files behind guest addresses. */
final class ByGuestAddress {
  private final VirtualMachine vm;

  ByGuestAddress(VirtualMachine vm) {
    this.vm = vm;
  }

  HostMapping mmap(long gpa, long size, Protection... protection) {
    String what = what("mmap", gpa, size);
    BoundSlot[] sorted = checked(what, gpa, size);
    BoundSlot slot = at(sorted, gpa);
    long end = VirtualMachine.endOfPiece(sorted, slot, gpa + size);
    if (end < gpa + size) {
      throw new GuestMemfdException(
          Errno.EINVAL,
          what + ": expected one piece of one file, which ends at 0x" + Long.toHexString(end));
    }
    try (GuestMemfd memfd = file(what, slot)) {
      return memfd.mmap(slot.memslot.offsetOf(gpa), size, protection);
    }
  }

  HostReference pin(long gpa, long size) {
    if (GuestMemfd.isInsideCallback()) { // the mapping by which it is pinned could not be unmapped
      throw new GuestMemfdException(Errno.EDEADLK, what("pin", gpa, size) + ": inside a callback");
    }
    HostReference reference = null;
    boolean done = false;
    try {
      try (HostMapping mapping = mmap(gpa, size, Protection.READ, Protection.WRITE)) {
        reference = mapping.pinFully(0, size);
      }
      done = true;
      return reference;
    } finally {
      if (!done && reference != null) { // a callback has thrown while it was unmapped
        reference.close();
      }
    }
  }

  void punchHole(long gpa, long size) {
    String what = what("punch", gpa, size);
    BoundSlot[] sorted = checked(what, gpa, size);
    for (long at = gpa, to; at < gpa + size; at = to) {
      BoundSlot slot = at(sorted, at);
      to = VirtualMachine.endOfPiece(sorted, slot, gpa + size);
      try (GuestMemfd memfd = file(what, slot)) {
        memfd.punchHole(slot.memslot.offsetOf(at), to - at);
      }
    }
  }

  List<MemoryAttributeRange> attributes(long gpa, long size) {
    if (VirtualMachine.isNoRange(gpa, size)) {
      throw noRange(what("attributes", gpa, size));
    }
    List<MemoryAttributeRange> parts = new ArrayList<>();
    long end = gpa + size;
    for (long at = gpa; at < end; ) {
      Memslot slot = vm.nextMemslot(at).orElse(null);
      if (slot == null || slot.gpa() >= end) {
        break;
      }
      long from = Math.max(at, slot.gpa());
      at = Math.min(end, slot.gpa() + slot.size());
      addAttributes(parts, slot, from, at);
    }
    return List.copyOf(parts);
  }

  /** Adds the parts of a memslot; the first may go on with what the last one added was. */
  private static void addAttributes(
      List<MemoryAttributeRange> parts, Memslot slot, long from, long to) {
    Optional<GuestMemfd> file = slot.memfd().reopen();
    if (file.isEmpty()) {
      return;
    }
    try (GuestMemfd memfd = file.get()) {
      for (AttributeRange range : memfd.attributes(slot.offsetOf(from), to - from)) {
        MemoryAttribute attribute =
            range.accessible() ? MemoryAttribute.SHARED : MemoryAttribute.PRIVATE;
        long start = slot.gpaOf(range.offset());
        int last = parts.size() - 1;
        MemoryAttributeRange before = last < 0 ? null : parts.get(last);
        if (before != null
            && before.attribute() == attribute
            && before.gpa() + before.size() == start) {
          parts.set(
              last,
              new MemoryAttributeRange(before.gpa(), before.size() + range.length(), attribute));
        } else {
          parts.add(new MemoryAttributeRange(start, range.length(), attribute));
        }
      }
    }
  }

  /** The memslots, which cover all of a range of pages. */
  private BoundSlot[] checked(String what, long gpa, long size) {
    if (VirtualMachine.isNoRange(gpa, size)) {
      throw noRange(what);
    }
    BoundSlot[] sorted = vm.memslots();
    long missing = VirtualMachine.firstMissing(sorted, gpa, size);
    if (missing >= 0) {
      throw new GuestMemfdException(
          Errno.ENOENT, what + ": no memslot at 0x" + Long.toHexString(missing));
    }
    return sorted;
  }

  private static GuestMemfdException noRange(String what) {
    return new GuestMemfdException(
        Errno.EINVAL, what + ": expected positive multiples of 4096, below 2^52 in all");
  }

  private static BoundSlot at(BoundSlot[] sorted, long gpa) {
    BoundSlot slot = VirtualMachine.find(sorted, gpa);
    if (slot == null) {
      throw new AssertionError("a gap at 0x" + Long.toHexString(gpa) + " in what was checked");
    }
    return slot;
  }

  private static GuestMemfd file(String what, BoundSlot slot) {
    return slot.memslot
        .memfd()
        .reopen()
        .orElseThrow(
            () ->
                new GuestMemfdException(
                    Errno.EBADF, what + ": the file of " + slot.memslot + " is gone"));
  }

  private static String what(String operation, long gpa, long size) {
    return operation + " gpa 0x" + Long.toHexString(gpa) + " size 0x" + Long.toHexString(size);
  }
}
