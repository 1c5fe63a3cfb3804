package io.github.guestmemfd;

import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.cache.PageCache.Wanted;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameContents;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A guest_memfd file: what its descriptors, mappings and memslots share.
 *
 * <h2>A range operation</h2>
 *
 * Converting and punching go by the same steps, each complete before the next begins:
 *
 * <ol>
 *   <li>make every page of the range busy: from here on nobody begins to use one;
 *   <li>(not to accessible) unmap the range from every host mapping, waiting for accesses under
 *       way;
 *   <li>wait for each folio's lock to be free: nobody is left zeroing or preparing it;
 *   <li>(to inaccessible) check each folio's counts; on a mismatch look again as the retry policy
 *       says;
 *   <li>{@code invalidateBegin}; for a conversion prepare each folio; change the slots; {@code
 *       invalidateEnd};
 *   <li>make the pages free again and wake who waits.
 * </ol>
 *
 * Up to the change of the slots everything can be undone, and is, if anything refuses or throws.
 *
 * <h2>A fault against a range operation</h2>
 *
 * A host fault that looked the folio up in time may enter its page table entry too late, after step
 * 2. It therefore looks at the slot once more after the entry stands. Either the unmapping sees the
 * entry, or the fault sees the busy bit and takes its entry back; its reference keeps step 4 from
 * succeeding until then.
 */
final class Inode {
  /** A fault that meets an inaccessible page or the end of the file. Not an errno. */
  static final int SIGBUS = -1000;

  /** A fault in a mapping that has been closed. Not an errno. */
  static final int UNMAPPED = -1001;

  private static final Logger LOG = LoggerFactory.getLogger(GuestMemfd.class);

  final HostMemory host;
  final long size;
  final long flags;
  final long ino;
  final PageCache cache;

  private final long pages;
  private final GuestMemfdOps ops;
  private final boolean hasOps;
  private final ConversionProtocol protocol;
  private final RetryPolicy retry;
  private final FrameTable frames;
  private final FrameTable.Owner owner;
  private final @Nullable RaceHook hook;

  /** Descriptors and mappings; the file goes when the last of them does. */
  private final AtomicLong opens = new AtomicLong(1);

  /** Every mapping of the file: the kernel's reverse map, i_mmap. */
  private final List<HostMapping> mappings = new CopyOnWriteArrayList<>();

  /** The virtual machine whose memslots the file is bound to, once it is. */
  final AtomicReference<@Nullable Object> boundTo = new AtomicReference<>();

  private volatile long mtimeNanos = now();

  Inode(
      HostMemory host,
      long size,
      long flags,
      GuestMemfdOps ops,
      ConversionProtocol protocol,
      RetryPolicy retry) {
    this.host = host;
    this.size = size;
    this.flags = flags;
    this.pages = size >>> HostMemory.PAGE_SHIFT;
    this.ops = ops;
    this.hasOps = ops != GuestMemfdOps.NONE;
    this.protocol = protocol;
    this.retry = retry;
    this.frames = host.frames;
    this.hook = host.hook;
    this.ino = host.openFile();
    this.owner = frames.newOwner(this::freed);
    this.cache =
        new PageCache(
            pages,
            (flags & CreateFlag.INIT_SHARED.bit) == 0,
            frames,
            host.contents,
            owner,
            host.idle,
            hook);
    LOG.debug("created {}", this);
  }

  // ---- descriptors and mappings ----

  /** Opens the file once more, unless it is gone. */
  boolean tryOpen() {
    for (; ; ) {
      long n = opens.get();
      if (n == 0) {
        return false;
      }
      if (opens.compareAndSet(n, n + 1)) {
        return true;
      }
    }
  }

  /** Closes a descriptor or a mapping; the last one ends the file. */
  void close() {
    if (opens.decrementAndGet() == 0) {
      end();
    }
  }

  void add(HostMapping mapping) {
    mappings.add(mapping);
  }

  void remove(HostMapping mapping) {
    mappings.remove(mapping);
  }

  private void end() {
    boolean interrupted = false;
    for (boolean locked = false; !locked; ) {
      try {
        locked = cache.lock(0, pages);
      } catch (InterruptedException e) {
        interrupted = true; // a close cannot be given up
      }
    }
    Failures failures = new Failures();
    HostMemory outer = Callbacks.enter(host);
    try {
      failures.attempt(ops::release);
    } finally {
      Callbacks.leave(outer);
    }
    for (long i = cache.next(0, pages); i < pages; i = cache.next(i + 1, pages)) {
      long index = i;
      while (!isFolioUnlocked(index)) {
        interrupted = true;
      }
      failures.attempt(() -> cache.remove(index));
    }
    cache.die();
    owner.close();
    host.closeFile();
    LOG.debug("released {}", this);
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
    failures.throwIfAny();
  }

  /** Waits for a folio lock to be free; false if interrupted. */
  private boolean isFolioUnlocked(long index) {
    try {
      cache.awaitFolioUnlocked(index);
      return true;
    } catch (InterruptedException e) {
      return false;
    }
  }

  /** A frame of this file has no holder left. */
  private void freed(int pfn) {
    HostMemory outer = Callbacks.enter(host);
    try {
      if (hasOps) {
        ops.freeFolio(new Folio(this, -1, pfn, null));
      }
    } finally {
      Callbacks.leave(outer);
      if (!frames.isDirectMapped(pfn) && host.contents != null) {
        host.contents.zero(pfn); // it returns to the direct map, where its bytes must not be seen
      }
    }
  }

  // ---- lookup ----

  /**
   * Finds, or allocates, the folio at an index and takes a reference on it: up to date and
   * prepared.
   *
   * @return the frame, or a negated errno; SIGBUS if the page is not as wanted
   */
  int get(long index, long unit, Wanted wanted) {
    try {
      for (; ; ) {
        long slot = cache.lookup(index, unit, wanted);
        if (PageCache.isHit(slot, wanted)) {
          int pfn = SlotWord.pfn(slot);
          if (SlotWord.isReady(slot)) {
            return pfn;
          }
          put(pfn, unit); // nobody waits for a lock with a reference in hand
          int result = makeReady(index, slot);
          if (result != 0) {
            return result;
          }
        } else if (SlotWord.isBusy(slot)) {
          Callbacks.forbid(host, "use of a page under conversion");
          if (!cache.awaitNotBusy(index)) {
            return -Errno.EBADF.code();
          }
        } else if (!wanted.matches(slot)) {
          return SIGBUS;
        } else if (!cache.fill(index, slot, false)) {
          return -Errno.ENOMEM.code();
        }
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return -Errno.EINTR.code();
    }
  }

  /** A reference for the host (GUP) on an accessible page; EFAULT where there is none. */
  int get(long index, long unit) {
    int pfn = index < pages ? get(index, unit, Wanted.ACCESSIBLE) : SIGBUS;
    return pfn == SIGBUS ? -Errno.EFAULT.code() : pfn;
  }

  /** Zeroes and prepares a folio that has never been used, if the slot still is as it was seen. */
  private int makeReady(long index, long slot) throws InterruptedException {
    int pfn = SlotWord.pfn(slot);
    at(RacePoint.BEFORE_FOLIO_LOCK, index);
    Callbacks.forbid(host, "first use of a page");
    frames.lock(pfn);
    try {
      if (cache.slot(index) != slot) {
        return 0;
      }
      if (!frames.isUptodate(pfn)) {
        FrameContents contents = host.contents;
        if (contents != null) {
          contents.zero(pfn);
        }
        frames.setUptodate(pfn);
      }
      if (!frames.isPrepared(pfn)) {
        Errno errno = prepare(index, pfn, SlotWord.isInaccessible(slot));
        if (errno != Errno.OK) {
          return -errno.code();
        }
        frames.setPrepared(pfn);
      }
      cache.markReady(index, slot);
      return 0;
    } finally {
      frames.unlock(pfn);
    }
  }

  /** Drops a reference; the last one frees the frame. */
  void put(int pfn, long unit) {
    frames.put(pfn, unit);
  }

  /**
   * Maps a page of a mapping for an access.
   *
   * @return 0, a negated errno, SIGBUS or UNMAPPED
   */
  int fault(HostMapping mapping, long page, boolean write) {
    long index = mapping.firstIndex + page;
    if (index >= pages) {
      return SIGBUS;
    }
    int pfn = get(index, Counts.REF, Wanted.ACCESSIBLE);
    if (pfn < 0) {
      return pfn;
    }
    if (write) {
      mtimeNanos = now();
    }
    at(RacePoint.BEFORE_PTE_INSTALL, index);
    if (!mapping.table.install(page, pfn)) {
      put(pfn, Counts.REF);
      return 0;
    }
    at(RacePoint.AFTER_PTE_INSTALL, index);
    long slot = cache.slot(index);
    boolean closed = mapping.isClosed();
    if (SlotWord.pfn(slot) == pfn && PageCache.isHit(slot, Wanted.ACCESSIBLE) && !closed) {
      return 0;
    }
    int late = mapping.table.zapUninterruptibly(page);
    if (late != 0) {
      put(late, Counts.REF);
    }
    return closed ? UNMAPPED : 0;
  }

  boolean isInaccessible(long index) {
    return SlotWord.isInaccessible(cache.slot(index));
  }

  // ---- allocation ----

  Errno allocate(long from, long to) {
    Callbacks.forbid(host, "allocate");
    long missing = to - from;
    for (long i = cache.next(from, to); i < to; i = cache.next(i + 1, to)) {
      missing--;
    }
    if (!frames.reserve(missing)) {
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
            if (!cache.awaitNotBusy(i)) {
              return Errno.EBADF;
            }
          } else if (SlotWord.pfn(slot) != 0) {
            break;
          } else {
            boolean reserved = missing > 0;
            if (reserved) {
              missing--;
            }
            if (!cache.fill(i, slot, reserved)) {
              return Errno.ENOMEM;
            }
          }
        }
      }
      mtimeNanos = now();
      return Errno.OK;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return Errno.EINTR;
    } finally {
      frames.unreserve(missing);
    }
  }

  // ---- range operations ----

  /** A step of a range operation, between locking and unlocking. */
  @FunctionalInterface
  private interface Body {
    Errno run() throws InterruptedException;
  }

  /** Runs a step with the range locked. */
  private Errno locked(String operation, long from, long to, Body body) {
    Callbacks.forbid(host, operation);
    try {
      if (!cache.lock(from, to)) {
        return Errno.EBADF;
      }
      try {
        return body.run();
      } finally {
        cache.unlock(from, to);
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return Errno.EINTR;
    }
  }

  /** Runs a step between invalidateBegin and invalidateEnd. */
  private Errno invalidated(long from, long to, Body body) throws InterruptedException {
    if (!hasOps) {
      return body.run();
    }
    long offset = from << HostMemory.PAGE_SHIFT;
    long length = (to - from) << HostMemory.PAGE_SHIFT;
    HostMemory outer = Callbacks.enter(host);
    try {
      Errno errno = ops.invalidateBegin(offset, length);
      if (errno != Errno.OK) {
        return errno;
      }
      try {
        errno = body.run();
      } catch (Throwable e) {
        try {
          ops.invalidateEnd(offset, length);
        } catch (Throwable end) {
          e.addSuppressed(end);
        }
        throw e;
      }
      ops.invalidateEnd(offset, length);
      return errno;
    } finally {
      Callbacks.leave(outer);
    }
  }

  /** Drops the page table entries of a range in every mapping. */
  private void unmap(long from, long to) throws InterruptedException {
    for (HostMapping mapping : mappings) {
      zap(
          mapping,
          Math.max(from - mapping.firstIndex, 0),
          Math.min(to - mapping.firstIndex, mapping.pages));
    }
    at(RacePoint.AFTER_UNMAP, from);
  }

  /** Drops the page table entries of some pages of a mapping. */
  private void zap(HostMapping mapping, long fromPage, long toPage) throws InterruptedException {
    if (fromPage >= toPage) {
      return;
    }
    for (long page = mapping.table.next(fromPage, toPage);
        page < toPage;
        page = mapping.table.next(page + 1, toPage)) {
      int pfn = mapping.table.zap(page);
      if (pfn != 0) {
        put(pfn, Counts.REF);
      }
    }
  }

  /** Drops the page table entries of one mapping, keeping the folios. */
  Errno dontNeed(HostMapping mapping, long fromPage, long toPage) {
    long from = mapping.firstIndex + fromPage;
    long to = Math.min(mapping.firstIndex + toPage, pages);
    if (from >= to) {
      return Errno.OK;
    }
    return locked(
        "madvise",
        from,
        to,
        () -> {
          zap(mapping, fromPage, to - mapping.firstIndex);
          return Errno.OK;
        });
  }

  Errno punch(long from, long end) {
    long to = Math.min(end, pages);
    if (from >= to) {
      mtimeNanos = now();
      return Errno.OK;
    }
    return locked("punch hole", from, to, () -> invalidated(from, to, () -> truncate(from, to)));
  }

  private Errno truncate(long from, long to) throws InterruptedException {
    unmap(from, to);
    Failures failures = new Failures();
    for (long i = cache.next(from, to); i < to; i = cache.next(i + 1, to)) {
      cache.awaitFolioUnlocked(i);
      long index = i;
      failures.attempt(() -> cache.remove(index));
    }
    mtimeNanos = now();
    failures.throwIfAny();
    return Errno.OK;
  }

  /** Converts a range, all or nothing. Says in {@code busy} which folio was in the way. */
  Errno convert(long from, long to, boolean inaccessible, BusyFolio busy) {
    busy.clear();
    return locked(
        inaccessible ? "make inaccessible" : "make accessible",
        from,
        to,
        () -> convertLocked(from, to, inaccessible, busy));
  }

  private Errno convertLocked(long from, long to, boolean inaccessible, BusyFolio busy)
      throws InterruptedException {
    if (cache.isAll(from, to, inaccessible)) {
      return Errno.OK;
    }
    if (inaccessible) {
      unmap(from, to);
    }
    long waitNanos = retry.waitNanos();
    for (long i = cache.next(from, to); i < to; i = cache.next(i + 1, to)) {
      if (isInaccessible(i) == inaccessible) {
        continue;
      }
      cache.awaitFolioUnlocked(i);
      int pfn = SlotWord.pfn(cache.slot(i));
      if (inaccessible && !mayTurnInaccessible(frames.counts(pfn))) {
        long start = System.nanoTime();
        long counts = retry(i, pfn, waitNanos);
        if (counts != 0) {
          busy.set(i << HostMemory.PAGE_SHIFT, counts);
          return Errno.EAGAIN;
        }
        waitNanos = Math.max(0, waitNanos - (System.nanoTime() - start));
      }
    }
    at(RacePoint.BEFORE_COMMIT, from);
    boolean[] committed = new boolean[1];
    try {
      return invalidated(
          from,
          to,
          () -> {
            Errno errno = prepareAll(from, to, inaccessible);
            if (errno == Errno.OK) {
              cache.setAttribute(from, to, inaccessible);
              committed[0] = true;
              at(RacePoint.AFTER_COMMIT, from);
            }
            return errno;
          });
    } catch (Throwable e) {
      if (committed[0]) { // invalidateEnd has thrown
        cache.undoAttribute(from, to);
        unprepare(from, to, inaccessible);
      }
      throw e;
    }
  }

  /**
   * After a mismatch: looks at the counts again as the retry policy says. Returns 0 when the folio
   * may turn inaccessible, else the counts, never 0, that say it may not.
   */
  private long retry(long index, int pfn, long waitNanos) throws InterruptedException {
    at(RacePoint.ON_MISMATCH, index);
    for (int round = 0; round < retry.spins(); round++) {
      host.idle.idle(round, 1_000);
      if (mayTurnInaccessible(frames.counts(pfn))) {
        return 0;
      }
    }
    if (waitNanos > 0) {
      frames.awaitCounts(pfn, this::mayTurnInaccessible, waitNanos);
    }
    long counts = frames.counts(pfn);
    return mayTurnInaccessible(counts) ? 0 : counts;
  }

  private boolean mayTurnInaccessible(long counts) {
    return protocol.mayTurnInaccessible(Counts.refs(counts), Counts.safe(counts));
  }

  // ---- preparation ----

  /** Prepares every folio of a locked range that changes; on refusal those done are undone. */
  private Errno prepareAll(long from, long to, boolean inaccessible) throws InterruptedException {
    if (!needsPreparation()) {
      return Errno.OK;
    }
    for (long i = cache.next(from, to); i < to; i = cache.next(i + 1, to)) {
      int pfn = SlotWord.pfn(cache.slot(i));
      if (isInaccessible(i) == inaccessible || !frames.isPrepared(pfn)) {
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

  /** Undoes prepareAll on a locked range whose slots have their old attributes. */
  private void unprepare(long from, long to, boolean inaccessible) {
    if (!needsPreparation()) {
      return;
    }
    for (long i = cache.next(from, to); i < to; i = cache.next(i + 1, to)) {
      int pfn = SlotWord.pfn(cache.slot(i));
      if (isInaccessible(i) == inaccessible || !frames.isPrepared(pfn)) {
        continue;
      }
      boolean interrupted = Thread.interrupted(); // undoing must not be interrupted
      try {
        Errno errno = prepare(i, pfn, !inaccessible);
        if (errno != Errno.OK) {
          LOG.warn("{} while undoing the conversion of page {} of {}", errno, i, this);
        }
      } catch (RuntimeException | InterruptedException e) {
        LOG.warn("exception while undoing the conversion of page {} of {}", i, this, e);
      } finally {
        if (interrupted) {
          Thread.currentThread().interrupt();
        }
      }
    }
  }

  private boolean needsPreparation() {
    return hasOps || removesFromDirectMap();
  }

  private boolean removesFromDirectMap() {
    return (flags & CreateFlag.NO_DIRECT_MAP.bit) != 0;
  }

  /** Tells the operations what a folio is to be used for; its direct map state follows. */
  private Errno prepare(long index, int pfn, boolean inaccessible) throws InterruptedException {
    boolean wasMapped = frames.isDirectMapped(pfn);
    if (removesFromDirectMap()) {
      if (inaccessible) {
        frames.removeFromDirectMap(pfn);
      } else {
        frames.restoreToDirectMap(pfn);
      }
    }
    if (!hasOps) {
      return Errno.OK;
    }
    boolean done = false;
    HostMemory outer = Callbacks.enter(host);
    try {
      Folio folio = new Folio(this, index, pfn, null);
      Errno errno = inaccessible ? ops.prepareInaccessible(folio) : ops.prepareAccessible(folio);
      done = errno == Errno.OK;
      return errno;
    } finally {
      Callbacks.leave(outer);
      if (!done && wasMapped != frames.isDirectMapped(pfn)) {
        if (wasMapped) {
          frames.restoreToDirectMap(pfn);
        } else {
          frames.removeFromDirectMapUninterruptibly(pfn);
        }
      }
    }
  }

  // ---- odds and ends ----

  FileStat stat() {
    return new FileStat(ino, size, 0, HostMemory.PAGE_SIZE, 0100600, mtimeNanos);
  }

  static GuestMemfdException exception(Errno errno, String what) {
    return new GuestMemfdException(errno, what);
  }

  /** The exception for a wait that was interrupted; the thread's interrupt status is set again. */
  static GuestMemfdException interrupted(String what) {
    Thread.currentThread().interrupt();
    return exception(Errno.EINTR, what + " was interrupted while waiting");
  }

  private void at(RacePoint point, long index) {
    RaceHook h = hook;
    if (h != null) {
      h.at(point, index);
    }
  }

  private static long now() {
    return System.currentTimeMillis() * 1_000_000;
  }

  @Override
  public String toString() {
    return "guest_memfd[ino="
        + ino
        + ", size="
        + size
        + ", flags=0x"
        + Long.toHexString(flags)
        + "]";
  }
}
