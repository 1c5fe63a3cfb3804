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

  /** {@link #makeBusy}, made once: the hot path of {@link #lock(long, long)} allocates nothing. */
  private final MakeBusy plainly = this::makeBusy;

  /** Makes pages busy. */
  @FunctionalInterface
  interface MakeBusy {
    /** Makes the pages busy; only they are if it answers OK, and none is otherwise. */
    Errno makeBusy(long from, long to);
  }

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
    return lock(from, from, to, plainly);
  }

  /**
   * As {@link #lock(long, long)}, for pages that are made busy in a special way.
   *
   * @param index the page for the race point
   * @param busy makes the pages from {@code from} to {@code to} busy
   */
  Errno lock(long index, long from, long to, MakeBusy busy) {
    if (CallbackContext.isInside()) {
      return Errno.EDEADLK;
    }
    if (!inode.beginOperation()) {
      return Errno.EBADF;
    }
    boolean done = false;
    try {
      Errno errno = busy.makeBusy(from, to);
      if (errno == Errno.OK) {
        passBusy(index, from, to);
        done = true;
      }
      return errno;
    } finally {
      if (!done) {
        inode.endOperation();
      }
    }
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

  /** Passes the race point with the pages busy; lets them go if the hook throws. */
  private void passBusy(long index, long from, long to) {
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
