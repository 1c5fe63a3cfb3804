package io.github.guestmemfd.memory;

/**
 * The state word of a frame: everything about it but who holds it.
 *
 * <pre>
 *  63                32  31              8  7   6   5   4   3   2   1   0
 * +--------------------+------------------+---+---+---+---+---+---+---+---+
 * |  owner, next (32)  |        0         | C | A | P | X | D | U | W | L |
 * +--------------------+------------------+---+---+---+---+---+---+---+---+
 * </pre>
 *
 * <ul>
 *   <li><b>L</b>: the folio is locked. <b>W</b>: somebody queues for the lock.
 *   <li><b>U</b>: up to date, its bytes are its content. Clear, they are whatever was there before.
 *   <li><b>D</b>: taken out of the direct map.
 *   <li><b>X</b>: poisoned, the memory has failed. It stays set: such a frame is never used again.
 *   <li><b>P</b>: prepared, the operations have been told what the folio is used for.
 *   <li><b>A</b>: allocated. Clear, the frame is free. Who sets X or A looks at the other in the
 *       same atomic step, so a frame fails either in use or free.
 *   <li><b>C</b>: the page cache's reference is left to the lock: its file is gone, and the next
 *       unlock drops it. Set only while L is.
 *   <li><b>owner</b>: the number of the file the frame belongs to, 0 before it enters a page cache.
 *       While the frame is free: the pfn of the next free frame.
 * </ul>
 *
 * <p>Every change is an atomic read-modify-write, since a thread that arrives late (it has just
 * locked a frame that meanwhile was freed, say) may touch its own bit at any time.
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

  static final int OWNER_SHIFT = 32;
  static final long OWNER_MASK = -1L << OWNER_SHIFT;

  private FrameState() {}

  static int owner(long word) {
    return (int) (word >>> OWNER_SHIFT);
  }

  static long withOwner(long word, int owner) {
    return (word & ~OWNER_MASK) | ((long) owner << OWNER_SHIFT);
  }
}
