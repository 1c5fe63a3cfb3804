package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.InvalidationFilter;
import io.github.guestmemfd.cache.PageCache;

/**
 * The invalidations for conversions: of a range, they tell clients of each run of pages that
 * change, in ascending order, and of no other pages. The runs are found in the slots each time,
 * since there may be very many.
 */
final class Invalidation {
  private final Inode inode;
  private final Callbacks callbacks;
  private final Preparation preparation;
  private final PageCache cache;

  Invalidation(Inode inode, Callbacks callbacks, Preparation preparation) {
    this.inode = inode;
    this.callbacks = callbacks;
    this.preparation = preparation;
    this.cache = inode.cache;
  }

  /**
   * Begins each run of a range. If one is refused, those before it are ended again.
   *
   * @param from the first page that changes
   * @return OK, or why not: then none has begun
   */
  Errno begin(long from, long to, boolean inaccessible) {
    if (!callbacks.isAny()) {
      return Errno.OK;
    }
    InvalidationFilter filter = InvalidationFilter.ofConversion(inaccessible);
    Errno errno = Errno.OK;
    long run = from;
    try {
      while (run < to) {
        long end = endOfRun(run, to, inaccessible, false);
        errno = callbacks.invalidateBegin(run, end, filter);
        if (errno != Errno.OK) {
          break;
        }
        run = nextRun(end, to, inaccessible, false);
      }
    } catch (Throwable e) {
      endAfter(e, from, run, inaccessible, false);
      throw e;
    }
    if (errno != Errno.OK) {
      end(from, run, inaccessible, false);
    }
    return errno;
  }

  /**
   * Ends each run, whatever one of the ends throws.
   *
   * @param changed whether the attribute of the pages has been changed
   */
  void end(long from, long to, boolean inaccessible, boolean changed) {
    if (!callbacks.isAny()) {
      return;
    }
    Failures failures = null; // made when needed: most often nothing throws
    for (long run = from; run < to; ) {
      long end = endOfRun(run, to, inaccessible, changed);
      try {
        callbacks.invalidateEnd(run, end);
      } catch (RuntimeException | Error e) {
        failures = failures == null ? new Failures() : failures;
        failures.add(e);
      }
      run = nextRun(end, to, inaccessible, changed);
    }
    if (failures != null) {
      failures.throwIfAny();
    }
  }

  /** As {@link #end}, after something else was thrown. */
  void endAfter(Throwable e, long from, long to, boolean inaccessible, boolean changed) {
    try {
      end(from, to, inaccessible, changed);
    } catch (Throwable end) {
      e.addSuppressed(end);
    }
  }

  /**
   * Invalidates each run once more, after the attributes have been undone, and undoes its
   * preparation: clients may have used pages with the new attributes since they were told of the
   * end, and map them as either then. There is nothing left to fall back to: what clients answer is
   * logged.
   */
  void undo(long from, long to, boolean inaccessible) {
    for (long run = from; run < to; ) {
      long end = endOfRun(run, to, inaccessible, false);
      boolean begun = beginUndoing(run, end);
      preparation.unprepare(run, end, inaccessible);
      if (inaccessible) {
        preparation.makeSharedAgain(run, end);
      }
      if (begun) {
        endUndoing(run, end);
      }
      run = nextRun(end, to, inaccessible, false);
    }
  }

  private boolean beginUndoing(long run, long end) {
    try {
      Errno errno = callbacks.invalidateBegin(run, end, InvalidationFilter.BOTH);
      if (errno != Errno.OK) {
        Logs.FILE.warn("{} while undoing the conversion of {}", errno, inode.page(run));
      }
      return errno == Errno.OK;
    } catch (Throwable e) {
      Logs.FILE.warn("exception while undoing the conversion of {}", inode.page(run), e);
      return false;
    }
  }

  private void endUndoing(long run, long end) {
    try {
      callbacks.invalidateEnd(run, end);
    } catch (Throwable e) {
      Logs.FILE.warn("exception while undoing the conversion of {}", inode.page(run), e);
    }
  }

  private long nextRun(long after, long to, boolean inaccessible, boolean changed) {
    return changed ? cache.nextChanged(after, to, true) : cache.next(after, to, !inaccessible);
  }

  private long endOfRun(long run, long to, boolean inaccessible, boolean changed) {
    return changed ? cache.nextChanged(run, to, false) : cache.next(run, to, inaccessible);
  }
}
