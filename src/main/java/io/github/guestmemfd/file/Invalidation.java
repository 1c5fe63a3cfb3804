package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.InvalidationFilter;
import io.github.guestmemfd.cache.PageCache;

/**
 * The invalidation of a range for a conversion: tells clients of each run of pages that change, in
 * ascending order, and of no other pages. The runs are found in the slots each time, since there
 * may be very many.
 */
final class Invalidation {
  private final Inode inode;
  private final Callbacks callbacks;
  private final Preparation preparation;
  private final PageCache cache;
  private final long from;
  private final long to;
  private final boolean inaccessible;

  /** Where the last run ends of which a begin has been agreed to. */
  private long begun;

  /** Whether the attribute of the pages has been changed. */
  boolean changed;

  /**
   * Makes the invalidation of a range.
   *
   * @param from the first page that changes
   */
  Invalidation(
      Inode inode,
      Callbacks callbacks,
      Preparation preparation,
      long from,
      long to,
      boolean inaccessible) {
    this.inode = inode;
    this.callbacks = callbacks;
    this.preparation = preparation;
    this.cache = inode.cache;
    this.from = from;
    this.to = to;
    this.inaccessible = inaccessible;
    this.begun = from;
  }

  /** Begins each run, up to the first that is refused. */
  Errno begin() {
    if (!callbacks.isAny()) {
      return Errno.OK;
    }
    for (long run = from; run < to; ) {
      long end = endOfRun(run, to);
      Errno errno =
          callbacks.invalidateBegin(run, end, InvalidationFilter.ofConversion(inaccessible));
      if (errno != Errno.OK) {
        return errno;
      }
      begun = end;
      run = nextRun(end, to);
    }
    return Errno.OK;
  }

  /** Ends each run that has begun, whatever one of the ends throws. */
  void end() {
    if (begun == from) {
      return;
    }
    Failures failures = new Failures();
    for (long run = from; run < begun; ) {
      long first = run;
      long end = endOfRun(run, begun);
      failures.attempt(() -> callbacks.invalidateEnd(first, end));
      run = nextRun(end, begun);
    }
    failures.throwIfAny();
  }

  /**
   * Invalidates each run once more, after the attributes have been undone, and undoes its
   * preparation: clients may have used pages with the new attributes since they were told of the
   * end, and map them as either then. There is nothing left to fall back to: what clients answer is
   * logged.
   */
  void undo() {
    changed = false;
    for (long run = from; run < to; ) {
      long end = endOfRun(run, to);
      boolean begun = beginUndoing(run, end);
      preparation.unprepare(run, end, inaccessible);
      if (inaccessible) {
        preparation.makeSharedAgain(run, end);
      }
      if (begun) {
        endUndoing(run, end);
      }
      run = nextRun(end, to);
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

  private long nextRun(long after, long limit) {
    return changed
        ? cache.nextChanged(after, limit, true)
        : cache.next(after, limit, !inaccessible);
  }

  private long endOfRun(long run, long limit) {
    return changed ? cache.nextChanged(run, limit, false) : cache.next(run, limit, inaccessible);
  }
}
