package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.observe.Meter;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.Wait;
import java.util.Collection;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ConcurrentNavigableMap;
import java.util.concurrent.ConcurrentSkipListMap;
import org.jspecify.annotations.Nullable;

/**
 * The set of a file's pending conversions, each a {@link PendingConversion}. An operation that
 * changes a range locks it here, and so undoes the pending conversions of its pages first.
 */
final class PendingConversions {
  private final Inode inode;
  private final RangeLock rangeLock;
  private final PageCache cache;

  /** By their first pages: they never overlap. Changed with the busy bits of their pages. */
  private final ConcurrentNavigableMap<Long, PendingConversion> pending =
      new ConcurrentSkipListMap<>();

  PendingConversions(Inode inode, RangeLock rangeLock) {
    this.inode = inode;
    this.rangeLock = rangeLock;
    this.cache = inode.cache;
  }

  // ---- the locks of operations that change a range ----

  /**
   * Locks a range that is to be converted or punched: more than the range, if the protocol wants
   * that. Pending conversions of its pages are undone, for which all of their pages are busy for a
   * moment; their futures fail when the operation is over. If this thread is interrupted before,
   * nothing is undone.
   */
  Errno lockToChange(long from, long to, String operation) {
    Errno errno = rangeLock.begin();
    if (errno != Errno.OK) {
      return errno;
    }
    boolean done = false;
    try {
      errno = makeBusyAndUndo(from, to, operation);
      if (errno == Errno.OK) {
        rangeLock.passBusy(from, rangeLock.first(from), rangeLock.last(to));
        done = true;
      }
      return errno;
    } finally {
      if (!done) {
        inode.endOperation();
      }
    }
  }

  private Errno makeBusyAndUndo(long from, long to, String operation) {
    long low = Math.min(rangeLock.first(from), firstPending(from));
    long high = Math.max(rangeLock.last(to), endPending(to));
    for (; ; ) {
      Errno errno = rangeLock.makeBusy(low, high);
      if (errno != Errno.OK) {
        return errno;
      }
      if (isNone() || (firstPending(from) >= low && endPending(to) <= high)) {
        break;
      }
      cache.unlock(low, high); // another one has become pending
      low = Math.min(low, firstPending(from));
      high = Math.max(high, endPending(to));
      try {
        Wait.check();
      } catch (InterruptedException e) {
        return Refusals.ended(e);
      }
    }
    boolean done = false;
    try {
      if (!isNone()) {
        for (PendingConversion later : between(from, to)) {
          undo(later, operation);
        }
      }
      done = true;
      return Errno.OK;
    } finally {
      unlockIfAny(low, done ? rangeLock.first(from) : high);
      unlockIfAny(done ? rangeLock.last(to) : high, high);
    }
  }

  private void unlockIfAny(long from, long to) {
    if (from < to) {
      cache.unlock(from, to);
    }
  }

  /** Unlocks what {@link #lockToChange} has locked. */
  void unlockChanged(long from, long to) {
    rangeLock.unlock(rangeLock.first(from), rangeLock.last(to));
  }

  // ---- the set ----

  /** Whether no conversion of any page is pending: most often so, and found without garbage. */
  private boolean isNone() {
    return Announce.read(pending).isEmpty();
  }

  /**
   * The first page of the pending conversion that a page is part of; the page itself if there is
   * none.
   */
  private long firstPending(long index) {
    PendingConversion later = at(index);
    return later == null ? index : later.from;
  }

  /** Where the last pending conversion ends that begins before a page; at least at that page. */
  private long endPending(long end) {
    Map.Entry<Long, PendingConversion> entry =
        isNone() ? null : Announce.read(pending).lowerEntry(end);
    return entry == null ? end : Math.max(end, entry.getValue().to);
  }

  /** The pending conversions that have pages of a range. */
  private Collection<PendingConversion> between(long from, long to) {
    return Announce.read(pending).subMap(firstPending(from), to).values();
  }

  /** The pending conversion that a page is part of; null if there is none. */
  @Nullable PendingConversion at(long index) {
    Map.Entry<Long, PendingConversion> entry =
        isNone() ? null : Announce.read(pending).floorEntry(index);
    return entry == null || entry.getValue().to <= index ? null : entry.getValue();
  }

  /** Leaves a conversion of locked pages pending, until a busy folio is let go. */
  void leavePending(PendingConversion later, Mismatch busy) {
    try {
      Announce.write(pending).put(later.from, later);
      later.track();
      cache.setPending(later.from, later.to, true);
      inode.meters.count(Meter.PENDING_BEGUN);
      later.pendUntilLetGo(busy);
    } catch (Throwable e) {
      giveBack(later, new CancellationException());
      throw e;
    }
  }

  /** Undoes a pending conversion, whose pages are locked, on behalf of an operation. */
  private void undo(PendingConversion later, String operation) {
    if (giveBack(
        later,
        Refusals.exception(
            Errno.ECANCELED, "conversion of " + later.describe() + " undone: " + operation))) {
      CallbackContext.complete(later);
    }
  }

  /**
   * Ends a pending conversion without converting; its locked pages are as they were before.
   *
   * @param why what its future is to fail with
   * @return whether this call has ended it
   */
  boolean giveBack(PendingConversion later, Throwable why) {
    boolean undone = later.undo(why);
    if (remove(later)) {
      inode.meters.count(Meter.PENDING_UNDONE);
    }
    return undone;
  }

  /**
   * Removes a conversion that is over, whose pages are locked.
   *
   * @return whether it was pending until now
   */
  boolean remove(PendingConversion later) {
    if (!Announce.write(pending).remove(later.from, later)) {
      return false;
    }
    later.untrack();
    cache.setPending(later.from, later.to, false);
    return true;
  }

  /** Undoes all of them, at the end of the file, all of whose pages are locked. */
  void undoAll() {
    for (PendingConversion later : Announce.read(pending).values()) {
      undo(later, "the file is closed");
    }
  }
}
