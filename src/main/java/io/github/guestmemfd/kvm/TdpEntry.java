package io.github.guestmemfd.kvm;

/**
 * An entry of a guest page table: a page mapped for a guest, for the attribute it had then.
 *
 * <pre>
 *  63                      33   32   31   30  29                    0
 * +--------------------------+----+----+----+-----------------------+
 * |       version (31)       | Z  | K  | S  |       pfn (30)        |
 * +--------------------------+----+----+----+-----------------------+
 * </pre>
 *
 * <ul>
 *   <li><b>pfn</b>: the frame, 0 where nothing is mapped. <b>S</b>: mapped as shared, else private.
 *   <li><b>K</b>: the entry holds a safe reference on its frame.
 *   <li><b>Z</b>: zapped. No access begins by it any more, but some may be under way. It stays,
 *       with its reference, until they have been waited for: the record of what is still to be
 *       flushed.
 *   <li><b>version</b>: raised by every change, so that an entry which comes back is another.
 * </ul>
 *
 * <p>Changed under {@code mmu_lock} alone, by a store with volatile semantics; read without.
 */
final class TdpEntry {
  private static final int PFN_BITS = 30;
  private static final long PFN_MASK = (1L << PFN_BITS) - 1;
  private static final long SHARED = 1L << PFN_BITS;
  private static final long KEEPS_REFERENCE = SHARED << 1;
  private static final long ZAPPED = KEEPS_REFERENCE << 1;
  private static final long VERSION = ZAPPED << 1;
  private static final long VERSION_MASK = -VERSION;

  private TdpEntry() {}

  /** The frame, 0 for none. */
  static int pfn(long entry) {
    return (int) (entry & PFN_MASK);
  }

  /** Whether an access may begin that has this view of the page. */
  static boolean maps(long entry, MemoryAttribute view) {
    return (entry & ZAPPED) == 0
        && pfn(entry) != 0
        && ((entry & SHARED) != 0) == (view == MemoryAttribute.SHARED);
  }

  static boolean isZapped(long entry) {
    return (entry & ZAPPED) != 0;
  }

  static boolean keepsReference(long entry) {
    return (entry & KEEPS_REFERENCE) != 0;
  }

  /** A page mapped, where there was the old entry. */
  static long mapped(long old, int pfn, MemoryAttribute attribute, boolean keepsReference) {
    return ((old & VERSION_MASK) + VERSION)
        | pfn
        | (attribute == MemoryAttribute.SHARED ? SHARED : 0)
        | (keepsReference ? KEEPS_REFERENCE : 0);
  }

  static long zapped(long old) {
    return (old | ZAPPED) + VERSION;
  }

  static long removed(long old) {
    return (old & VERSION_MASK) + VERSION;
  }
}
