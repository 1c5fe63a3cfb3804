package io.github.guestmemfd.kvm;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Hex;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Comparator;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The memslots of a virtual machine at one time, by guest address: {@code struct kvm_memslots}.
 * Immutable; a change of the memslots makes a new one.
 */
final class Memslots {
  static final Memslots NONE = new Memslots(List.of());

  private final BoundSlot[] sorted;

  Memslots(Collection<BoundSlot> slots) {
    sorted = slots.toArray(new BoundSlot[0]);
    Arrays.sort(sorted, Comparator.comparingLong(s -> s.memslot.gpa()));
  }

  /** The memslot that covers a guest address; null if there is none. */
  @Nullable BoundSlot find(long gpa) {
    int low = 0;
    int high = sorted.length - 1;
    while (low <= high) {
      int middle = (low + high) >>> 1;
      BoundSlot slot = sorted[middle];
      if (slot.contains(gpa)) {
        return slot;
      }
      if (gpa < slot.memslot.gpa()) {
        high = middle - 1;
      } else {
        low = middle + 1;
      }
    }
    return null;
  }

  /** The memslot that has a byte of a file; null if there is none. */
  @Nullable BoundSlot find(GuestMemfd memfd, long offset) {
    for (BoundSlot slot : sorted) {
      if (slot.memslot.isOf(memfd)
          && Long.compareUnsigned(offset - slot.memslot.offset(), slot.memslot.size()) < 0) {
        return slot;
      }
    }
    return null;
  }

  /** The memslot that covers a guest address or, if there is none, the first one above it. */
  @Nullable BoundSlot next(long gpa) {
    int low = 0;
    for (int high = sorted.length; low < high; ) {
      int middle = (low + high) >>> 1;
      if (sorted[middle].endGpa() > gpa) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low == sorted.length ? null : sorted[low];
  }

  /** The first address of a range that has no memslot; -1 if every address has one. */
  long firstMissing(long gpa, long size) {
    for (long at = gpa; at < gpa + size; ) {
      BoundSlot slot = find(at);
      if (slot == null) {
        return at;
      }
      at = slot.endGpa();
    }
    return -1;
  }

  /** The end of the piece that begins in a memslot and goes on in its file without a gap. */
  long endOfPiece(BoundSlot first, long end) {
    BoundSlot last = first;
    while (last.endGpa() < end) {
      BoundSlot next = find(last.endGpa());
      if (next == null
          || !next.memslot.isOf(last.memslot.memfd())
          || next.memslot.offset() != last.memslot.offset() + last.memslot.size()) {
        break;
      }
      last = next;
    }
    return Math.min(end, last.endGpa());
  }

  /** The reason for the errno that this thread has just got for a guest address. */
  String why(Errno errno, long gpa) {
    BoundSlot slot = find(gpa);
    if (slot == null) {
      return "no memslot at " + Hex.of(gpa);
    }
    GuestMemfd memfd = slot.memslot.memfd();
    return memfd == null ? slot.memslot.whyNoFile() : "at " + Hex.of(gpa) + ": " + memfd.why(errno);
  }

  /** The pages of all memslots in a range of guest frames. */
  List<SlotPages> pages(long first, long end) {
    List<SlotPages> pages = new ArrayList<>(1); // most often there is one
    for (BoundSlot slot : sorted) {
      long from = Math.max(first, slot.gfn(0)) - slot.gfn(0);
      long to = Math.min(end, slot.gfn(slot.pages())) - slot.gfn(0);
      if (from < to) {
        pages.add(new SlotPages(slot, from, to));
      }
    }
    return pages;
  }

  List<BoundSlot> all() {
    return List.of(sorted);
  }
}
