package io.github.guestmemfd.cache;

import io.github.guestmemfd.cache.SparseWords.Change;

/**
 * The changes and searches that the page cache applies to all slots of a range.
 *
 * <p>A search changes nothing: it stops at the first slot of the kind that it looks for.
 */
final class SlotChange {

  // ---- the invalidate lock ----

  /** Makes slots busy; stops at one that is. */
  static final Change SET_BUSY = slot -> SlotWord.isBusy(slot) ? Change.STOP : SlotWord.busy(slot);

  /** Makes slots free again. */
  static final Change RELEASE =
      new Change() {
        @Override
        public long apply(long slot) {
          return SlotWord.released(slot);
        }

        @Override
        public long applyToAll(long slot) {
          return SlotWord.releasedHole(slot);
        }
      };

  // ---- attributes ----

  static final Change UNDO = SlotWord::uncommitted;

  private static final Change MAKE_INACCESSIBLE = slot -> SlotWord.committed(slot, true);
  private static final Change MAKE_ACCESSIBLE = slot -> SlotWord.committed(slot, false);
  private static final Change MAKE_PENDING = SlotWord::pending;
  private static final Change MAKE_NOT_PENDING = SlotWord::notPending;

  // ---- searches ----

  static final Change STOP_AT_BUSY = slot -> SlotWord.isBusy(slot) ? Change.STOP : slot;

  private static final Change STOP_AT_ACCESSIBLE =
      slot -> SlotWord.isInaccessible(slot) ? slot : Change.STOP;
  private static final Change STOP_AT_INACCESSIBLE =
      slot -> SlotWord.isInaccessible(slot) ? Change.STOP : slot;
  private static final Change STOP_AT_CHANGED =
      slot -> SlotWord.isChanged(slot) ? Change.STOP : slot;
  private static final Change STOP_AT_UNCHANGED =
      slot -> SlotWord.isChanged(slot) ? slot : Change.STOP;
  private static final Change STOP_AT_OPEN_TO_HOST =
      slot -> SlotWord.isOpenToHost(slot) ? Change.STOP : slot;
  private static final Change STOP_AT_CLOSED_TO_HOST =
      slot -> SlotWord.isOpenToHost(slot) ? slot : Change.STOP;

  private SlotChange() {}

  /** Commits an attribute. */
  static Change commit(boolean inaccessible) {
    return inaccessible ? MAKE_INACCESSIBLE : MAKE_ACCESSIBLE;
  }

  /** Marks accessible pages as pending, or clears the mark. */
  static Change setPending(boolean pending) {
    return pending ? MAKE_PENDING : MAKE_NOT_PENDING;
  }

  /** Stops at a page that has an attribute. */
  static Change stopAtAttribute(boolean inaccessible) {
    return inaccessible ? STOP_AT_INACCESSIBLE : STOP_AT_ACCESSIBLE;
  }

  /** Stops at a page whose attribute the operation under way has changed, or has not. */
  static Change stopAtChanged(boolean changed) {
    return changed ? STOP_AT_CHANGED : STOP_AT_UNCHANGED;
  }

  /** Stops at a page that the host may touch, or may not. */
  static Change stopAtOpenToHost(boolean open) {
    return open ? STOP_AT_OPEN_TO_HOST : STOP_AT_CLOSED_TO_HOST;
  }
}
