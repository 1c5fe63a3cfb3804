package io.github.guestmemfd.memory;

/**
 * The state word of a frame: everything about it but its counts.
 *
 * <pre>
 *  63                32  31      10  9   8   7   6   5   4   3   2   1   0
 * +--------------------+----------+---+---+---+---+---+---+---+---+---+---+
 * |  owner, next (32)  |    0     | M | I | C | A | P | X | D | U | W | L |
 * +--------------------+----------+---+---+---+---+---+---+---+---+---+---+
 * </pre>
 *
 * <ul>
 *   <li><b>L</b>: the folio is locked. <b>W</b>: a thread queues for the lock.
 *   <li><b>U</b>: up to date, its bytes are its content. Clear, they are whatever was there before.
 *   <li><b>D</b>: taken out of the direct map.
 *   <li><b>X</b>: poisoned, the memory has failed. It stays set: such a frame is never used again.
 *   <li><b>P</b>: prepared, the operations have been told what the folio is used for.
 *   <li><b>A</b>: allocated. Clear, the frame is free. A thread that sets X or A looks at the other
 *       in the same atomic step, so a frame fails either in use or free.
 *   <li><b>C</b>: the page cache's reference is left to the lock: its file is gone, and the next
 *       unlock drops it. Set only while L is.
 *   <li><b>I</b>: isolated, the page of a poisoned frame has been taken from all its users.
 *   <li><b>M</b>: marked: its bytes may have been written. Clear, they are the zeroes that they
 *       were made with, and need not be zeroed. It stays set, and is set before the first byte is
 *       written.
 *   <li><b>owner</b>: the number of the file the frame belongs to, 0 before it enters a page cache.
 *       While the frame is free: the pfn of the next free frame.
 * </ul>
 *
 * <p>Every change is an atomic read-modify-write, since a late thread may change its own bit at any
 * time: one that has locked a frame which was freed in the meantime, for instance.
 */
final class FrameState {

  static final long LOCKED = 1L;
  static final long WAITERS = 1L << 1;
  static final long UPTODATE = 1L << 2;
  static final long DIRECT_REMOVED = 1L << 3;
  static final long POISONED = 1L << 4;
  static final long PREPARED = 1L << 5;
  static final long ALLOCATED = 1L << 6;
  static final long LEFT = 1L << 7;
  static final long ISOLATED = 1L << 8;
  static final long MARKED = 1L << 9;

  static final int OWNER_SHIFT = 32;
  static final long OWNER_MASK = -1L << OWNER_SHIFT;

  /**
   * What the release of a frame clears: all but the bits of the folio lock, which a late thread may
   * hold, the poison bit, and the mark of bytes that may have been written, which stay for good.
   */
  static final long CLEARED_BY_RELEASE =
      UPTODATE | PREPARED | DIRECT_REMOVED | ALLOCATED | OWNER_MASK;

  private FrameState() {}

  // ---- the folio lock ----

  static boolean isLocked(long word) {
    return (word & LOCKED) != 0;
  }

  static boolean hasWaiters(long word) {
    return (word & WAITERS) != 0;
  }

  /** Whether the lock can be taken: it is free, and no thread queues for it. */
  static boolean isFreeToLock(long word) {
    return (word & (LOCKED | WAITERS)) == 0;
  }

  /** Whether the page cache's reference is left to the lock. */
  static boolean isLeft(long word) {
    return (word & LEFT) != 0;
  }

  static long unlocked(long word) {
    return word & ~(LOCKED | LEFT);
  }

  // ---- flags ----

  static boolean isUptodate(long word) {
    return (word & UPTODATE) != 0;
  }

  static boolean isMarked(long word) {
    return (word & MARKED) != 0;
  }

  static boolean isPrepared(long word) {
    return (word & PREPARED) != 0;
  }

  static boolean isOutOfDirectMap(long word) {
    return (word & DIRECT_REMOVED) != 0;
  }

  static boolean isPoisoned(long word) {
    return (word & POISONED) != 0;
  }

  static boolean isIsolated(long word) {
    return (word & ISOLATED) != 0;
  }

  static boolean isAllocated(long word) {
    return (word & ALLOCATED) != 0;
  }

  // ---- the owner, and the next free frame ----

  static int owner(long word) {
    return (int) (word >>> OWNER_SHIFT);
  }

  static long withOwner(long word, int owner) {
    return (word & ~OWNER_MASK) | ((long) owner << OWNER_SHIFT);
  }

  /** The word of a frame that is given to a file. */
  static long allocated(long word, int owner) {
    return withOwner(word | ALLOCATED, owner);
  }

  /** The next free frame, of one on the free list; any number for one that has been taken. */
  static int next(long word) {
    return owner(word) & (int) FrameWords.PFN_MASK;
  }

  static long withNext(long word, int pfn) {
    return withOwner(word, pfn);
  }
}
