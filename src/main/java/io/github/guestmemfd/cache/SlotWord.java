package io.github.guestmemfd.cache;

import io.github.guestmemfd.memory.FrameTable;

/**
 * A slot of the page cache: what stands at a page index.
 *
 * <pre>
 *  63          35   34   33   32   31   30  29                    0
 * +---------------+----+----+----+----+----+-----------------------+
 * |   seq (29)    | N  | R  | W  | B  | I  |       pfn (30)        |
 * +---------------+----+----+----+----+----+-----------------------+
 * </pre>
 *
 * <ul>
 *   <li><b>pfn</b>: the frame, 0 for a hole.
 *   <li><b>I</b>: the page is inaccessible (private) to the host. Holes have the attribute too.
 *   <li><b>B</b>: busy. A conversion, punch or the end of the file is under way here; its thread
 *       alone may write the slot, and no other may begin to use the page.
 *   <li><b>W</b>: while busy and committed, what I was before, in case the commit must be undone.
 *   <li><b>R</b>: the folio is ready, up to date and prepared, so that a lookup need not look at
 *       the frame's state. Clear, it may be ready nevertheless.
 *   <li><b>N</b>: neither side's. The page is to turn inaccessible as soon as the last unexpected
 *       holder of the range lets go; until then no thread may begin to use it.
 *   <li><b>seq</b>: raised by every change, so that the same value means that nothing happened. It
 *       wraps; a reader would have to sleep through 2^29 changes to be deceived.
 * </ul>
 *
 * <p>Attribute, frame and sequence change together. The slot is thus the page cache's entry, the
 * attribute and the seqcount at once: a lookup loads it, takes its reference, loads it again, and
 * starts over if it differs.
 */
public final class SlotWord {

  static final long PFN_MASK = (1L << FrameTable.PFN_BITS) - 1;

  /** The page is inaccessible. */
  public static final long INACCESSIBLE = 1L << 30;

  static final long BUSY = 1L << 31;
  static final long WAS_INACCESSIBLE = 1L << 32;
  static final long READY = 1L << 33;
  static final long NEITHER = 1L << 34;
  static final int SEQ_SHIFT = 35;
  static final long SEQ = 1L << SEQ_SHIFT;
  static final long SEQ_MASK = -1L << SEQ_SHIFT;

  private SlotWord() {}

  /**
   * The frame at the page.
   *
   * @param slot a slot
   * @return its pfn, 0 for a hole
   */
  public static int pfn(long slot) {
    return (int) (slot & PFN_MASK);
  }

  /**
   * Whether the page is inaccessible to the host.
   *
   * @param slot a slot
   * @return the attribute
   */
  public static boolean isInaccessible(long slot) {
    return (slot & INACCESSIBLE) != 0;
  }

  /**
   * Whether a range operation is under way at the page.
   *
   * @param slot a slot
   * @return the busy bit
   */
  public static boolean isBusy(long slot) {
    return (slot & BUSY) != 0;
  }

  /**
   * Whether the folio at the page is known to be up to date and prepared.
   *
   * @param slot a slot
   * @return the ready bit
   */
  public static boolean isReady(long slot) {
    return (slot & READY) != 0;
  }

  /**
   * Whether the page is neither the host's nor the guest's, until a pending conversion is complete.
   *
   * @param slot a slot
   * @return the answer
   */
  public static boolean isNeither(long slot) {
    return (slot & NEITHER) != 0;
  }

  /**
   * Whether the host may touch the page, as far as its attribute goes.
   *
   * @param slot a slot
   * @return false if it is the guest's, or neither side's
   */
  public static boolean isOpenToHost(long slot) {
    return (slot & (INACCESSIBLE | NEITHER)) == 0;
  }

  /** Whether the page has changed its attribute in the operation that is under way there. */
  static boolean isChanged(long slot) {
    return ((slot & WAS_INACCESSIBLE) != 0) != ((slot & INACCESSIBLE) != 0);
  }

  /** Whether no thread may begin to use the page. */
  static boolean isClosed(long slot) {
    return (slot & (BUSY | NEITHER)) != 0;
  }

  /** Whether the page has a folio that is ready, and threads may begin to use it. */
  static boolean isReadyAndOpen(long slot) {
    return (slot & (READY | BUSY | NEITHER)) == READY;
  }

  static long busy(long slot) {
    return slot | BUSY;
  }

  static long ready(long slot) {
    return (slot | READY) + SEQ;
  }

  static long pending(long slot) {
    return isInaccessible(slot) ? slot : slot | NEITHER;
  }

  static long notPending(long slot) {
    return slot & ~NEITHER;
  }

  static long filled(long slot, int pfn) {
    return (slot | pfn) + SEQ;
  }

  static long moved(long slot, int pfn) {
    return (slot & ~PFN_MASK) | pfn;
  }

  static long emptied(long slot) {
    return slot & ~(PFN_MASK | READY);
  }

  static long unready(long slot) {
    return slot & ~READY;
  }

  static long committed(long slot, boolean inaccessible) {
    long was = (slot & INACCESSIBLE) == 0 ? 0 : WAS_INACCESSIBLE;
    return (slot & ~(INACCESSIBLE | WAS_INACCESSIBLE | NEITHER))
        | was
        | (inaccessible ? INACCESSIBLE : 0);
  }

  static long uncommitted(long slot) {
    long was = (slot & WAS_INACCESSIBLE) == 0 ? 0 : INACCESSIBLE;
    return (slot & ~(INACCESSIBLE | WAS_INACCESSIBLE)) | was;
  }

  static long released(long slot) {
    return (slot & ~(BUSY | WAS_INACCESSIBLE)) + SEQ;
  }

  /** As {@link #released}, for holes that stand as one word: what was a hole still is one. */
  static long releasedHole(long slot) {
    return released(slot) & ~SEQ_MASK;
  }
}
