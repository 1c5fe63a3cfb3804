package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.memory.FrameContents;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.observe.Meter;
import io.github.guestmemfd.spi.RacePoint;
import java.nio.ByteBuffer;
import org.jspecify.annotations.Nullable;

/**
 * Puts content into folios without a mapping: writes accessible pages, and populates inaccessible
 * ones that have never been used ({@code kvm_gmem_populate}). Page by page, under the folio lock;
 * what comes before the page that fails is done.
 *
 * <p>A folio that is not up to date is not zeroed first, since all of it is filled. It becomes up
 * to date only when the client, or the caller's hook, has agreed: until then the next use zeroes
 * it.
 */
public final class Fill {
  /** Nothing was done: the page has changed. Not an errno. */
  private static final int AGAIN = 1;

  /** Makes a folio ready that has its content; called with the folio lock. */
  @FunctionalInterface
  public interface Hook {
    /**
     * The content is there.
     *
     * @param index the page
     * @param pfn its frame
     * @return OK, or why the folio is not to be used
     */
    Errno filled(long index, int pfn);
  }

  private final Inode inode;
  private final Lookup lookup;
  private final Callbacks callbacks;
  private final PageCache cache;
  private final FrameTable frames;

  Fill(Inode inode, Lookup lookup, Callbacks callbacks) {
    this.inode = inode;
    this.lookup = lookup;
    this.callbacks = callbacks;
    this.cache = inode.cache;
    this.frames = inode.frames;
  }

  /**
   * Writes pages.
   *
   * @param first the first page
   * @param pages how many
   * @param from the bytes, from its position on; it is advanced by what is written
   * @return how many pages have been written; if none, a negated errno: EEXIST if the page is out
   *     of the direct map, EFAULT if it is inaccessible
   */
  public long write(long first, long pages, ByteBuffer from) {
    return fill(first, pages, from, null);
  }

  /**
   * Populates pages.
   *
   * @param first the first page
   * @param pages how many
   * @param from the bytes, from its position on; it is advanced by what is done; null for zeroes
   * @param hook called for each page, instead of the client that prepares it
   * @return how many pages have been populated; if none, a negated errno: EOPNOTSUPP if the file's
   *     folios are out of the direct map from their first use on, EEXIST if the page has been used,
   *     EINVAL if it is accessible
   */
  public long populate(long first, long pages, @Nullable ByteBuffer from, Hook hook) {
    return fill(first, pages, from, hook);
  }

  private long fill(long first, long pages, @Nullable ByteBuffer from, @Nullable Hook hook) {
    CallbackContext.forgetReason();
    if (hook != null && inode.isOutOfDirectMap(false)) {
      return -Errno.EOPNOTSUPP.code();
    }
    if (CallbackContext.isInside()) {
      return -Errno.EDEADLK.code();
    }
    if (!inode.beginOperation()) {
      return -Errno.EBADF.code();
    }
    long done = 0;
    try {
      for (int result = 0; done < pages; done++) {
        result =
            Thread.currentThread().isInterrupted()
                ? -Errno.EINTR.code()
                : fillPage(first + done, from, hook);
        if (result != 0) {
          return done == 0 ? result : done;
        }
        if (from != null) {
          from.position(from.position() + Pages.SIZE);
        }
      }
      return done;
    } catch (InterruptedException e) {
      Errno errno = Refusals.ended(e);
      return done == 0 ? -errno.code() : done;
    } finally {
      inode.endOperation();
    }
  }

  private int fillPage(long index, @Nullable ByteBuffer from, @Nullable Hook hook)
      throws InterruptedException {
    for (; ; ) {
      long slot = cache.slot(index);
      int result;
      if (SlotWord.isBusy(slot)) {
        result = lookup.awaitNotBusy(index) ? AGAIN : -Errno.EBADF.code();
      } else if (SlotWord.isNeither(slot)) {
        result = -Errno.EAGAIN.code(); // a conversion of it is pending
      } else if (SlotWord.pfn(slot) != 0) {
        result = fillFolio(index, slot, from, hook);
      } else if (isWrong(slot, hook)) {
        result = -(hook == null ? Errno.EFAULT : Errno.EINVAL).code(); // nothing is allocated
      } else {
        result = lookup.fill(index, slot, false) ? AGAIN : -Errno.ENOMEM.code();
      }
      if (result != AGAIN) {
        return result;
      }
    }
  }

  private static boolean isWrong(long slot, @Nullable Hook hook) {
    return SlotWord.isInaccessible(slot) != (hook != null);
  }

  private int fillFolio(long index, long slot, @Nullable ByteBuffer from, @Nullable Hook hook)
      throws InterruptedException {
    int pfn = SlotWord.pfn(slot);
    inode.at(RacePoint.BEFORE_FOLIO_LOCK, index);
    frames.lock(pfn);
    try {
      if (cache.slot(index) != slot) {
        return AGAIN;
      }
      Errno errno = refused(slot, pfn, hook);
      if (errno == Errno.OK) {
        boolean isNew = !frames.isPrepared(pfn);
        if (isNew) {
          frames.beginFill(pfn); // before the first byte: the client may refuse, or throw
        }
        copy(pfn, from);
        errno = isNew ? prepare(index, pfn, hook) : Errno.OK;
        if (errno == Errno.OK && !SlotWord.isReady(slot)) {
          cache.markReady(index, slot);
        }
      }
      return -errno.code();
    } finally {
      frames.unlock(pfn);
    }
  }

  /** Why a folio cannot be filled. */
  private Errno refused(long slot, int pfn, @Nullable Hook hook) {
    if (frames.isPoisoned(pfn)) {
      inode.meters.count(Meter.POISONED_USES);
      return Errno.EHWPOISON;
    }
    if (hook == null) {
      return frames.isRemovedFromDirectMap(pfn)
          ? Errno.EEXIST
          : SlotWord.isInaccessible(slot) ? Errno.EFAULT : Errno.OK;
    }
    if (frames.isPrepared(pfn)) {
      return Errno.EEXIST; // before its attribute is looked at
    }
    return SlotWord.isInaccessible(slot) ? Errno.OK : Errno.EINVAL;
  }

  private void copy(int pfn, @Nullable ByteBuffer from) {
    FrameContents contents = inode.host.contents;
    if (from != null) {
      inode.host.bytes().chunk(pfn).put(FrameContents.base(pfn), from, from.position(), Pages.SIZE);
    } else if (contents != null) {
      contents.zero(pfn);
    }
  }

  /** Has a folio that has its content made ready for its use. */
  private Errno prepare(long index, int pfn, @Nullable Hook hook) throws InterruptedException {
    boolean removed = inode.isOutOfDirectMap(hook != null);
    if (removed) {
      frames.removeFromDirectMap(pfn);
    }
    boolean done = false;
    try {
      Errno errno =
          hook == null
              ? callbacks.prepare(index, pfn, false)
              : callbacks.populated(index, () -> hook.filled(index, pfn));
      done = errno == Errno.OK;
      if (done) {
        frames.setUptodate(pfn);
        frames.setPrepared(pfn);
        inode.meters.count(Meter.FIRST_USES);
      }
      return errno;
    } finally {
      if (removed && !done) {
        frames.restoreToDirectMap(pfn);
      }
    }
  }
}
