package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.spi.RacePoint;

/**
 * The lock of a range of pages, for as long as an operation changes them: the busy bits of their
 * slots. An operation that has it also holds the file open. See {@link PageCache}.
 */
final class RangeLock {
  private final Inode inode;
  private final PageCache cache;
  private final boolean locksWholeFile;

  /**
   * Locks ranges.
   *
   * @param locksWholeFile whether an operation that changes a range is to lock the whole file
   */
  RangeLock(Inode inode, boolean locksWholeFile) {
    this.inode = inode;
    this.cache = inode.cache;
    this.locksWholeFile = locksWholeFile;
  }

  /** Locks a range, for an operation that calls {@link #unlock} when it is done. */
  Errno lock(long from, long to) {
    Errno errno = begin();
    if (errno != Errno.OK) {
      return errno;
    }
    boolean done = false;
    try {
      errno = makeBusy(from, to);
      if (errno == Errno.OK) {
        passBusy(from, from, to);
        done = true;
      }
      return errno;
    } finally {
      if (!done) {
        inode.endOperation();
      }
    }
  }

  /**
   * Begins an operation on a range, for a caller that makes its pages busy itself, and then {@link
   * #passBusy passes the race point}. If it cannot, it ends the operation of the inode.
   */
  Errno begin() {
    if (CallbackContext.isInside()) {
      return Errno.EDEADLK;
    }
    return inode.beginOperation() ? Errno.OK : Errno.EBADF;
  }

  void unlock(long from, long to) {
    cache.unlock(from, to);
    inode.endOperation();
  }

  Errno makeBusy(long from, long to) {
    try {
      return cache.lock(from, to) ? Errno.OK : Errno.EBADF;
    } catch (InterruptedException e) {
      return Refusals.ended(e);
    } catch (OutOfMemoryError e) {
      CallbackContext.outOfMemory(e);
      return Errno.ENOMEM;
    }
  }

  /**
   * Passes the race point with pages busy; lets them go if the hook throws.
   *
   * @param index the page for the race point
   */
  void passBusy(long index, long from, long to) {
    try {
      inode.at(RacePoint.RANGE_BUSY, index);
    } catch (Throwable e) {
      cache.unlock(from, to);
      throw e;
    }
  }

  /** The first page to lock for a change that begins at a page. */
  long first(long from) {
    return locksWholeFile ? 0 : from;
  }

  /** The end of the pages to lock for a change that ends at a page. */
  long last(long to) {
    return locksWholeFile ? inode.pages : to;
  }
}
