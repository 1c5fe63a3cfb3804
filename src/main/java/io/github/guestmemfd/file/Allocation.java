package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.cache.Folios;
import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.memory.FrameTable;

/** {@code fallocate} without a hole to punch: allocates the folios of a range. */
public final class Allocation {
  private final Inode inode;
  private final Lookup lookup;
  private final PageCache cache;
  private final FrameTable frames;

  Allocation(Inode inode, Lookup lookup) {
    this.inode = inode;
    this.lookup = lookup;
    this.cache = inode.cache;
    this.frames = inode.frames;
  }

  /**
   * Allocates what is missing of a range.
   *
   * @param from the first page
   * @param to the page after the last, in the file
   * @return OK, or why not: ENOMEM, nothing is allocated; EINTR, EBADF, what is allocated stays
   */
  public Errno allocate(long from, long to) {
    if (CallbackContext.isInside()) {
      return Errno.EDEADLK;
    }
    if (!inode.beginOperation()) {
      return Errno.EBADF;
    }
    try {
      return tryAllocate(from, to);
    } finally {
      inode.endOperation();
    }
  }

  private Errno tryAllocate(long from, long to) {
    long missing = to - from;
    for (Folios folios = cache.folios(from, to); folios.next(); ) {
      missing--;
    }
    if (!frames.reserve(missing) && (inode.host.drainLru() == 0 || !frames.reserve(missing))) {
      return Errno.ENOMEM;
    }
    try {
      for (long i = from; i < to; i++) {
        if (Thread.currentThread().isInterrupted()) {
          return Errno.EINTR;
        }
        for (; ; ) {
          long slot = cache.slot(i);
          if (SlotWord.isBusy(slot)) {
            if (!lookup.awaitNotBusy(i)) {
              return Errno.EBADF;
            }
          } else if (SlotWord.pfn(slot) != 0) {
            break;
          } else {
            boolean reserved = missing > 0;
            if (reserved) {
              missing--;
            }
            if (!lookup.fill(i, slot, reserved)) {
              return Errno.ENOMEM;
            }
          }
        }
      }
      inode.updateMtime();
      return Errno.OK;
    } catch (InterruptedException e) {
      return Refusals.ended(e);
    } finally {
      frames.unreserve(missing);
    }
  }
}
