package io.github.guestmemfd.kvm;

import io.github.guestmemfd.FrameAccess;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.kvm.GuestPageTable.Frames;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.Callback;
import io.github.guestmemfd.spi.Counters;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.LockOrder;
import io.github.guestmemfd.spi.Mutex;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.spi.Wait;
import java.util.Iterator;
import java.util.List;
import java.util.Optional;

/**
 * The MMU of a virtual machine, which makes its guest page tables follow its files: {@code
 * mmu_lock}, {@code mmu_invalidate_seq}, {@code mmu_invalidate_in_progress}, and the fault that
 * uses them.
 *
 * <p>A fault reads the sequence number; checks the attribute; gets the page; takes {@code
 * mmu_lock}; and retries if an invalidation of its guest frame is under way or the number has
 * changed. An invalidation marks its range and zaps it before the file changes anything, and
 * increments the number when the change is done. So an entry that a fault installs is for a page
 * that was not invalidated since the fault began: either the fault sees the mark or the new number,
 * or the invalidation finds the entry. The reference on the page can be dropped at once: until an
 * invalidation comes, the page stays the same. The fault checks the attribute again once it has got
 * the page, since before that the page may be busy, and a change of its attribute may be undone.
 *
 * <p>{@code mmu_lock} is a leaf: no thread waits under it. A zap marks entries under the lock,
 * releases it, waits for the accesses under way, and removes the entries under the lock again.
 * Until then, or for good if the wait is given up, the marked entries record what is still to be
 * flushed: the next invalidation waits for that too, and puts the references of the entries only
 * afterwards. A fault may map such a page again if no invalidation is under way: it is still the
 * same page.
 */
final class Mmu {
  /** A fault found the page mapped, or mapped it. */
  static final int MAPPED = 0;

  /** The page is of the other attribute. Neither this nor the next is an errno. */
  static final int MISMATCH = -1000;

  /** An invalidation came in between: retry. */
  static final int RETRY = -1001;

  private final Mutex mmuLock = new Mutex(LockClass.MMU_LOCK);
  private final IdleStrategy idle;
  private final boolean keepsReferences;
  private final Counters<VmMeter> counters;

  /** Changed under {@code mmu_lock}. */
  private volatile long invalidateSeq;

  // Under mmu_lock: invalidations under way, and guest frames that hold all their ranges.
  private int inProgress;
  private long rangeStart;
  private long rangeEnd;

  Mmu(IdleStrategy idle, boolean keepsReferences, Counters<VmMeter> counters) {
    this.idle = idle;
    this.keepsReferences = keepsReferences;
    this.counters = counters;
  }

  // ---- faults ----

  /**
   * Maps a page of a memslot, if it is of the attribute wanted.
   *
   * @param by the counters to use
   * @return MAPPED, MISMATCH, RETRY, or a negated errno
   */
  int fault(BoundSlot slot, long page, MemoryAttribute wanted, Counters<VmMeter> by) {
    if (slot.gmem == null) {
      return -Errno.EOPNOTSUPP.code(); // no invalidation would reach the guest page table
    }
    if (GuestMemfd.isInsideCallback()) {
      return -Errno.EDEADLK.code();
    }
    long seq = Announce.read(this).invalidateSeq; // first of all
    Optional<GuestMemfd> file = slot.memslot.memfd().reopen();
    if (file.isEmpty()) {
      return -Errno.EFAULT.code();
    }
    long offset = slot.offset(page);
    try (GuestMemfd memfd = file.get()) {
      if (isOther(memfd, offset, wanted)) {
        return MISMATCH; // without allocating the page
      }
      int pfn = memfd.tryGrab(offset, HolderKind.SAFE);
      if (pfn < 0) {
        return pfn;
      }
      int result = map(slot, page, wanted, seq, pfn, memfd);
      if (result == RETRY) {
        by.count(VmMeter.RETRIES);
        slot.counters.count(VmMeter.RETRIES);
      }
      return result;
    }
  }

  private static boolean isOther(GuestMemfd memfd, long offset, MemoryAttribute wanted) {
    return memfd.isAccessible(offset) != (wanted == MemoryAttribute.SHARED);
  }

  private int map(
      BoundSlot slot, long page, MemoryAttribute wanted, long seq, int pfn, GuestMemfd memfd) {
    boolean kept = false;
    try {
      if (isOther(memfd, slot.offset(page), wanted)) {
        return MISMATCH; // it was converted while the page was being got
      }
      at(slot, RacePoint.BEFORE_MMU_LOCK, slot.gfn(page));
      mmuLock.lock();
      try {
        if (slot.isGone || mustRetry(seq, slot.gfn(page))) {
          return RETRY;
        }
        long old = slot.table.get(page);
        if (TdpEntry.pfn(old) == 0) {
          slot.table.put(page, TdpEntry.mapped(old, pfn, wanted, keepsReferences));
          kept = keepsReferences;
        } else if (TdpEntry.isZapped(old)) { // by an invalidation that was given up: the same page
          slot.table.put(page, TdpEntry.mapped(old, pfn, wanted, TdpEntry.keepsReference(old)));
        } // else another vCPU was faster
        return MAPPED;
      } finally {
        mmuLock.unlock();
      }
    } finally {
      if (!kept) {
        memfd.put(pfn, HolderKind.SAFE);
      }
    }
  }

  private boolean mustRetry(long seq, long gfn) {
    return (inProgress != 0 && gfn >= rangeStart && gfn < rangeEnd)
        || Announce.read(this).invalidateSeq != seq;
  }

  /**
   * Idles before a fault is retried.
   *
   * @return false if the thread is interrupted
   */
  boolean awaitRetry(int round) {
    return Wait.pause(idle, round, Wait.LOOK_AGAIN_NANOS);
  }

  /** An access has been announced. */
  static void inFlight(BoundSlot slot, long access, long gfn) {
    if (slot.hook != null) {
      try {
        at(slot, RacePoint.ACCESS_IN_FLIGHT, gfn);
      } catch (Throwable e) {
        slot.frames.end(access);
        throw e;
      }
    }
  }

  private static void at(BoundSlot slot, RacePoint point, long gfn) {
    RaceHook h = slot.hook;
    if (h != null) {
      LockOrder.beforeCall(Callback.RACE_HOOK);
      h.at(point, gfn);
    }
  }

  // ---- invalidations ----

  /**
   * Begins an invalidation of a range of a file, wherever that is bound, and zaps it.
   *
   * @return EINTR if the thread is interrupted while it waits for accesses under way; it has not
   *     begun then, but what was mapped has been zapped
   */
  Errno invalidateBegin(List<BoundSlot> bindings, long offset, long length) {
    List<BoundSlot> slots = List.copyOf(bindings); // what is bound later cannot get the pages
    mark(slots, offset, length);
    boolean done = false;
    try {
      for (BoundSlot slot : slots) {
        Frames zapped = zap(slot, slot.firstPage(offset), slot.endPage(offset, length));
        slot.frames.await(zapped.pfns, zapped.count);
        remove(slot, slot.firstPage(offset), slot.endPage(offset, length));
      }
      done = true;
      return Errno.OK;
    } catch (InterruptedException e) {
      return FrameAccess.interrupted(e);
    } finally {
      if (!done) {
        invalidateEnd();
      }
    }
  }

  /** As {@link #invalidateBegin}, but an interrupt does not stop it. */
  void invalidateBeginUninterruptibly(List<BoundSlot> bindings, long offset, long length) {
    List<BoundSlot> slots = List.copyOf(bindings);
    mark(slots, offset, length);
    zapAll(slots.iterator(), offset, length);
  }

  /** Zaps all slots, whatever one of them throws: their frames are about to be used again. */
  private void zapAll(Iterator<BoundSlot> slots, long offset, long length) {
    while (slots.hasNext()) {
      BoundSlot slot = slots.next();
      try {
        zapUninterruptibly(slot, slot.firstPage(offset), slot.endPage(offset, length));
      } catch (Throwable e) {
        zapAll(slots, offset, length);
        throw e;
      }
    }
  }

  private void mark(List<BoundSlot> slots, long offset, long length) {
    counters.count(VmMeter.INVALIDATIONS);
    mmuLock.lock();
    try {
      if (inProgress++ == 0) {
        rangeStart = Long.MAX_VALUE;
        rangeEnd = 0;
      }
      for (BoundSlot slot : slots) {
        long from = slot.firstPage(offset);
        long to = slot.endPage(offset, length);
        if (from < to) {
          slot.counters.count(VmMeter.INVALIDATIONS);
          rangeStart = Math.min(rangeStart, slot.gfn(from));
          rangeEnd = Math.max(rangeEnd, slot.gfn(to));
        }
      }
    } finally {
      mmuLock.unlock();
    }
  }

  /** Ends an invalidation that has begun. */
  void invalidateEnd() {
    mmuLock.lock();
    try {
      long next = Announce.read(this).invalidateSeq + 1;
      Announce.write(this).invalidateSeq = next; // a fault looks at both words under the lock
      inProgress--;
    } finally {
      mmuLock.unlock();
    }
  }

  /** Ends all use of a memslot that has been deleted. */
  void delete(BoundSlot slot) {
    mmuLock.lock();
    try {
      slot.isGone = true; // from here on nothing is mapped
    } finally {
      mmuLock.unlock();
    }
    zapUninterruptibly(slot, 0, slot.pages());
  }

  // ---- zaps ----

  private void zapUninterruptibly(BoundSlot slot, long from, long to) {
    Frames zapped = zap(slot, from, to);
    try {
      slot.frames.awaitUninterruptibly(zapped.pfns, zapped.count);
    } finally {
      remove(slot, from, to); // the accesses are over, also if the idle strategy has thrown
    }
  }

  /** Prevents new accesses to a range; returns the frames that accesses may be under way to. */
  private Frames zap(BoundSlot slot, long from, long to) {
    Frames zapped = new Frames();
    long[] fresh = new long[1];
    mmuLock.lock();
    try {
      slot.table.update(
          from,
          to,
          entry -> {
            zapped.add(entry);
            if (TdpEntry.isZapped(entry)) {
              return entry; // zapped by another thread, which may not have waited
            }
            fresh[0]++;
            return TdpEntry.zapped(entry);
          });
    } finally {
      mmuLock.unlock();
    }
    counters.add(VmMeter.ZAPS, fresh[0]);
    slot.counters.add(VmMeter.ZAPS, fresh[0]);
    return zapped;
  }

  /**
   * Removes the zapped entries of a range, through which no access is under way, and gives their
   * references back: all, whatever one of them throws. None has been mapped anew since: the range
   * is being invalidated, or its memslot gone.
   */
  private void remove(BoundSlot slot, long from, long to) {
    Frames kept = new Frames();
    mmuLock.lock();
    try {
      slot.table.update(
          from,
          to,
          entry -> {
            if (TdpEntry.keepsReference(entry)) {
              kept.add(entry);
            }
            return TdpEntry.removed(entry);
          });
    } finally {
      mmuLock.unlock();
    }
    release(slot.memslot.memfd(), kept);
  }

  private static void release(GuestMemfd memfd, Frames kept) {
    while (kept.count > 0) {
      try {
        memfd.put(kept.pfns[--kept.count], HolderKind.SAFE);
      } catch (Throwable e) {
        release(memfd, kept);
        throw e;
      }
    }
  }
}
