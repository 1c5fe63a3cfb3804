package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.cache.PageCache.Wanted;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.spi.RacePoint;

/**
 * The frame of a page for the guest, without a reference: {@code kvm_gmem_get_pfn} of a kernel that
 * converts in place. The caller relies on the invalidations of its client: the frame is the page's
 * until the next one begins.
 *
 * <p>A private page is made private by the client each time, with the folio locked: an operation
 * that makes the page busy waits for that lock before it tells the client of the folio.
 */
public final class GetPfn {
  private final Inode inode;
  private final GuestRefs guest;
  private final Callbacks callbacks;
  private final FrameTable frames;

  GetPfn(Inode inode, GuestRefs guest, Callbacks callbacks) {
    this.inode = inode;
    this.guest = guest;
    this.callbacks = callbacks;
    this.frames = inode.frames;
  }

  /**
   * Gets the frame of a page, allocated, up to date and prepared.
   *
   * @param index the page
   * @return the frame, or a negated errno
   */
  public int get(long index) {
    for (; ; ) {
      int pfn = guest.take(index);
      if (pfn < 0) {
        return pfn;
      }
      int result = isPrivateForClient(index) ? makePrivateAndDrop(index, pfn) : drop(index, pfn);
      if (result != 0) {
        return result;
      }
    }
  }

  private boolean isPrivateForClient(long index) {
    return callbacks.takeFolios() && SlotWord.isInaccessible(inode.cache.slot(index));
  }

  private int drop(long index, int pfn) {
    guest.drop(index, pfn);
    return pfn;
  }

  /**
   * As {@link #makePrivate}, and drops what was taken. It is an operation: the file does not end
   * meanwhile, and what the callback has left to do (the end of a file, a conversion that it has
   * unblocked) is done when nothing is held.
   */
  private int makePrivateAndDrop(long index, int pfn) {
    boolean open = inode.beginOperation();
    try {
      try {
        return open ? makePrivate(index, pfn) : -Errno.EBADF.code();
      } finally {
        guest.drop(index, pfn);
      }
    } finally {
      if (open) {
        inode.endOperation();
      }
    }
  }

  /**
   * Has the client make a folio private.
   *
   * @return the frame; a negated errno; or 0 if the page has changed meanwhile
   */
  private int makePrivate(long index, int pfn) {
    if (CallbackContext.isInside()) {
      return -Errno.EDEADLK.code();
    }
    if (guest.keepsLock()) {
      return makePrivateLocked(index, pfn);
    }
    inode.at(RacePoint.BEFORE_FOLIO_LOCK, index);
    try {
      frames.lock(pfn);
    } catch (InterruptedException e) {
      return -Refusals.ended(e).code();
    }
    try {
      return makePrivateLocked(index, pfn);
    } finally {
      frames.unlock(pfn);
    }
  }

  private int makePrivateLocked(long index, int pfn) {
    long slot = inode.cache.slot(index);
    if (SlotWord.pfn(slot) != pfn
        || !SlotWord.isInaccessible(slot)
        || !PageCache.isReadyHit(slot, Wanted.ANY)) {
      return 0;
    }
    Errno errno = callbacks.makePrivate(index, pfn);
    return errno == Errno.OK ? pfn : -errno.code();
  }
}
