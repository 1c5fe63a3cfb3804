package io.github.guestmemfd.kvm;

import io.github.guestmemfd.FrameAccess;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.Counters;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.Mutex;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.spi.Wait;
import java.util.BitSet;
import java.util.Iterator;
import java.util.List;
import java.util.Optional;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

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
 * or the invalidation finds the entry. The reference on the page can be dropped at once, by a
 * kernel that converts in place even before {@code mmu_lock} is taken: until an invalidation comes,
 * the page stays the same. The fault checks the attribute again once it has got the page, since
 * before that the page may be busy, and a change of its attribute may be undone.
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

  /** As MAPPED, and the entry is this fault's. */
  private static final int MAPPED_HERE = 1;

  /** The page is of the other attribute. Neither this nor the next is an errno. */
  static final int MISMATCH = -1000;

  /** An invalidation came in between: retry. */
  static final int RETRY = -1001;

  /** The host has no memory at the user address of the page. */
  static final int NO_HOST_MEMORY = -1002;

  /** A write to a read-only memslot. */
  static final int READ_ONLY = -1003;

  private final Mutex mmuLock = new Mutex(LockClass.MMU_LOCK);
  private final IdleStrategy idle;
  private final boolean keepsReferences;

  /** Whether a fault gets a page without a reference, and has a private one made private. */
  private final boolean getsPfns;

  private final Counters<VmMeter> counters;
  private final UserMemory user;

  /** Null where a page has the attribute that its file has for it. */
  private final @Nullable VmAttributes attributes;

  /** Changed under {@code mmu_lock}. */
  private volatile long invalidateSeq;

  /** Whether the machine is dead: nothing is mapped any more ({@code kvm->vm_dead}). */
  private volatile boolean isDead;

  // Under mmu_lock: invalidations under way, and guest frames that hold all their ranges.
  private int inProgress;
  private long rangeStart;
  private long rangeEnd;

  Mmu(
      IdleStrategy idle,
      boolean keepsReferences,
      boolean getsPfns,
      Counters<VmMeter> counters,
      UserMemory user,
      @Nullable VmAttributes attributes) {
    this.idle = idle;
    this.keepsReferences = keepsReferences;
    this.getsPfns = getsPfns;
    this.counters = counters;
    this.user = user;
    this.attributes = attributes;
  }

  // ---- faults ----

  /**
   * Maps a page of a memslot, if it is of the attribute wanted.
   *
   * @param by the counters to use
   * @return MAPPED, MISMATCH, RETRY, NO_HOST_MEMORY, READ_ONLY, or a negated errno
   */
  int fault(
      BoundSlot slot, long page, MemoryAttribute wanted, boolean write, Counters<VmMeter> by) {
    boolean inFile = slot.isInFile(wanted);
    if (inFile && slot.gmem == null) {
      return -Errno.EOPNOTSUPP.code(); // no invalidation would reach the guest page table
    }
    if (GuestMemfd.isInsideCallback()) {
      return -Errno.EDEADLK.code();
    }
    long seq = Announce.read(this).invalidateSeq; // first of all
    if (isDead()) {
      return -Errno.EIO.code();
    }
    if (attributes != null && attributes.of(slot.gfn(page)) != wanted) {
      return MISMATCH;
    }
    int result =
        inFile
            ? faultInFile(slot, page, wanted, write, seq)
            : faultInHostMemory(slot, page, wanted, write, seq);
    if (result == RETRY) {
      by.count(VmMeter.RETRIES);
      slot.counters.count(VmMeter.RETRIES);
    }
    return result;
  }

  private int faultInFile(
      BoundSlot slot, long page, MemoryAttribute wanted, boolean write, long seq) {
    Optional<GuestMemfd> file = slot.memslot.openFile();
    if (file.isEmpty()) {
      return -Errno.EFAULT.code();
    }
    long offset = slot.offset(page);
    try (GuestMemfd memfd = file.get()) {
      if (Long.compareUnsigned(offset, memfd.size()) >= 0) {
        return -Errno.EINVAL.code(); // of a memslot whose range wraps: there is no such page
      }
      if (isOther(memfd, offset, wanted)) {
        return MISMATCH; // without allocating the page
      }
      if (getsPfns) {
        return mapPfn(slot, page, wanted, write, seq, memfd);
      }
      int pfn = memfd.tryGrab(offset, HolderKind.SAFE);
      if (pfn < 0) {
        return pfn;
      }
      boolean kept = false;
      try {
        if (isOther(memfd, offset, wanted)) {
          return MISMATCH; // it was converted while the page was being got
        }
        int result = install(slot, page, TdpEntry.ofFile(pfn, wanted, keepsReferences), write, seq);
        kept = keepsReferences && result == MAPPED_HERE;
        return result == MAPPED_HERE ? MAPPED : result;
      } finally {
        if (!kept) {
          memfd.put(pfn, HolderKind.SAFE);
        }
      }
    }
  }

  /**
   * Maps a page that no reference is held on: the sequence number tells if it is still the same.
   */
  private int mapPfn(
      BoundSlot slot,
      long page,
      MemoryAttribute wanted,
      boolean write,
      long seq,
      GuestMemfd memfd) {
    long offset = slot.offset(page);
    int pfn = memfd.tryGetPfn(offset);
    if (pfn < 0) {
      return pfn;
    }
    boolean other = isOther(memfd, offset, wanted); // it was converted while it was being got
    long entry = TdpEntry.ofFile(pfn, wanted, false);
    int result = other ? MISMATCH : install(slot, page, entry, write, seq);
    return result == MAPPED_HERE ? MAPPED : result;
  }

  /** Where the file has the attributes, only they count. */
  private boolean isOther(GuestMemfd memfd, long offset, MemoryAttribute wanted) {
    return attributes == null && memfd.isAccessible(offset) != (wanted == MemoryAttribute.SHARED);
  }

  private int faultInHostMemory(
      BoundSlot slot, long page, MemoryAttribute wanted, boolean write, long seq) {
    if (wanted == MemoryAttribute.PRIVATE) { // there is no file that could have it
      return attributes == null ? MISMATCH : -Errno.EFAULT.code();
    }
    if (write && slot.isReadOnly()) {
      return READ_ONLY;
    }
    long address = slot.userAddress(page);
    UserMemory.Area area = user.at(address);
    Optional<GuestMemfd> file = area == null ? Optional.empty() : area.file().reopen();
    if (area == null || file.isEmpty()) {
      return NO_HOST_MEMORY;
    }
    try (GuestMemfd memory = file.get()) {
      int pfn = memory.tryGrab(address - area.address(), HolderKind.SAFE);
      if (pfn < 0) {
        return pfn == -Errno.EBADF.code() ? NO_HOST_MEMORY : pfn;
      }
      try {
        int result = install(slot, page, TdpEntry.ofHost(pfn), write, seq);
        return result == MAPPED_HERE ? MAPPED : result;
      } finally {
        memory.put(pfn, HolderKind.SAFE);
      }
    }
  }

  /**
   * Installs an entry, unless an invalidation has come in between, or another vCPU was faster.
   *
   * @param wanted the page, with no version
   * @return MAPPED, MAPPED_HERE or RETRY
   */
  private int install(BoundSlot slot, long page, long wanted, boolean write, long seq) {
    slot.at(RacePoint.BEFORE_MMU_LOCK, slot.gfn(page));
    mmuLock.lock();
    try {
      if (slot.isGone || isDead() || mustRetry(seq, slot.gfn(page))) {
        return RETRY;
      }
      long old = slot.table.get(page);
      boolean isNew = TdpEntry.pfn(old) == 0;
      boolean writable = !slot.isReadOnly() && (slot.dirty == null || write);
      if (isNew || TdpEntry.isZapped(old) || (writable && !TdpEntry.isWritable(old))) {
        // Zapped by an invalidation that was given up, or not writable: the same page.
        slot.table.put(page, TdpEntry.mapped(old, wanted, writable));
        if (slot.dirty != null && writable) {
          slot.dirty.add(page); // before the write, and before the log can be read
        }
      }
      return isNew ? MAPPED_HERE : MAPPED;
    } finally {
      mmuLock.unlock();
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

  // ---- invalidations ----

  /**
   * Begins an invalidation of pages that a range of memory backs, and zaps them.
   *
   * @param pages all pages that have the memory; what is bound later cannot get it
   * @return EINTR if the thread is interrupted while it waits for accesses under way; it has not
   *     begun then, but what was mapped has been zapped
   */
  Errno invalidateBegin(List<SlotPages> pages) {
    return invalidateBegin(() -> pages, SlotPages.firstGfn(pages), SlotPages.endGfn(pages));
  }

  /**
   * As {@link #invalidateBegin(List)}, of a range of guest frames.
   *
   * @param pages the pages of memslots in it; asked once the range is marked, so that in a memslot
   *     which is made later no fault maps a page of it
   * @param first its first guest frame
   * @param end the one after its last
   */
  Errno invalidateBegin(Supplier<List<SlotPages>> pages, long first, long end) {
    mark(first, end);
    boolean done = false;
    try {
      for (SlotPages part : counted(pages.get())) {
        Zapped zapped = zap(part);
        zapped.ofFile.await(part.slot().fileFrames());
        zapped.ofHost.await(part.slot().hostFrames());
        remove(part);
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

  /**
   * An invalidation from its begin to its end, which an interrupt does not stop.
   *
   * @param pages all pages that have the memory
   * @param change made in between, whatever the zap throws
   */
  void invalidate(List<SlotPages> pages, Runnable change) {
    invalidate(() -> pages, SlotPages.firstGfn(pages), SlotPages.endGfn(pages), change);
  }

  /**
   * As {@link #invalidate(List, Runnable)}, of everything.
   *
   * @param pages all pages of all memslots; asked once everything is marked, as in {@link
   *     #invalidateBegin(Supplier, long, long)}
   * @param change made in between
   */
  void invalidateAll(Supplier<List<SlotPages>> pages, Runnable change) {
    invalidate(pages, 0, Long.MAX_VALUE, change);
  }

  private void invalidate(Supplier<List<SlotPages>> pages, long first, long end, Runnable change) {
    mark(first, end);
    try {
      zapAll(counted(pages.get()).iterator());
    } finally {
      try {
        change.run();
      } finally {
        invalidateEnd();
      }
    }
  }

  /** As {@link #invalidate(List, Runnable)}, of pages that are used no more. */
  void invalidate(List<SlotPages> pages) {
    invalidate(pages, () -> {});
  }

  /** Zaps all pages, whatever one part of them throws: their frames are about to be used again. */
  private void zapAll(Iterator<SlotPages> parts) {
    while (parts.hasNext()) {
      SlotPages part = parts.next();
      try {
        zapUninterruptibly(part);
      } catch (Throwable e) {
        zapAll(parts);
        throw e;
      }
    }
  }

  private static List<SlotPages> counted(List<SlotPages> pages) {
    for (SlotPages part : pages) {
      part.slot().counters.count(VmMeter.INVALIDATIONS);
    }
    return pages;
  }

  private void mark(long first, long end) {
    counters.count(VmMeter.INVALIDATIONS);
    mmuLock.lock();
    try {
      if (inProgress++ == 0) {
        rangeStart = Long.MAX_VALUE;
        rangeEnd = 0;
      }
      rangeStart = Math.min(rangeStart, first);
      rangeEnd = Math.max(rangeEnd, end);
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

  /** Ends all use of a memslot that has been deleted, or replaced. */
  void delete(BoundSlot slot) {
    mmuLock.lock();
    try {
      slot.isGone = true; // from here on nothing is mapped
    } finally {
      mmuLock.unlock();
    }
    try {
      zapUninterruptibly(new SlotPages(slot, 0, slot.pages()));
    } finally {
      forgetReplaced(slot);
    }
  }

  /** Takes a memslot out of the chain of those that are replaced. */
  private void forgetReplaced(BoundSlot slot) {
    mmuLock.lock();
    try {
      BoundSlot older = slot.replaced; // which another thread may still be deleting
      BoundSlot newer = slot.replacedBy;
      if (newer != null) {
        newer.replaced = older;
      }
      if (older != null) {
        older.replacedBy = newer;
      }
    } finally {
      mmuLock.unlock();
    }
  }

  // ---- death ----

  boolean isDead() {
    return Announce.read(this).isDead;
  }

  /**
   * Says that the machine is dead. What is mapped is to be {@link #invalidate invalidated} then.
   */
  void markDead() {
    Announce.write(this).isDead = true;
  }

  // ---- dirty log ----

  /**
   * Takes pages out of the dirty log of a memslot, and has the next write to each logged again.
   *
   * @param wanted the pages; null for all
   * @return those that were in the log: what was written to them before the call returned is to be
   *     seen in them
   * @throws InterruptedException if the thread is interrupted while it waits for writes under way;
   *     the log is as it was
   */
  BitSet takeDirty(BoundSlot slot, DirtyLog log, @Nullable BitSet wanted)
      throws InterruptedException {
    ZappedFrames written = new ZappedFrames();
    BitSet taken;
    mmuLock.lock();
    try {
      taken = wanted == null ? log.takeAll() : log.take(wanted);
      writeProtect(slot, taken, written);
      for (BoundSlot old = slot.replaced; old != null; old = old.replaced) {
        old.isGone = true; // it has the same log: nothing more may be written by it
        writeProtect(old, taken, written);
      }
    } finally {
      mmuLock.unlock();
    }
    boolean done = false;
    try {
      written.await(slot.hostFrames());
      done = true;
      return taken;
    } finally {
      if (!done) {
        putBack(log, taken);
      }
    }
  }

  private static void writeProtect(BoundSlot slot, BitSet pages, ZappedFrames written) {
    for (int page = pages.nextSetBit(0); page >= 0; page = pages.nextSetBit(page + 1)) {
      long entry = slot.table.get(page);
      if (TdpEntry.pfn(entry) != 0) {
        written.add(TdpEntry.pfn(entry));
        slot.table.put(page, TdpEntry.writeProtected(entry));
      }
    }
  }

  /** Puts pages back into a log that they were taken from. */
  void putBack(DirtyLog log, BitSet taken) {
    mmuLock.lock();
    try {
      log.addAll(taken);
    } finally {
      mmuLock.unlock();
    }
  }

  // ---- zaps ----

  /** Frames that accesses may be under way to. */
  private record Zapped(ZappedFrames ofFile, ZappedFrames ofHost) {}

  private void zapUninterruptibly(SlotPages pages) {
    Zapped zapped = zap(pages);
    try {
      zapped.ofFile.awaitUninterruptibly(pages.slot().fileFrames());
    } finally {
      try {
        zapped.ofHost.awaitUninterruptibly(pages.slot().hostFrames());
      } finally {
        remove(pages); // the accesses are over, also if the idle strategy has thrown
      }
    }
  }

  /** Prevents new accesses to pages; returns the frames that accesses may be under way to. */
  private Zapped zap(SlotPages pages) {
    Zapped zapped = new Zapped(new ZappedFrames(), new ZappedFrames());
    long[] fresh = new long[1];
    update(
        pages,
        entry -> {
          (TdpEntry.isHost(entry) ? zapped.ofHost : zapped.ofFile).add(TdpEntry.pfn(entry));
          if (TdpEntry.isZapped(entry)) {
            return entry; // zapped by another thread, which may not have waited
          }
          fresh[0]++;
          return TdpEntry.zapped(entry);
        });
    counters.add(VmMeter.ZAPS, fresh[0]);
    pages.slot().counters.add(VmMeter.ZAPS, fresh[0]);
    return zapped;
  }

  /**
   * Removes the zapped entries of pages, through which no access is under way, and gives their
   * references back: all, whatever one of them throws. None has been mapped anew since: the pages
   * are being invalidated, or their memslot gone.
   */
  private void remove(SlotPages pages) {
    ZappedFrames kept = new ZappedFrames();
    update(
        pages,
        entry -> {
          if (TdpEntry.keepsReference(entry)) {
            kept.add(TdpEntry.pfn(entry));
          }
          return TdpEntry.removed(entry);
        });
    GuestMemfd memfd = pages.slot().memslot.memfd();
    if (memfd != null) {
      kept.putAll(memfd);
    }
  }

  /** Changes the entries of pages that are there, under the lock. */
  private void update(SlotPages pages, GuestPageTable.Change change) {
    mmuLock.lock();
    try {
      pages.slot().table.update(pages.from(), pages.to(), change);
    } finally {
      mmuLock.unlock();
    }
  }
}
