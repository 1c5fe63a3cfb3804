package io.github.guestmemfd.kvm;

import java.util.BitSet;

/** The pages of a memslot that the guest has written: its dirty bitmap. Guarded by mmu_lock. */
final class DirtyLog {
  private final BitSet pages = new BitSet();

  void add(long page) {
    pages.set((int) page); // below 2^31: MAX_SLOT_BYTES
  }

  void addAll(BitSet more) {
    pages.or(more);
  }

  /** Takes the pages out that are in the log and among some. */
  BitSet take(BitSet wanted) {
    BitSet taken = (BitSet) pages.clone();
    taken.and(wanted);
    pages.andNot(taken);
    return taken;
  }

  /** Takes all pages out. */
  BitSet takeAll() {
    BitSet taken = (BitSet) pages.clone();
    pages.clear();
    return taken;
  }
}
