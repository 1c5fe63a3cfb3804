package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.cache.Folios;
import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.memory.FrameContents;
import io.github.guestmemfd.memory.FrameTable;
import org.jspecify.annotations.Nullable;

/**
 * The preparation of folios for their use: zeroes them, takes them out of the direct map or puts
 * them back, and has the client prepare them. When a folio is freed, this is undone.
 */
final class Preparation {
  private final Inode inode;
  private final Callbacks callbacks;
  private final PageCache cache;
  private final FrameTable frames;
  private final @Nullable FrameContents contents;

  Preparation(Inode inode, Callbacks callbacks) {
    this.inode = inode;
    this.callbacks = callbacks;
    this.cache = inode.cache;
    this.frames = inode.frames;
    this.contents = inode.host.contents;
  }

  /** Prepares every folio of a locked range that changes; on refusal those done are undone. */
  Errno prepareAll(long from, long to, boolean inaccessible) throws InterruptedException {
    if (!needsPreparation()) {
      return Errno.OK;
    }
    for (Folios folios = cache.folios(from, to); folios.next(); ) {
      long i = folios.index();
      int pfn = folios.pfn();
      if (SlotWord.isInaccessible(folios.slot()) == inaccessible || !frames.isPrepared(pfn)) {
        continue; // stays as it is, or is prepared at its first use
      }
      boolean done = false;
      try {
        Errno errno = prepare(i, pfn, inaccessible);
        done = errno == Errno.OK;
        if (!done) {
          return errno;
        }
      } finally {
        if (!done) {
          unprepare(from, i, inaccessible);
        }
      }
    }
    return Errno.OK;
  }

  /**
   * Undoes prepareAll on a locked range whose slots have their old attributes. There is nothing
   * left to fall back to: what the operations answer is logged.
   */
  void unprepare(long from, long to, boolean inaccessible) {
    if (!needsPreparation()) {
      return;
    }
    for (Folios folios = cache.folios(from, to); folios.next(); ) {
      long i = folios.index();
      int pfn = folios.pfn();
      if (SlotWord.isInaccessible(folios.slot()) == inaccessible || !frames.isPrepared(pfn)) {
        continue;
      }
      if (inaccessible && !inode.isOutOfDirectMap(false)) {
        frames.restoreToDirectMap(pfn);
      }
      try {
        Errno errno = callbacks.prepare(i, pfn, !inaccessible);
        if (errno != Errno.OK) {
          Logs.FILE.warn("{} while undoing the conversion of {}", errno, inode.page(i));
        }
      } catch (Throwable e) {
        Logs.FILE.warn("exception while undoing the conversion of {}", inode.page(i), e);
      }
    }
  }

  /** Tells the client of every folio of a locked range that turns accessible. */
  void makeShared(long from, long to) {
    if (callbacks.takeFolios()) {
      for (Folios folios = cache.folios(from, to); folios.next(); ) {
        if (SlotWord.isInaccessible(folios.slot())) {
          makeShared(folios.index(), folios.pfn());
        }
      }
    }
  }

  /** As {@link #makeShared}, for a locked range that is accessible once more. */
  void makeSharedAgain(long from, long to) {
    for (Folios folios = cache.folios(from, to); folios.next(); ) {
      try {
        makeShared(folios.index(), folios.pfn());
      } catch (Throwable e) {
        Logs.FILE.warn(
            "exception while undoing the conversion of {}", inode.page(folios.index()), e);
      }
    }
  }

  private void makeShared(long index, int pfn) {
    zeroForClient(pfn);
    callbacks.makeShared(index, pfn);
  }

  private boolean needsPreparation() {
    return callbacks.takeFolios() || inode.isOutOfDirectMap(true);
  }

  /**
   * Prepares a folio for its new use. First it leaves the direct map, if the file is out of it with
   * such a use; what is to come back comes back only when the conversion is complete.
   *
   * <p>A folio that is not up to date is zeroed, once it has left the direct map: until then
   * another thread may be writing to it through that.
   */
  Errno prepare(long index, int pfn, boolean inaccessible) throws InterruptedException {
    boolean removed = inode.isOutOfDirectMap(inaccessible) && !frames.isRemovedFromDirectMap(pfn);
    if (removed) {
      frames.removeFromDirectMap(pfn);
    }
    boolean done = false;
    try {
      if (!frames.isUptodate(pfn)) {
        zeroIfMarked(pfn);
        frames.setUptodate(pfn);
      }
      Errno errno = callbacks.prepare(index, pfn, inaccessible);
      done = errno == Errno.OK;
      return errno;
    } finally {
      if (removed && !done) {
        frames.restoreToDirectMap(pfn);
      }
    }
  }

  /** Zeroes a frame, unless its bytes still are the zeroes that the JVM made them with. */
  private void zeroIfMarked(int pfn) {
    if (contents != null && frames.isMarked(pfn)) {
      contents.zero(pfn);
    }
  }

  /** Makes a folio that was never used, and is no thread's to use now, fit to be shown. */
  private void zeroForClient(int pfn) {
    if (!frames.isUptodate(pfn)) {
      zeroIfMarked(pfn); // what is there is not this file's
      frames.mark(pfn); // the client may write to it
    }
  }

  /** Puts the folios of a range, which has become accessible, back into the direct map. */
  void restoreToDirectMap(long from, long to) {
    if (inode.isOutOfDirectMap(true) && !inode.isOutOfDirectMap(false)) {
      for (Folios folios = cache.folios(from, to); folios.next(); ) {
        frames.restoreToDirectMap(folios.pfn());
      }
    }
  }

  /**
   * Tells the client that a frame of this file has no holder left; clears bytes that must not be
   * seen.
   */
  void freeing(int pfn) {
    try {
      if (callbacks.takeFolios()) {
        zeroForClient(pfn);
        callbacks.freeFolio(pfn);
      }
    } finally {
      if (contents != null && inode.host.poisonsViews) {
        frames.mark(pfn);
        contents.poison(pfn);
      } else if (contents != null && frames.isRemovedFromDirectMap(pfn)) {
        contents.zero(pfn); // it returns to the direct map, where its bytes must not be seen
      }
    }
  }
}
