package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.cache.PageCache.Wanted;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.observe.Meter;
import io.github.guestmemfd.spi.RacePoint;

/**
 * The lookup of folios: finds or allocates them, makes them ready, and takes references on them.
 */
public final class Lookup {
  /** A fault that meets an inaccessible page or the end of the file. Not an errno. */
  public static final int SIGBUS = -1000;

  private final Inode inode;
  private final Preparation preparation;
  private final PageCache cache;
  private final FrameTable frames;

  Lookup(Inode inode, Preparation preparation) {
    this.inode = inode;
    this.preparation = preparation;
    this.cache = inode.cache;
    this.frames = inode.frames;
  }

  /**
   * Finds, or allocates, the folio at an index and takes a reference on it: up to date and
   * prepared.
   *
   * @param unit the reference to take; 0 for none, where the caller goes on to lock the folio
   * @return the frame, or a negated errno; SIGBUS if the page is not as wanted
   */
  int get(long index, long unit, Wanted wanted) {
    int pfn = unit == 0 ? 0 : cache.grab(index, unit, wanted);
    return pfn != 0 ? pfn : getInSteps(index, unit, wanted);
  }

  private int getInSteps(long index, long unit, Wanted wanted) {
    long slot = look(index, unit, wanted);
    return PageCache.isReadyHit(slot, wanted)
        ? SlotWord.pfn(slot)
        : getSlowly(index, unit, wanted, slot);
  }

  private long look(long index, long unit, Wanted wanted) {
    return unit == 0 ? cache.slot(index) : cache.lookup(index, unit, wanted);
  }

  /** The rest of {@link #get}, in a method of its own so that the path of a ready page is short. */
  private int getSlowly(long index, long unit, Wanted wanted, long firstSlot) {
    if (wanted == Wanted.ANY) {
      inode.meters.count(Meter.SLOW_GRABS);
    }
    CallbackContext.forgetReason();
    boolean open = false; // most of what is not ready is answered at once
    try {
      for (long slot = firstSlot; ; slot = look(index, unit, wanted)) {
        if (PageCache.isHit(slot, wanted)) {
          if (SlotWord.isReady(slot)) {
            return SlotWord.pfn(slot);
          }
          if (unit != 0) {
            frames.undoGet(SlotWord.pfn(slot), unit); // no thread waits with a reference held
          }
        } else if (!SlotWord.isBusy(slot)) {
          if (!wanted.matches(slot)) {
            return SIGBUS;
          }
          if (SlotWord.isNeither(slot)) {
            return wanted == Wanted.ACCESSIBLE ? SIGBUS : -Errno.EAGAIN.code();
          }
        }
        if (!open) {
          // Before a hole is filled: first use takes the folio lock.
          if (CallbackContext.isInside()) {
            return -Errno.EDEADLK.code();
          }
          open = inode.beginOperation();
          if (!open) {
            return -Errno.EBADF.code();
          }
        }
        int result = bringOn(index, slot);
        if (result != 0) {
          return result;
        }
      }
    } catch (InterruptedException e) {
      return -Refusals.ended(e).code();
    } finally {
      if (open) {
        inode.endOperation();
      }
    }
  }

  /**
   * Does what a page needs before it is looked up once more: waits for it, fills the hole, or makes
   * its folio ready.
   *
   * @return 0, or a negated errno
   */
  private int bringOn(long index, long slot) throws InterruptedException {
    if (SlotWord.isBusy(slot)) {
      return awaitNotBusy(index) ? 0 : -Errno.EBADF.code();
    }
    if (SlotWord.pfn(slot) != 0) {
      return makeReady(index, slot);
    }
    return fill(index, slot, false) ? 0 : -Errno.ENOMEM.code();
  }

  /** Waits until a page is not busy, and counts that. */
  boolean awaitNotBusy(long index) throws InterruptedException {
    inode.meters.count(Meter.BUSY_WAITS);
    return cache.awaitNotBusy(index);
  }

  /**
   * A reference for the host (GUP) on an accessible page.
   *
   * @param index the page, which need not be in the file
   * @param unit the reference to take
   * @return the frame, or a negated errno: EFAULT where there is no accessible page
   */
  public int get(long index, long unit) {
    int pfn = index < inode.pages ? get(index, unit, Wanted.ACCESSIBLE) : SIGBUS;
    return pfn == SIGBUS ? -Errno.EFAULT.code() : pfn;
  }

  /** Fills a hole; if there is no memory, drains the LRU batches and tries once more. */
  boolean fill(long index, long slot, boolean reserved) {
    return tryFill(index, slot, reserved)
        || (inode.host.drainLru() > 0 && tryFill(index, slot, false));
  }

  private boolean tryFill(long index, long slot, boolean reserved) {
    try {
      return cache.fill(index, slot, reserved);
    } catch (OutOfMemoryError e) {
      CallbackContext.outOfMemory(e);
      return false;
    }
  }

  /** Zeroes and prepares a folio that has never been used, if the slot still is as it was seen. */
  private int makeReady(long index, long slot) throws InterruptedException {
    int pfn = SlotWord.pfn(slot);
    inode.at(RacePoint.BEFORE_FOLIO_LOCK, index);
    frames.lock(pfn);
    try {
      if (cache.slot(index) != slot) {
        return 0;
      }
      if (frames.isPoisoned(pfn)) {
        inode.meters.count(Meter.POISONED_USES);
        return -Errno.EHWPOISON.code();
      }
      if (!frames.isPrepared(pfn)) {
        Errno errno = preparation.prepare(index, pfn, SlotWord.isInaccessible(slot));
        if (errno != Errno.OK) {
          return -errno.code();
        }
        frames.setPrepared(pfn);
        inode.meters.count(Meter.FIRST_USES);
      }
      cache.markReady(index, slot);
      return 0;
    } finally {
      frames.unlock(pfn);
    }
  }
}
