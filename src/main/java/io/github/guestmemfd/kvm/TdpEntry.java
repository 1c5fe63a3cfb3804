package io.github.guestmemfd.kvm;

/**
 * An entry of a guest page table: a page mapped for a guest, for the attribute it had then.
 *
 * <pre>
 *  63                 35   34   33   32   31   30  29                0
 * +---------------------+----+----+----+----+----+-------------------+
 * |    version (29)     | W  | H  | Z  | K  | S  |     pfn (30)      |
 * +---------------------+----+----+----+----+----+-------------------+
 * </pre>
 *
 * <ul>
 *   <li><b>pfn</b>: the frame, 0 where nothing is mapped. <b>S</b>: mapped as shared, else private.
 *   <li><b>K</b>: the entry holds a safe reference on its frame.
 *   <li><b>Z</b>: zapped. No access begins by it any more, but some may be under way. It stays,
 *       with its reference, until they have been waited for: the record of what is still to be
 *       flushed.
 *   <li><b>H</b>: the frame is of the host's memory at the user address, else of the guest_memfd.
 *   <li><b>W</b>: the guest may write. Not in a read-only memslot, nor in one whose dirty pages are
 *       logged before the first write.
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
  private static final long HOST = ZAPPED << 1;
  private static final long WRITABLE = HOST << 1;
  private static final long VERSION = WRITABLE << 1;
  private static final long VERSION_MASK = -VERSION;

  private TdpEntry() {}

  /** The frame, 0 for none. */
  static int pfn(long entry) {
    return (int) (entry & PFN_MASK);
  }

  /** Whether an access may begin that has this view of the page. */
  static boolean maps(long entry, MemoryAttribute view, boolean write) {
    long mustBe = (view == MemoryAttribute.SHARED ? SHARED : 0) | (write ? WRITABLE : 0);
    long matters = ZAPPED | SHARED | (write ? WRITABLE : 0);
    return (entry & matters) == mustBe && pfn(entry) != 0;
  }

  static boolean isWritable(long entry) {
    return (entry & WRITABLE) != 0;
  }

  static boolean isHost(long entry) {
    return (entry & HOST) != 0;
  }

  static boolean isZapped(long entry) {
    return (entry & ZAPPED) != 0;
  }

  static boolean keepsReference(long entry) {
    return (entry & KEEPS_REFERENCE) != 0;
  }

  /** A page of the file, for the first version. */
  static long ofFile(int pfn, MemoryAttribute attribute, boolean keepsReference) {
    return pfn
        | WRITABLE
        | (attribute == MemoryAttribute.SHARED ? SHARED : 0)
        | (keepsReference ? KEEPS_REFERENCE : 0);
  }

  /** A page of the host's memory, which is always shared, for the first version. */
  static long ofHost(int pfn) {
    return pfn | WRITABLE | SHARED | HOST;
  }

  /**
   * A page where there was the old entry. If that has a frame it is of the same page, and any
   * reference that it keeps goes on being kept, instead of another.
   */
  static long mapped(long old, long page, boolean writable) {
    long reference = (pfn(old) == 0 ? page : old) & KEEPS_REFERENCE;
    long bits = page & ~VERSION_MASK & ~KEEPS_REFERENCE & (writable ? -1 : ~WRITABLE);
    return ((old & VERSION_MASK) + VERSION) | bits | reference;
  }

  /** The same page, without leave to write. */
  static long writeProtected(long old) {
    return (old & ~WRITABLE) + VERSION;
  }

  static long zapped(long old) {
    return (old | ZAPPED) + VERSION;
  }

  static long removed(long old) {
    return (old & VERSION_MASK) + VERSION;
  }
}
