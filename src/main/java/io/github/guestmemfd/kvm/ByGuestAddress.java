package io.github.guestmemfd.kvm;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.AttributeRange;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Protection;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** The operations of a virtual machine monitor on the files behind guest addresses. */
final class ByGuestAddress {
  private final VirtualMachine vm;

  ByGuestAddress(VirtualMachine vm) {
    this.vm = vm;
  }

  HostMapping mmap(long gpa, long size, Protection... protection) {
    return mmap("mmap", gpa, size, protection);
  }

  private HostMapping mmap(String operation, long gpa, long size, Protection... protection) {
    BoundSlot[] sorted = checked(operation, gpa, size);
    BoundSlot slot = at(sorted, gpa);
    long end = VirtualMachine.endOfPiece(sorted, slot, gpa + size);
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
    boolean done = false;
    try {
      try (HostMapping mapping = mmap("pin", gpa, size, Protection.READ, Protection.WRITE)) {
        reference = mapping.pinFully(0, size);
      }
      done = true;
      return reference;
    } finally {
      if (!done && reference != null) { // a callback threw while it was unmapped
        reference.close();
      }
    }
  }

  void punchHole(long gpa, long size) {
    BoundSlot[] sorted = checked("punch", gpa, size);
    for (long at = gpa, to; at < gpa + size; at = to) {
      BoundSlot slot = at(sorted, at);
      to = VirtualMachine.endOfPiece(sorted, slot, gpa + size);
      try (GuestMemfd memfd = file("punch", gpa, size, slot)) {
        memfd.punchHole(slot.memslot.offsetOf(at), to - at);
      }
    }
  }

  List<MemoryAttributeRange> attributes(long gpa, long size) {
    requireRange("attributes", gpa, size);
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

  /** Adds the parts of a memslot; the first may extend the last part added before. */
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
  private BoundSlot[] checked(String operation, long gpa, long size) {
    requireRange(operation, gpa, size);
    BoundSlot[] sorted = vm.memslots();
    long missing = VirtualMachine.firstMissing(sorted, gpa, size);
    if (missing >= 0) {
      throw new GuestMemfdException(
          Errno.ENOENT, what(operation, gpa, size) + ": no memslot at " + Hex.of(missing));
    }
    return sorted;
  }

  private static void requireRange(String operation, long gpa, long size) {
    String wrong = VirtualMachine.wrong(gpa, size);
    if (wrong != null) {
      throw new GuestMemfdException(Errno.EINVAL, what(operation, gpa, size) + ": " + wrong);
    }
  }

  private static BoundSlot at(BoundSlot[] sorted, long gpa) {
    BoundSlot slot = VirtualMachine.find(sorted, gpa);
    if (slot == null) {
      throw new AssertionError("a gap at " + Hex.of(gpa) + " in what was checked");
    }
    return slot;
  }

  private static GuestMemfd file(String operation, long gpa, long size, BoundSlot slot) {
    return slot.memslot
        .memfd()
        .reopen()
        .orElseThrow(
            () ->
                new GuestMemfdException(
                    Errno.EBADF,
                    what(operation, gpa, size) + ": the file of " + slot.memslot + " is gone"));
  }

  private static String what(String operation, long gpa, long size) {
    return operation + " gpa " + Hex.of(gpa) + " size " + size;
  }
}
