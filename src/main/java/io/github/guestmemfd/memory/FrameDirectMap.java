package io.github.guestmemfd.memory;

import io.github.guestmemfd.spi.IdleStrategy;

/**
 * The direct map of a host: a bit in the state word of each frame says whether it can be reached.
 *
 * <p><b>Guarantees.</b> An access announces its frame and then looks at the bit, a removal sets the
 * bit and then looks at the announcements: see {@link Accesses}.
 */
final class FrameDirectMap {
  private final FrameWords words;
  private final Accesses accesses;
  private final IdleStrategy idle;

  /**
   * Makes a direct map of all frames.
   *
   * @param words of the frames
   * @param accesses where accesses are announced
   * @param idle how threads wait
   */
  FrameDirectMap(FrameWords words, Accesses accesses, IdleStrategy idle) {
    this.words = words;
    this.accesses = accesses;
    this.idle = idle;
  }

  /** See {@link FrameTable#removeFromDirectMap}. */
  void removeFromDirectMap(int pfn) throws InterruptedException {
    words.setState(pfn, FrameState.DIRECT_REMOVED);
    Accesses.UnderWay underWay = accesses.underWay();
    if (underWay != null) {
      underWay.include(pfn);
      try {
        underWay.await(idle);
      } catch (Throwable e) {
        restoreToDirectMap(pfn);
        throw e;
      }
    }
  }

  /** See {@link FrameTable#restoreToDirectMap}. */
  void restoreToDirectMap(int pfn) {
    words.clearState(pfn, FrameState.DIRECT_REMOVED);
  }

  /** See {@link FrameTable#isDirectMapped}. */
  boolean isDirectMapped(int pfn) {
    return words.isMade(pfn) && Counts.isInUse(words.counts(pfn)) && !isRemovedFromDirectMap(pfn);
  }

  /** See {@link FrameTable#isRemovedFromDirectMap}. */
  boolean isRemovedFromDirectMap(int pfn) {
    return FrameState.isOutOfDirectMap(words.state(pfn));
  }

  /** See {@link FrameTable#beginDirectAccess}. */
  long beginDirectAccess(int pfn) {
    long access = accesses.begin(pfn, 1);
    if (isDirectMapped(pfn)) { // looked at after the announcement
      if (!FrameState.isMarked(words.state(pfn))) {
        words.setState(pfn, FrameState.MARKED); // before the access writes
      }
      return access;
    }
    accesses.end(access);
    return 0;
  }
}
