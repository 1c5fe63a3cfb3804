package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.InvalidationFilter;
import io.github.guestmemfd.cache.Folios;
import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.observe.Meter;
import io.github.guestmemfd.spi.Wait;

/** The handling of a memory failure: takes the page of the failed frame from all its users. */
public final class MemoryFailure {
  private final Inode inode;
  private final PageCache cache;
  private final FrameTable frames;
  private final RangeLock rangeLock;
  private final ReverseMap reverseMap;
  private final Callbacks callbacks;

  MemoryFailure(Inode inode, RangeLock rangeLock, ReverseMap reverseMap, Callbacks callbacks) {
    this.inode = inode;
    this.cache = inode.cache;
    this.frames = inode.frames;
    this.rangeLock = rangeLock;
    this.reverseMap = reverseMap;
    this.callbacks = callbacks;
  }

  /**
   * Takes the page of a frame whose memory has failed, if the file has it, from all its users. The
   * caller has marked the frame, so it is never used anew; it stays in its slot until it is punched
   * out. The caller needs no reference, and holds none: a conversion would have to wait for it.
   *
   * <p>Clearing the ready bit of the slot is the last step: from then on every lookup takes the
   * slow path, which sees the mark. Of several calls, one after the other or at the same time, the
   * one that has isolated the page answers OK, and notes that in the frame for the others.
   *
   * @param pfn the frame
   * @param again whether the frame was marked before
   * @return OK, or EHWPOISON if nothing was left to do, or why it could not be done
   */
  public Errno memoryFailure(int pfn, boolean again) {
    for (Folios folios = cache.folios(0, inode.pages); folios.next(); ) {
      if (folios.pfn() == pfn && !frames.isIsolated(pfn)) {
        return isolate(folios.index(), pfn, again);
      }
    }
    return nothingLeft(frames, pfn, again);
  }

  /**
   * The answer if the page of a frame is isolated, or no longer in a file.
   *
   * @param frames the frames of the host
   * @param pfn the frame
   * @param again whether the frame was marked before
   * @return OK, or EHWPOISON if another call has marked it or isolated its page
   */
  public static Errno nothingLeft(FrameTable frames, int pfn, boolean again) {
    return again || frames.isIsolated(pfn) ? Errno.EHWPOISON : Errno.OK;
  }

  /** Isolates a page, as a range operation that only an interrupt stops. */
  private Errno isolate(long index, int pfn, boolean again) {
    Errno errno = rangeLock.lock(index, index + 1);
    if (errno != Errno.OK) {
      return errno == Errno.EBADF ? awaitEnd(index, pfn, again) : errno;
    }
    try {
      if (SlotWord.pfn(cache.slot(index)) != pfn || frames.isIsolated(pfn)) {
        return nothingLeft(frames, pfn, again);
      }
      boolean begun = false;
      try {
        errno = callbacks.invalidateBegin(index, index + 1, InvalidationFilter.BOTH);
        begun = errno == Errno.OK;
        if (!begun) {
          Logs.FILE.warn("{} at the memory failure of {}", errno, inode.page(index));
        }
      } catch (Throwable e) {
        Logs.FILE.warn("exception at the memory failure of {}", inode.page(index), e);
      }
      try {
        reverseMap.unmap(index, index + 1);
        cache.awaitFolioUnlocked(index);
        cache.clearReady(index);
        frames.setIsolated(pfn);
        inode.meters.count(Meter.MEMORY_FAILURES);
        Logs.FILE.warn("the memory of frame {} has failed: {}", pfn, inode.page(index));
        return Errno.OK;
      } catch (InterruptedException e) {
        return Refusals.ended(e);
      } finally {
        if (begun) {
          endFailure(index);
        }
      }
    } finally {
      rangeLock.unlock(index, index + 1);
    }
  }

  /** Waits until the end of the file, which is under way, has taken a page from its users. */
  private Errno awaitEnd(long index, int pfn, boolean again) {
    try {
      Wait.await(
          inode.host.idle, () -> SlotWord.pfn(cache.slot(index)) != pfn, Wait.LOOK_AGAIN_NANOS);
      return nothingLeft(frames, pfn, again);
    } catch (InterruptedException e) {
      return Refusals.ended(e);
    }
  }

  private void endFailure(long index) {
    try {
      callbacks.invalidateEnd(index, index + 1);
    } catch (Throwable e) {
      Logs.FILE.warn("exception after the memory failure of {}", inode.page(index), e);
    }
  }
}
