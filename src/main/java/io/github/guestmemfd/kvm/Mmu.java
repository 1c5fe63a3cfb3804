package io.github.guestmemfd.kvm;

import io.github.guestmemfd.Errno;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HolderKind;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * How the guest page tables of a virtual machine follow its files: {@code mmu_lock}, {@code
 * mmu_invalidate_seq}, {@code mmu_invalidate_in_progress}, and the fault that goes by them.
 *
 * <p>A fault notes the sequence number; looks at the attribute; gets the page; takes {@code
 * mmu_lock}; and gives up what it found if an invalidation of its guest frame is under way or the
 * number has changed. An invalidation marks its range, which zaps it, before the file changes
 * anything, and adds to the number when that is done. So an entry that a fault installs is for a
 * page that was not invalidated since the fault looked: either the fault sees the mark or the
 * number, or the invalidation finds the entry. The page's reference can be dropped at once: for as
 * long as no invalidation comes, the page is what it was.
 *
 * <p>{@code mmu_lock} is a leaf: nothing is waited for under it. Accesses under way through zapped
 * entries are waited for after it is given back.
 */
final class Mmu {
  /** A fault found the page mapped, or mapped it. */
  static final int MAPPED = 0;

  /** The page is of the other attribute. Neither this nor the next is an errno. */
  static final int MISMATCH = -1000;

  /** An invalidation came in between: do it again. */
  static final int RETRY = -1001;

  /** How long to sleep when nobody tells when it is time to look again. */
  private static final long LOOK_AGAIN_NANOS = 20_000;

  private static final ByteBuffer NO_BYTES = ByteBuffer.allocate(0);

  private final ReentrantLock mmuLock = new ReentrantLock();
  private final IdleStrategy idle;
  private final @Nullable RaceHook hook;
  private final boolean keepsReferences;
  private final VmStats stats;

  /** Changed under {@code mmu_lock}. */
  private volatile long invalidateSeq;

  // Under mmu_lock: invalidations under way, and guest frames that hold all their ranges.
  private int inProgress;
  private long rangeStart;
  private long rangeEnd;

  Mmu(IdleStrategy idle, @Nullable RaceHook hook, boolean keepsReferences, VmStats stats) {
    this.idle = idle;
    this.hook = hook;
    this.keepsReferences = keepsReferences;
    this.stats = stats;
  }

  // ---- faults ----

  /**
   * Maps a page of a memslot, if it is of the attribute wanted.
   *
   * @return MAPPED, MISMATCH, RETRY, or a negated errno
   */
  int fault(BoundSlot slot, long page, MemoryAttribute wanted) {
    if (slot.gmem == null) {
      return -Errno.EOPNOTSUPP.code(); // nobody would tell us of invalidations
    }
    if (Gmem.isInsideCallback()) {
      return -Errno.EDEADLK.code();
    }
    long seq = invalidateSeq; // first of all
    Optional<GuestMemfd> file = slot.memslot.memfd().reopen();
    if (file.isEmpty()) {
      return -Errno.EFAULT.code();
    }
    long offset = slot.offset(page);
    try (GuestMemfd memfd = file.get()) {
      if (memfd.isAccessible(offset) != (wanted == MemoryAttribute.SHARED)) {
        return MISMATCH;
      }
      int pfn = memfd.tryGrab(offset, HolderKind.SAFE);
      return pfn < 0 ? pfn : map(slot, page, wanted, seq, pfn, memfd);
    }
  }

  private int map(
      BoundSlot slot, long page, MemoryAttribute wanted, long seq, int pfn, GuestMemfd memfd) {
    boolean kept = false;
    try {
      at(RacePoint.BEFORE_MMU_LOCK, slot.gfn(page));
      TdpEntry entry =
          new TdpEntry(
              view(memfd, pfn), wanted, keepsReferences ? slot.memslot.memfd() : null, pfn);
      mmuLock.lock();
      try {
        if (slot.isGone || mustRetry(seq, slot.gfn(page))) {
          stats.retryCount.increment();
          return RETRY;
        }
        if (slot.table.get(page) == null) { // else another vCPU was faster, with the same page
          slot.table.put(page, entry);
          kept = keepsReferences;
        }
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

  private static ByteBuffer view(GuestMemfd memfd, int pfn) {
    try {
      return memfd.buffer(pfn);
    } catch (UnsupportedOperationException e) {
      return NO_BYTES;
    }
  }

  private boolean mustRetry(long seq, long gfn) {
    return (inProgress != 0 && gfn >= rangeStart && gfn < rangeEnd) || invalidateSeq != seq;
  }

  /**
   * Idles before a fault is done again.
   *
   * @return false if the thread is interrupted
   */
  boolean awaitRetry(int round) {
    if (Thread.currentThread().isInterrupted()) {
      return false;
    }
    idle.idle(round, LOOK_AGAIN_NANOS);
    return true;
  }

  /** An access has been announced in an entry. */
  void inFlight(TdpEntry entry, long gfn) {
    if (hook != null) {
      boolean done = false;
      try {
        at(RacePoint.ACCESS_IN_FLIGHT, gfn);
        done = true;
      } finally {
        if (!done) {
          entry.end();
        }
      }
    }
  }

  private void at(RacePoint point, long gfn) {
    RaceHook h = hook;
    if (h != null) {
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
  Errno invalidateBegin(List<BoundSlot> slots, long offset, long length) {
    boolean begun = false;
    try {
      begun = awaitAccesses(begin(slots, offset, length), true);
      return begun ? Errno.OK : Errno.EINTR;
    } finally {
      if (!begun) {
        invalidateEnd();
      }
    }
  }

  /** As {@link #invalidateBegin}, but not to be stopped by an interrupt. */
  void invalidateBeginUninterruptibly(List<BoundSlot> slots, long offset, long length) {
    awaitAccesses(begin(slots, offset, length), false);
  }

  private List<TdpEntry> begin(List<BoundSlot> slots, long offset, long length) {
    stats.invalidationCount.increment();
    List<TdpEntry> zapped = new ArrayList<>();
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
          rangeStart = Math.min(rangeStart, slot.gfn(from));
          rangeEnd = Math.max(rangeEnd, slot.gfn(to));
          slot.table.zap(from, to, zapped);
        }
      }
    } finally {
      mmuLock.unlock();
    }
    return zapped;
  }

  /** Ends an invalidation that has begun. */
  @SuppressWarnings("NonAtomicVolatileUpdate") // under the lock
  void invalidateEnd() {
    mmuLock.lock();
    try {
      invalidateSeq++; // before the next line, as a fault looks at both under the lock
      inProgress--;
    } finally {
      mmuLock.unlock();
    }
  }

  /** Ends all use of a memslot that has been deleted. */
  void delete(BoundSlot slot) {
    List<TdpEntry> zapped = new ArrayList<>();
    mmuLock.lock();
    try {
      slot.isGone = true;
      slot.table.zap(0, slot.pages(), zapped);
    } finally {
      mmuLock.unlock();
    }
    awaitAccesses(zapped, false);
  }

  /**
   * Waits for accesses through zapped entries, and gives their references back: to the last access,
   * where the wait is cut short.
   *
   * @return false if the thread was interrupted and let itself be stopped by that
   */
  private boolean awaitAccesses(List<TdpEntry> zapped, boolean interruptibly) {
    stats.zapCount.add(zapped.size());
    boolean interrupted = false;
    for (TdpEntry entry : zapped) {
      for (int round = 0; entry.isInUse() && !(interrupted && interruptibly); round++) {
        interrupted |= Thread.interrupted();
        idle.idle(round, LOOK_AGAIN_NANOS);
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
    release(zapped.iterator());
    return !(interrupted && interruptibly);
  }

  /** Gives the references of zapped entries back: of all, whatever one of them throws. */
  private static void release(Iterator<TdpEntry> zapped) {
    while (zapped.hasNext()) {
      boolean released = false;
      try {
        zapped.next().release();
        released = true;
      } finally {
        if (!released) {
          release(zapped);
        }
      }
    }
  }
}
