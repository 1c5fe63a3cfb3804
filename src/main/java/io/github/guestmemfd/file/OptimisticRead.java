package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.cache.PageCache.Wanted;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.memory.FrameContents;
import io.github.guestmemfd.spi.RacePoint;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;

/**
 * Reads of a page's bytes that take no reference. The slot is the seqcount: it is read before the
 * bytes and again after them, and if it is the same, the bytes were those of the page.
 *
 * <p><b>Argument.</b> Whatever takes the page's frame away makes the slot busy first, by a
 * compare-and-set, and raises its sequence when it is free again. The frame gets other bytes only
 * after that, behind a release fence ({@link FrameContents#zero}). So a reader that has met one of
 * those other bytes meets, behind its acquire fence, a slot that has changed. It would be deceived
 * only by sleeping through exactly a multiple of 2^29 changes.
 *
 * <p>The bytes that a guest or a client writes meanwhile are not ordered with the read, as with any
 * other two accesses.
 */
public final class OptimisticRead {
  private final Inode inode;
  private final PageCache cache;

  OptimisticRead(Inode inode) {
    this.inode = inode;
    this.cache = inode.cache;
  }

  /**
   * Reads bytes of one page.
   *
   * @param offset where they begin, in bytes
   * @param into is filled from its position on, which moves if they are read; else what was to be
   *     filled is zeroed, for it may have come from another page
   * @return how many; or a negated errno: EINVAL if they are not all in one page of the file,
   *     EAGAIN where a reference has to be taken instead
   */
  public int read(long offset, ByteBuffer into) {
    FrameContents contents = inode.host.bytes();
    int in = (int) offset & Pages.OFFSET_MASK;
    int length = into.remaining();
    if (offset < 0 || offset >= inode.size || length == 0 || length > Pages.SIZE - in) {
      return -Errno.EINVAL.code();
    }
    long index = offset >> Pages.SHIFT;
    long slot = cache.slot(index);
    if (!PageCache.isReadyHit(slot, Wanted.ANY)) {
      return -Errno.EAGAIN.code();
    }
    inode.at(RacePoint.AFTER_SLOT_LOAD, index);
    int pfn = SlotWord.pfn(slot);
    boolean valid = false;
    try {
      into.put(into.position(), contents.chunkToRead(pfn), FrameContents.base(pfn) + in, length);
      inode.at(RacePoint.BEFORE_READ_RELOAD, index);
      VarHandle.acquireFence(); // the bytes before the slot
      valid = cache.slot(index) == slot;
    } finally {
      if (!valid) {
        zero(into);
      }
    }
    if (!valid) {
      return -Errno.EAGAIN.code();
    }
    into.position(into.limit());
    return length;
  }

  private static void zero(ByteBuffer into) {
    for (int i = into.position(); i < into.limit(); i++) {
      into.put(i, (byte) 0);
    }
  }
}
