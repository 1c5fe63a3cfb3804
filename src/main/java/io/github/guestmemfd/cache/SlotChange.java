package io.github.guestmemfd.cache;

/**
 * The changes and searches that the page cache applies to all slots of a range.
 *
 * <p>A search changes nothing: it stops at the first slot of the kind that it looks for.
 */
enum SlotChange implements SparseWords.Change {

  // ---- the invalidate lock ----

  /** Makes slots busy; stops at one that is. */
  SET_BUSY,

  /** Makes slots free again. */
  RELEASE,

  // ---- attributes ----

  /** Commits the attribute inaccessible. */
  MAKE_INACCESSIBLE,

  /** Commits the attribute accessible. */
  MAKE_ACCESSIBLE,

  /** Gives back the attributes from before a commit. */
  UNDO,

  /** Marks accessible pages as pending. */
  MAKE_PENDING,

  /** Clears that mark. */
  MAKE_NOT_PENDING,

  // ---- folios ----

  /** Takes the folio out. */
  EMPTY,

  /** Marks the folio as not ready. */
  MAKE_UNREADY,

  // ---- searches ----

  /** Stops at a page that an operation has made busy. */
  STOP_AT_BUSY,

  /** Stops at a page that is accessible. */
  STOP_AT_ACCESSIBLE,

  /** Stops at a page that is inaccessible. */
  STOP_AT_INACCESSIBLE,

  /** Stops at a page whose attribute the operation under way has changed. */
  STOP_AT_CHANGED,

  /** Stops at a page whose attribute the operation under way has not changed. */
  STOP_AT_UNCHANGED,

  /** Stops at a page that the host may touch. */
  STOP_AT_OPEN_TO_HOST,

  /** Stops at a page that the host may not touch. */
  STOP_AT_CLOSED_TO_HOST;

  /** Commits an attribute. */
  static SlotChange commit(boolean inaccessible) {
    return inaccessible ? MAKE_INACCESSIBLE : MAKE_ACCESSIBLE;
  }

  /** Marks accessible pages as pending, or clears the mark. */
  static SlotChange setPending(boolean pending) {
    return pending ? MAKE_PENDING : MAKE_NOT_PENDING;
  }

  /** Stops at a page that has an attribute. */
  static SlotChange stopAtAttribute(boolean inaccessible) {
    return inaccessible ? STOP_AT_INACCESSIBLE : STOP_AT_ACCESSIBLE;
  }

  /** Stops at a page whose attribute the operation under way has changed, or has not. */
  static SlotChange stopAtChanged(boolean changed) {
    return changed ? STOP_AT_CHANGED : STOP_AT_UNCHANGED;
  }

  /** Stops at a page that the host may touch, or may not. */
  static SlotChange stopAtOpenToHost(boolean open) {
    return open ? STOP_AT_OPEN_TO_HOST : STOP_AT_CLOSED_TO_HOST;
  }

  @Override
  public long apply(long slot) {
    return switch (this) {
      case SET_BUSY -> SlotWord.isBusy(slot) ? STOP : SlotWord.busy(slot);
      case RELEASE -> SlotWord.released(slot);
      case MAKE_INACCESSIBLE -> SlotWord.committed(slot, true);
      case MAKE_ACCESSIBLE -> SlotWord.committed(slot, false);
      case UNDO -> SlotWord.uncommitted(slot);
      case MAKE_PENDING -> SlotWord.pending(slot);
      case MAKE_NOT_PENDING -> SlotWord.notPending(slot);
      case EMPTY -> SlotWord.emptied(slot);
      case MAKE_UNREADY -> SlotWord.unready(slot);
      case STOP_AT_BUSY -> SlotWord.isBusy(slot) ? STOP : slot;
      case STOP_AT_ACCESSIBLE -> SlotWord.isInaccessible(slot) ? slot : STOP;
      case STOP_AT_INACCESSIBLE -> SlotWord.isInaccessible(slot) ? STOP : slot;
      case STOP_AT_CHANGED -> SlotWord.isChanged(slot) ? STOP : slot;
      case STOP_AT_UNCHANGED -> SlotWord.isChanged(slot) ? slot : STOP;
      case STOP_AT_OPEN_TO_HOST -> SlotWord.isOpenToHost(slot) ? STOP : slot;
      case STOP_AT_CLOSED_TO_HOST -> SlotWord.isOpenToHost(slot) ? slot : STOP;
    };
  }

  /** What was a hole, and stands with others as one word, still is one when it is free again. */
  @Override
  public long applyToAll(long slot) {
    return this == RELEASE ? SlotWord.releasedHole(slot) : apply(slot);
  }

  /** The same, by loops of their own for what every conversion does to every page. */
  @Override
  public long applyToLeaf(long[] leaf, long from, long to, boolean owned) {
    return switch (this) {
      case SET_BUSY -> setBusy(leaf, from, to);
      case RELEASE -> release(leaf, from, to);
      case MAKE_INACCESSIBLE -> commit(leaf, from, to, true);
      case MAKE_ACCESSIBLE -> commit(leaf, from, to, false);
      case STOP_AT_ACCESSIBLE -> find(leaf, from, to, 0);
      case STOP_AT_INACCESSIBLE -> find(leaf, from, to, SlotWord.INACCESSIBLE);
      default -> SparseWords.Change.super.applyToLeaf(leaf, from, to, owned);
    };
  }

  private static long setBusy(long[] leaf, long from, long to) {
    for (long at = from; at < to; ) {
      long slot = SparseWords.getVolatile(leaf, at);
      if (SlotWord.isBusy(slot)) {
        return at;
      }
      if (SparseWords.compareAndSet(leaf, at, slot, SlotWord.busy(slot))) {
        at++;
      }
    }
    return to;
  }

  private static long release(long[] leaf, long from, long to) {
    for (long at = from; at < to; at++) {
      SparseWords.setRelease(leaf, at, SlotWord.released(SparseWords.getVolatile(leaf, at)));
    }
    return to;
  }

  private static long commit(long[] leaf, long from, long to, boolean inaccessible) {
    for (long at = from; at < to; at++) {
      long slot = SparseWords.getVolatile(leaf, at);
      SparseWords.setRelease(leaf, at, SlotWord.committed(slot, inaccessible));
    }
    return to;
  }

  private static long find(long[] leaf, long from, long to, long attribute) {
    long at = from;
    while (at < to && (SparseWords.getVolatile(leaf, at) & SlotWord.INACCESSIBLE) != attribute) {
      at++;
    }
    return at;
  }
}
