package io.github.guestmemfd.kvm;

import java.util.List;

/** Pages of a memslot, from one up to another. */
record SlotPages(BoundSlot slot, long from, long to) {

  /** The first guest frame of any of these; the largest number for none. */
  static long firstGfn(List<SlotPages> all) {
    long first = Long.MAX_VALUE;
    for (SlotPages pages : all) {
      first = Math.min(first, pages.slot.gfn(pages.from));
    }
    return first;
  }

  /** The guest frame after the last of any of these; 0 for none. */
  static long endGfn(List<SlotPages> all) {
    long end = 0;
    for (SlotPages pages : all) {
      end = Math.max(end, pages.slot.gfn(pages.to));
    }
    return end;
  }
}
