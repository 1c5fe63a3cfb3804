package io.github.guestmemfd;

import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.cache.PageCache.Wanted;
import io.github.guestmemfd.cache.PageTable;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.memory.Accesses;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameContents;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.memory.Waiting;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import java.util.function.LongPredicate;
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
 *   <li>make every page of the range busy (of the file, if the protocol says so): from here on
 *       nobody begins to use one;
 *   <li>(not to accessible) unmap the range from every host mapping, waiting for accesses under
 *       way;
 *   <li>wait for each folio's lock to be free: nobody is left zeroing or preparing it;
 *   <li>(to inaccessible) ask the protocol about each folio's counts; on a mismatch look again as
 *       the retry policy says;
 *   <li>{@code invalidateBegin}; for a conversion prepare each folio; change the slots; {@code
 *       invalidateEnd};
 *   <li>make the pages free again and wake who waits.
 * </ol>
 *
 * Up to the change of the slots everything can be undone, and is, if anything refuses or throws. A
 * punch begins with {@code invalidateBegin}, so that clients can let go before the protocol is
 * asked about what is left.
 *
 * <h2>A pending conversion</h2>
 *
 * A conversion that may complete later leaves its pages marked as neither side's instead of busy:
 * they can be looked at and locked by other range operations, and any that concerns one of them
 * undoes it first. See {@link LaterConversion}.
 *
 * <h2>A fault against a range operation</h2>
 *
 * A host fault that looked the folio up in time may enter its page table entry too late, after step
 * 2 or even after step 6. It therefore enters it as pending, when no access can use it, and looks
 * at the slot once more. Either the unmapping finds the entry, or the fault finds that the page is
 * busy or another, and takes its entry back. Until then its reference keeps step 4 from succeeding;
 * a punch does not look at references, and needs not to.
 */
final class Inode implements FrameTable.Listener {
  /** A fault that meets an inaccessible page or the end of the file. Not an errno. */
  static final int SIGBUS = -1000;

  /** A fault in a mapping that has been closed. Not an errno. */
  static final int UNMAPPED = -1001;

  /** How long to sleep when nobody tells when it is time to look again. */
  private static final long LOOK_AGAIN_NANOS = 1_000;

  private static final Logger LOG = LoggerFactory.getLogger(GuestMemfd.class);

  final HostMemory host;
  final Meters meters;
  final long size;
  final long flags;
  final long ino;
  final PageCache cache;

  private final long pages;
  private final GuestMemfdOps ops;
  private final boolean hasOps;
  private final ConversionProtocol protocol;
  private final RetryPolicy retry;
  private final LongPredicate mayTurnInaccessible;
  private final LongPredicate mayPunch;
  private final boolean freezes;
  private final boolean waitsWithFolioLock;
  private final boolean locksWholeFile;

  /** How the guest's side holds folios. */
  final GuestHolding guest;

  private final FrameTable frames;
  private final FrameTable.Owner owner;
  private final @Nullable RaceHook hook;

  /** Descriptors and mappings; the file goes when the last of them does. */
  private final AtomicLong opens = new AtomicLong(1);

  /** Every mapping of the file: the kernel's reverse map, i_mmap. */
  private final List<HostMapping> mappings = new CopyOnWriteArrayList<>();

  /** Conversions that wait for the last holder to let go. */
  private final List<LaterConversion> pending = new CopyOnWriteArrayList<>();

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
    this.meters = new Meters(host.meters);
    this.size = size;
    this.flags = flags;
    this.pages = size >>> HostMemory.PAGE_SHIFT;
    this.ops = ops;
    this.hasOps = ops != GuestMemfdOps.NONE;
    this.protocol = protocol;
    this.retry = retry;
    this.frames = host.frames;
    this.hook = host.hook;
    GuestHolding holding = new GuestHolding(this, protocol); // refuses what makes no sense
    this.guest = holding;
    boolean freezing = protocol.freezes();
    this.freezes = freezing;
    this.mayTurnInaccessible =
        counts ->
            (!freezing || Counts.isCachesAlone(counts)) // else it could not be frozen
                && protocol.mayTurnInaccessible(Counts.refs(counts), holding.safe(counts));
    this.mayPunch = counts -> protocol.mayPunch(Counts.refs(counts), holding.safe(counts));
    this.waitsWithFolioLock = protocol.waitsWithFolioLock();
    this.locksWholeFile = protocol.locksWholeFile();
    this.ino = host.openFile();
    this.owner = frames.newOwner(this);
    this.cache =
        new PageCache(
            pages,
            (flags & CreateFlag.INIT_SHARED.bit) == 0,
            frames,
            host.contents,
            owner,
            host.idle,
            hook,
            host.lru,
            holding.borrows,
            () -> meters.count(Meter.LOOKUPS_STARTED_OVER));
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
    Failures failures = new Failures();
    for (int round = 0; ; round++) {
      failures.attempt(() -> undoPending(0, pages, "the file is closed"));
      interrupted |= lockUninterruptibly(0, pages, failures);
      if (pending.isEmpty()) {
        break;
      }
      cache.unlock(0, pages);
      host.idle.idle(round, LOOK_AGAIN_NANOS); // one is just being completed or undone
    }
    Callbacks.enterOperation();
    Callbacks.enter();
    try {
      failures.attempt(ops::release);
    } finally {
      Callbacks.leave();
    }
    Accesses.UnderWay underWay = underWay(0, pages);
    if (underWay != null) {
      failures.attempt(() -> underWay.awaitUninterruptibly(host.idle));
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
    Callbacks.leaveOperation();
    host.completions.run();
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
  @Override
  public void freed(int pfn) {
    FrameContents contents = host.contents;
    try {
      if (hasOps) {
        if (contents != null && !frames.isUptodate(pfn)) {
          contents.zero(pfn); // what is there is not this file's
        }
        show(new Folio(this, -1, pfn, null), ops::freeFolio);
      }
    } finally {
      host.completions.run(); // the callback may have let go of something
      if (contents != null && frames.isRemovedFromDirectMap(pfn)) {
        contents.zero(pfn); // it returns to the direct map, where its bytes must not be seen
      }
    }
  }

  /** Shows a folio to a callback, for as long as that takes. */
  private void show(Folio folio, Consumer<Folio> callback) {
    Callbacks.enter();
    try {
      callback.accept(folio);
    } finally {
      Callbacks.leave();
      folio.expire();
    }
  }

  // ---- lookup ----

  /**
   * Finds, or allocates, the folio at an index and takes a reference on it: up to date and
   * prepared.
   *
   * @param unit the reference to take; 0 for none, where the caller goes on to lock the folio
   * @return the frame, or a negated errno; SIGBUS if the page is not as wanted
   */
  int get(long index, long unit, Wanted wanted) {
    long slot = look(index, unit, wanted);
    return PageCache.isHit(slot, wanted) && SlotWord.isReady(slot)
        ? SlotWord.pfn(slot)
        : getSlowly(index, unit, wanted, slot);
  }

  private long look(long index, long unit, Wanted wanted) {
    return unit == 0 ? cache.slot(index) : cache.lookup(index, unit, wanted);
  }

  /** The rest of {@link #get}, in a method of its own so that the way of a ready page is short. */
  private int getSlowly(long index, long unit, Wanted wanted, long firstSlot) {
    if (wanted == Wanted.ANY) {
      meters.count(Meter.SLOW_GRABS);
    }
    try {
      for (long slot = firstSlot; ; slot = look(index, unit, wanted)) {
        if (PageCache.isHit(slot, wanted)) {
          int pfn = SlotWord.pfn(slot);
          if (SlotWord.isReady(slot)) {
            return pfn;
          }
          if (unit != 0) {
            frames.undoGet(pfn, unit); // nobody waits for this lock with a reference in hand
          }
          int result = makeReady(index, slot);
          if (result != 0) {
            return result;
          }
        } else if (SlotWord.isBusy(slot)) {
          if (Callbacks.isInside()) {
            return -Errno.EDEADLK.code();
          }
          if (!awaitNotBusy(index)) {
            return -Errno.EBADF.code();
          }
        } else if (!wanted.matches(slot)) {
          return SIGBUS;
        } else if (SlotWord.isNeither(slot)) {
          return wanted == Wanted.ACCESSIBLE ? SIGBUS : -Errno.EAGAIN.code();
        } else if (Callbacks.isInside()) {
          return -Errno.EDEADLK.code(); // before the hole is filled: first use takes the folio lock
        } else if (!fill(index, slot, false)) {
          return -Errno.ENOMEM.code();
        }
      }
    } catch (InterruptedException e) {
      Waiting.restore(e);
      return -Errno.EINTR.code();
    }
  }

  private boolean awaitNotBusy(long index) throws InterruptedException {
    meters.count(Meter.BUSY_WAITS);
    return cache.awaitNotBusy(index);
  }

  /** A reference for the host (GUP) on an accessible page; EFAULT where there is none. */
  int get(long index, long unit) {
    int pfn = index < pages ? get(index, unit, Wanted.ACCESSIBLE) : SIGBUS;
    return pfn == SIGBUS ? -Errno.EFAULT.code() : pfn;
  }

  /** Fills a hole; if there is no memory, looks what the LRU batches hold back. */
  private boolean fill(long index, long slot, boolean reserved) {
    return cache.fill(index, slot, reserved)
        || (host.drainLru() > 0 && cache.fill(index, slot, false));
  }

  /** A reference for a client of the file; EFAULT or EAGAIN for what is not there for it. */
  int grab(long index, HolderKind kind) {
    return kind == HolderKind.SAFE ? guest.take(index) : get(index, unit(kind));
  }

  /** Gives back what {@link #grab} took. The index is for the race points, -1 if not known. */
  void put(long index, int pfn, HolderKind kind) {
    if (kind == HolderKind.SAFE) {
      guest.drop(index, pfn);
    } else {
      drop(pfn, unit(kind));
    }
  }

  private static long unit(HolderKind kind) {
    return kind == HolderKind.ACCESSIBLE ? Counts.ACCESSIBLE_REF : Counts.UNSAFE_REF;
  }

  /** Zeroes and prepares a folio that has never been used, if the slot still is as it was seen. */
  private int makeReady(long index, long slot) throws InterruptedException {
    int pfn = SlotWord.pfn(slot);
    at(RacePoint.BEFORE_FOLIO_LOCK, index);
    if (Callbacks.isInside()) {
      return -Errno.EDEADLK.code();
    }
    frames.lock(pfn);
    try {
      if (cache.slot(index) != slot) {
        return 0;
      }
      if (frames.isPoisoned(pfn)) {
        meters.count(Meter.POISONED_USES);
        return -Errno.EHWPOISON.code();
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
        meters.count(Meter.FIRST_USES);
      }
      cache.markReady(index, slot);
      return 0;
    } finally {
      frames.unlock(pfn);
      host.completions.run(); // a callback may have let go of something
    }
  }

  /** Drops a reference; the last one frees the frame. */
  void drop(int pfn, long unit) {
    frames.put(pfn, unit);
  }

  /**
   * Maps a page of a mapping for an access.
   *
   * @return 0, a negated errno, SIGBUS or UNMAPPED
   */
  int fault(HostMapping mapping, long page, boolean write) {
    meters.count(Meter.FAULTS);
    FaultEvent event = Events.fault();
    int result = map(mapping, page, write);
    if (event != null) {
      event.finish(this, mapping.firstIndex + page, write, result);
    }
    return result;
  }

  private int map(HostMapping mapping, long page, boolean write) {
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
    long installed = 0;
    try {
      at(RacePoint.BEFORE_PTE_INSTALL, index);
      installed = mapping.table.install(page, pfn);
    } catch (OutOfMemoryError e) {
      return -Errno.ENOMEM.code();
    } finally {
      if (installed == 0) {
        drop(pfn, Counts.REF);
      }
    }
    boolean passed = false;
    try {
      at(RacePoint.AFTER_PTE_INSTALL, index);
      passed = true;
    } finally {
      settle(mapping, page, index, installed, passed);
    }
    return mapping.table.isClosed() ? UNMAPPED : 0;
  }

  /**
   * Confirms a page table entry that is pending, if the page still is what it says. Otherwise it is
   * removed, if no access through it can be under way: if it is the one that this fault has
   * entered, or if its frame has left the page cache, since what took the frame out has waited for
   * accesses to it. Any other may have been revoked by an unmapping that was then interrupted.
   *
   * @param installed the entry of this fault; 0 if there was one already
   */
  private void settle(HostMapping mapping, long page, long index, long installed, boolean wanted) {
    long entry = installed != 0 ? installed : mapping.table.entry(page);
    if (!PageTable.isPending(entry)) {
      return;
    }
    long slot = cache.slot(index);
    boolean good =
        wanted
            && SlotWord.pfn(slot) == PageTable.held(entry)
            && PageCache.isHit(slot, Wanted.ACCESSIBLE)
            && SlotWord.isReady(slot) // no more if its memory has failed
            && !mapping.table.isClosed();
    if (good) {
      mapping.table.confirm(page, entry);
    } else if ((installed != 0 || SlotWord.pfn(slot) != PageTable.held(entry))
        && mapping.table.tryRemove(page, entry)) {
      drop(PageTable.held(entry), Counts.REF);
    }
  }

  private boolean isInaccessible(long index) {
    return SlotWord.isInaccessible(cache.slot(index));
  }

  /** Whether the host may touch a page. */
  boolean isAccessible(long index) {
    long slot = cache.slot(index);
    return !SlotWord.isInaccessible(slot) && !SlotWord.isNeither(slot);
  }

  // ---- allocation ----

  Errno allocate(long from, long to) {
    if (Callbacks.isInside()) {
      return Errno.EDEADLK;
    }
    long missing = to - from;
    for (long i = cache.next(from, to); i < to; i = cache.next(i + 1, to)) {
      missing--;
    }
    if (!frames.reserve(missing) && (host.drainLru() == 0 || !frames.reserve(missing))) {
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
            if (!awaitNotBusy(i)) {
              return Errno.EBADF;
            }
          } else if (SlotWord.pfn(slot) != 0) {
            break;
          } else {
            boolean reserved = missing > 0;
            if (reserved) {
              missing--;
            }
            if (!fill(i, slot, reserved)) {
              return Errno.ENOMEM;
            }
          }
        }
      }
      mtimeNanos = now();
      return Errno.OK;
    } catch (InterruptedException e) {
      Waiting.restore(e);
      return Errno.EINTR;
    } finally {
      frames.unreserve(missing);
    }
  }

  // ---- range operations ----

  /** Locks a range, for an operation that calls {@link #unlock} when it is done. */
  private Errno lock(long from, long to) {
    if (Callbacks.isInside()) {
      return Errno.EDEADLK;
    }
    try {
      if (!cache.lock(from, to)) {
        return Errno.EBADF;
      }
      boolean passed = false;
      try {
        at(RacePoint.RANGE_BUSY, from);
        passed = true;
      } finally {
        if (!passed) {
          cache.unlock(from, to);
        }
      }
      Callbacks.enterOperation();
      return Errno.OK;
    } catch (InterruptedException e) {
      Waiting.restore(e);
      return Errno.EINTR;
    } catch (OutOfMemoryError e) {
      return Errno.ENOMEM;
    }
  }

  private void unlock(long from, long to) {
    cache.unlock(from, to);
    Callbacks.leaveOperation();
    host.completions.run();
  }

  /**
   * Locks a range that is to be converted or punched: more than the range, if the protocol wants
   * that, and none of it pending.
   */
  private Errno lockToChange(long from, long to, String operation) {
    for (int round = 0; ; round++) {
      if (!pending.isEmpty() && !Callbacks.isInside()) {
        undoPending(from, to, operation);
      }
      Errno errno = lock(first(from), last(to));
      if (errno != Errno.OK || !isPending(from, to)) {
        return errno;
      }
      unlockChanged(from, to);
      host.idle.idle(round, LOOK_AGAIN_NANOS); // it is just being begun, completed or undone
    }
  }

  private void unlockChanged(long from, long to) {
    unlock(first(from), last(to));
  }

  private long first(long from) {
    return locksWholeFile ? 0 : from;
  }

  private long last(long to) {
    return locksWholeFile ? pages : to;
  }

  /**
   * Locks a range in any case: whoever calls this is bound to do what it locks it for.
   *
   * @param failures takes what a race hook throws
   * @return whether the thread was interrupted meanwhile
   */
  private boolean lockUninterruptibly(long from, long to, Failures failures) {
    boolean interrupted = false;
    for (; ; ) {
      try {
        if (!cache.lock(from, to)) {
          throw new IllegalStateException("locked after the end of " + this);
        }
        failures.attempt(() -> at(RacePoint.RANGE_BUSY, from));
        return interrupted;
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
  }

  private Errno invalidateBegin(long from, long to) {
    if (!hasOps) {
      return Errno.OK;
    }
    Callbacks.enter();
    try {
      return answer(
          ops.invalidateBegin(from << HostMemory.PAGE_SHIFT, (to - from) << HostMemory.PAGE_SHIFT));
    } finally {
      Callbacks.leave();
    }
  }

  private void invalidateEnd(long from, long to) {
    if (!hasOps) {
      return;
    }
    Callbacks.enter();
    try {
      ops.invalidateEnd(from << HostMemory.PAGE_SHIFT, (to - from) << HostMemory.PAGE_SHIFT);
    } finally {
      Callbacks.leave();
    }
  }

  private static Errno answer(@Nullable Errno errno) {
    return Objects.requireNonNull(errno, "a callback answered null, expected an Errno");
  }

  /**
   * Drops the page table entries of a locked range in every mapping, and waits for every access to
   * a folio of the range that is under way: also for those whose entry is gone already.
   */
  private void unmap(long from, long to) throws InterruptedException {
    for (HostMapping mapping : mappings) {
      mapping.revoke(mapping.page(from), mapping.page(to));
    }
    awaitAccesses(from, to);
    for (HostMapping mapping : mappings) {
      mapping.remove(mapping.page(from), mapping.page(to));
    }
    at(RacePoint.AFTER_UNMAP, from);
  }

  /** Waits for accesses under way to the folios of a locked range, whatever they go by. */
  private void awaitAccesses(long from, long to) throws InterruptedException {
    Accesses.UnderWay underWay = underWay(from, to);
    if (underWay != null) {
      underWay.await(host.idle);
    }
  }

  private Accesses.@Nullable UnderWay underWay(long from, long to) {
    Accesses.UnderWay underWay = frames.accesses.underWay();
    if (underWay != null) {
      for (long i = cache.next(from, to); i < to; i = cache.next(i + 1, to)) {
        underWay.concerns(SlotWord.pfn(cache.slot(i)));
      }
    }
    return underWay;
  }

  /** Drops the page table entries of one mapping, keeping the folios. */
  Errno dontNeed(HostMapping mapping, long fromPage, long toPage) {
    long from = mapping.firstIndex + fromPage;
    long to = Math.min(mapping.firstIndex + toPage, pages);
    if (from >= to) {
      return Errno.OK;
    }
    Errno errno = lock(from, to);
    if (errno != Errno.OK) {
      return errno;
    }
    try {
      mapping.revoke(fromPage, to - mapping.firstIndex);
      awaitAccesses(from, to);
      mapping.remove(fromPage, to - mapping.firstIndex);
      return Errno.OK;
    } catch (InterruptedException e) {
      Waiting.restore(e);
      return Errno.EINTR;
    } finally {
      unlock(from, to);
    }
  }

  /** Punches a range. Says in {@code busy} which folio was in the way. */
  Errno punch(long from, long end, BusyFolio busy) {
    PunchEvent event = Events.punch();
    Errno errno = null;
    try {
      errno = tryPunch(from, end, busy);
      return errno;
    } finally {
      meters.count(errno == Errno.OK ? Meter.PUNCHES : Meter.PUNCHES_REFUSED);
      if (event != null) {
        event.finish(this, from, end, Events.name(errno));
      }
    }
  }

  private Errno tryPunch(long from, long end, BusyFolio busy) {
    long to = Math.min(end, pages);
    if (from >= to) {
      mtimeNanos = now();
      return Errno.OK;
    }
    Errno errno = lockToChange(from, to, "punched");
    if (errno != Errno.OK) {
      return errno;
    }
    try {
      errno = invalidateBegin(from, to);
      return errno == Errno.OK ? truncate(from, to, busy) : errno;
    } finally {
      unlockChanged(from, to);
    }
  }

  /**
   * Takes the folios of a locked range out of the file, if the protocol has nothing against that,
   * and says that the invalidation is over.
   */
  private Errno truncate(long from, long to, BusyFolio busy) {
    Errno errno = Errno.OK;
    Failures failures = new Failures();
    try {
      if (isAnyInTheWay(from, to, mayPunch, retry, busy)) {
        errno = Errno.EBUSY;
      } else {
        unmap(from, to);
        for (long i = cache.next(from, to); i < to; i = cache.next(i + 1, to)) {
          long index = i;
          failures.attempt(() -> cache.remove(index));
        }
        mtimeNanos = now();
      }
    } catch (InterruptedException e) {
      Waiting.restore(e);
      errno = Errno.EINTR;
    } catch (RuntimeException | Error e) {
      failures.add(e);
    }
    failures.attempt(() -> invalidateEnd(from, to));
    failures.throwIfAny();
    return errno;
  }

  /**
   * Converts a range, all or nothing. Says in {@code busy}, if given, which folio was in the way.
   */
  Errno convert(long from, long to, boolean inaccessible, @Nullable BusyFolio busy) {
    return convert(from, to, inaccessible, busy, null);
  }

  /**
   * Makes a range inaccessible, now or later.
   *
   * @param busy says which folio is, or was, in the way
   * @return EAGAIN if a folio is in the way; the conversion is pending then if the retry policy
   *     lets it
   */
  Errno convertLater(LaterConversion later, BusyFolio busy) {
    return convert(later.from, later.to, true, busy, retry.completesLater() ? later : null);
  }

  /** Whether conversions that are in nobody's way but a holder's may complete later. */
  boolean completesLater() {
    return retry.completesLater();
  }

  private Errno convert(
      long from,
      long to,
      boolean inaccessible,
      @Nullable BusyFolio busy,
      @Nullable LaterConversion later) {
    ConversionEvent event = Events.conversion();
    BusyFolio found = busy == null && inaccessible ? new BusyFolio() : busy;
    Errno errno = null;
    try {
      errno = tryConvert(from, to, inaccessible, found, later);
      return errno;
    } finally {
      boolean refused = isRefused(errno, found);
      boolean isLeftPending = refused && later != null;
      if (!isLeftPending) {
        countConversion(errno, inaccessible, refused ? found : null);
      }
      if (event != null) {
        String result = isLeftPending ? "PENDING" : Events.name(errno);
        int retries = found == null ? 0 : found.retries;
        event.finish(this, from, to, inaccessible, result, retries);
      }
    }
  }

  /**
   * Counts a conversion that is over.
   *
   * @param errno how it ended; null with an exception
   * @param busy the folio that it was refused for, if it was
   */
  private void countConversion(
      @Nullable Errno errno, boolean inaccessible, @Nullable BusyFolio busy) {
    Meter meter;
    if (errno == Errno.OK) {
      meter = inaccessible ? Meter.TO_INACCESSIBLE : Meter.TO_ACCESSIBLE;
    } else if (busy != null) {
      meter = busy.hasOthers() ? Meter.REFUSED_OTHERS_COUNTED : Meter.REFUSED_NO_OTHERS_COUNTED;
    } else {
      meter = Meter.FAILED;
    }
    meters.count(meter);
  }

  private Errno tryConvert(
      long from,
      long to,
      boolean inaccessible,
      @Nullable BusyFolio busy,
      @Nullable LaterConversion later) {
    Errno errno =
        lockToChange(from, to, inaccessible ? "made inaccessible anew" : "made accessible");
    if (errno != Errno.OK) {
      return errno;
    }
    try {
      errno = convertLocked(from, to, inaccessible, retry, busy);
      if (later != null && isRefused(errno, busy)) {
        cache.setPending(from, to, true);
        pending.add(later);
        meters.count(Meter.PENDING_BEGUN);
        later.await(frameOf(Objects.requireNonNull(busy)));
      }
      return errno;
    } catch (InterruptedException e) {
      Waiting.restore(e);
      return Errno.EINTR;
    } finally {
      unlockChanged(from, to);
    }
  }

  /** Whether a conversion ended because of a folio, and not because a callback said so. */
  private static boolean isRefused(@Nullable Errno errno, @Nullable BusyFolio busy) {
    return errno == Errno.EAGAIN && busy != null && busy.offset() >= 0;
  }

  private int frameOf(BusyFolio busy) {
    return SlotWord.pfn(cache.slot(busy.offset() >>> HostMemory.PAGE_SHIFT));
  }

  private Errno convertLocked(
      long from, long to, boolean inaccessible, RetryPolicy policy, @Nullable BusyFolio busy)
      throws InterruptedException {
    if (cache.isAll(from, to, inaccessible)) {
      return Errno.OK;
    }
    try {
      if (inaccessible) {
        unmap(from, to);
        if (isAnyInTheWay(from, to, mayTurnInaccessible, policy, Objects.requireNonNull(busy))) {
          return Errno.EAGAIN;
        }
      } else {
        awaitInaccessibleUnlocked(from, to);
      }
      at(RacePoint.BEFORE_COMMIT, from);
      Errno errno = invalidateBegin(from, to);
      return errno == Errno.OK ? commit(from, to, inaccessible) : errno;
    } finally {
      if (freezes && inaccessible) {
        unfreeze(from, to);
      }
    }
  }

  /** Step 3 of a conversion to accessible: it asks nobody about counts. */
  private void awaitInaccessibleUnlocked(long from, long to) throws InterruptedException {
    for (long i = cache.next(from, to); i < to; i = cache.next(i + 1, to)) {
      if (isInaccessible(i)) {
        cache.awaitFolioUnlocked(i);
      }
    }
  }

  /**
   * Steps 3 and 4, also for a punch: asks about every folio of a locked range that is concerned.
   *
   * @param may what the protocol says of a folio's counts
   * @param policy what to do while it says no
   * @param busy says which folio is in the way
   */
  private boolean isAnyInTheWay(
      long from, long to, LongPredicate may, RetryPolicy policy, BusyFolio busy)
      throws InterruptedException {
    boolean converts = may == mayTurnInaccessible;
    long waitNanos = policy.waitNanos();
    for (long i = cache.next(from, to); i < to; i = cache.next(i + 1, to)) {
      if (converts && isInaccessible(i)) {
        continue; // stays as it is
      }
      int pfn = SlotWord.pfn(cache.slot(i));
      boolean keepLock = converts && waitsWithFolioLock;
      if (keepLock) {
        frames.lock(pfn);
      } else {
        cache.awaitFolioUnlocked(i);
      }
      try {
        if (!passes(pfn, may)) {
          long start = System.nanoTime();
          RetryEvent event = Events.retry();
          int looks = busy.retries;
          long counts = retry(i, pfn, may, policy.spins(), waitNanos, busy);
          if (event != null) {
            event.finish(this, i, busy.retries - looks, counts == 0);
          }
          if (counts != 0) {
            busy.set(
                i << HostMemory.PAGE_SHIFT, counts, guest.safe(counts), guest.safeRefs(counts));
            RefusalEvent refusal = Events.refusal();
            if (refusal != null) {
              refusal.finish(this, busy, !converts);
            }
            return true;
          }
          waitNanos = Math.max(0, waitNanos - (System.nanoTime() - start));
        }
      } finally {
        if (keepLock) {
          frames.unlock(pfn);
        }
      }
    }
    return false;
  }

  /** Whether a folio may change now; if it is to be frozen for that, it is. */
  private boolean passes(int pfn, LongPredicate may) {
    if (freezes && may == mayTurnInaccessible) {
      at(RacePoint.BEFORE_FREEZE, -1);
      return frames.freeze(pfn, may);
    }
    return may.test(frames.counts(pfn));
  }

  private void unfreeze(long from, long to) {
    for (long i = cache.next(from, to); i < to; i = cache.next(i + 1, to)) {
      int pfn = SlotWord.pfn(cache.slot(i));
      if (frames.isFrozen(pfn)) {
        frames.unfreeze(pfn);
      }
    }
  }

  /** Step 5: prepares the folios and changes the slots, or neither. Ends the invalidation. */
  private Errno commit(long from, long to, boolean inaccessible) throws InterruptedException {
    boolean prepared = false;
    boolean changed = false;
    boolean done = false;
    try {
      Errno errno;
      try {
        awaitAccesses(from, to); // the clients', which have been told
        errno = prepareAll(from, to, inaccessible);
        prepared = errno == Errno.OK;
        if (prepared) {
          cache.setAttribute(from, to, inaccessible);
          changed = true;
          at(RacePoint.AFTER_COMMIT, from);
        }
      } catch (Throwable e) {
        try {
          invalidateEnd(from, to);
        } catch (Throwable end) {
          e.addSuppressed(end);
        }
        throw e;
      }
      invalidateEnd(from, to);
      done = true;
      return errno;
    } finally {
      if (changed && !done) {
        cache.undoAttribute(from, to);
      }
      if (prepared && !done) {
        unprepare(from, to, inaccessible);
      }
      if (changed && done && !inaccessible) {
        restoreToDirectMap(from, to);
      }
    }
  }

  /**
   * After a mismatch: looks at the counts again as the retry policy says, and counts the looks in
   * {@code busy}. Returns 0 when the folio may change, else the counts, never 0, that say it may
   * not.
   */
  private long retry(
      long index, int pfn, LongPredicate may, int spins, long waitNanos, BusyFolio busy)
      throws InterruptedException {
    at(RacePoint.ON_MISMATCH, index);
    host.drainLru();
    long seen = frames.counts(pfn);
    if (!protocol.isWorthWaiting(Counts.refs(seen), guest.safe(seen), Counts.accessible(seen))) {
      return passes(pfn, may) ? 0 : seen;
    }
    for (int round = 0; round < spins; round++) {
      if (Thread.interrupted()) {
        throw new InterruptedException();
      }
      host.idle.idle(round, LOOK_AGAIN_NANOS);
      countRetry(busy);
      if (passes(pfn, may)) {
        return 0;
      }
    }
    long end = System.nanoTime() + waitNanos;
    for (long left = waitNanos; left > 0; left = end - System.nanoTime()) {
      meters.count(Meter.HOLDER_WAITS);
      if (frames.awaitCounts(pfn, may, left)) {
        countRetry(busy);
        if (passes(pfn, may)) {
          return 0;
        }
      }
    }
    long counts = frames.counts(pfn);
    return passes(pfn, may) ? 0 : counts;
  }

  private void countRetry(BusyFolio busy) {
    busy.retries++;
    meters.count(Meter.RETRIES);
  }

  boolean mayTurnInaccessible(long counts) {
    return mayTurnInaccessible.test(counts);
  }

  // ---- pending conversions ----

  private boolean isPending(long from, long to) {
    for (LaterConversion later : pending) {
      if (later.overlaps(from, to)) {
        return true;
      }
    }
    return false;
  }

  /** Undoes the pending conversions that concern a range. This thread holds no pages. */
  private void undoPending(long from, long to, String operation) {
    for (LaterConversion later : pending) {
      if (later.overlaps(from, to)) {
        later.undoFor(operation);
      }
    }
  }

  /** The pages of a pending conversion, which its caller has claimed, are as they were before. */
  void endPending(LaterConversion later) {
    Failures failures = new Failures();
    boolean interrupted = lockUninterruptibly(later.from, later.to, failures);
    Callbacks.enterOperation();
    try {
      cache.setPending(later.from, later.to, false);
      pending.remove(later);
      meters.count(Meter.PENDING_UNDONE);
    } finally {
      unlock(later.from, later.to);
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
    failures.throwIfAny();
  }

  /**
   * Tries a pending conversion, which its caller has claimed, once more.
   *
   * @return EAGAIN, with a folio in {@code busy}, if it is pending still; otherwise it is over
   */
  Errno convertPending(LaterConversion later, BusyFolio busy) {
    long from = first(later.from);
    long to = last(later.to);
    Failures failures = new Failures();
    boolean interrupted = lockUninterruptibly(from, to, failures);
    Callbacks.enterOperation();
    ConversionEvent event = Events.conversion();
    Errno errno = null;
    boolean over = true;
    try {
      failures.throwIfAny();
      for (; ; ) {
        try {
          errno = convertLocked(later.from, later.to, true, RetryPolicy.failAtOnce(), busy);
          over = !isRefused(errno, busy);
          return errno;
        } catch (InterruptedException e) {
          interrupted = true; // not meant for this: the thread has come to let go of a folio
        }
      }
    } finally {
      if (over) {
        cache.setPending(later.from, later.to, false);
        pending.remove(later);
        meters.count(errno == Errno.OK ? Meter.PENDING_COMPLETED : Meter.PENDING_UNDONE);
        countConversion(errno, true, null);
        if (event != null) {
          event.finish(this, later.from, later.to, true, Events.name(errno), 0);
        }
      } else {
        later.await(frameOf(busy));
      }
      unlock(from, to);
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
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

  /**
   * Undoes prepareAll on a locked range whose slots have their old attributes. There is nothing
   * left to fall back to: what the operations answer is logged.
   */
  private void unprepare(long from, long to, boolean inaccessible) {
    if (!needsPreparation()) {
      return;
    }
    for (long i = cache.next(from, to); i < to; i = cache.next(i + 1, to)) {
      int pfn = SlotWord.pfn(cache.slot(i));
      if (isInaccessible(i) == inaccessible || !frames.isPrepared(pfn)) {
        continue;
      }
      if (inaccessible) {
        frames.restoreToDirectMap(pfn);
      }
      try {
        Errno errno = ask(i, pfn, !inaccessible);
        if (errno != Errno.OK) {
          LOG.warn("{} while undoing the conversion of page {} of {}", errno, i, this);
        }
      } catch (Throwable e) {
        LOG.warn("exception while undoing the conversion of page {} of {}", i, this, e);
      }
    }
  }

  private boolean needsPreparation() {
    return hasOps || removesFromDirectMap();
  }

  private boolean removesFromDirectMap() {
    return (flags & CreateFlag.NO_DIRECT_MAP.bit) != 0;
  }

  /**
   * Prepares a folio for its new use. To be inaccessible it first leaves the direct map; to be
   * accessible it comes back only when the conversion is complete.
   */
  private Errno prepare(long index, int pfn, boolean inaccessible) throws InterruptedException {
    boolean removed = inaccessible && removesFromDirectMap();
    if (removed) {
      frames.removeFromDirectMap(pfn);
    }
    boolean done = false;
    try {
      Errno errno = ask(index, pfn, inaccessible);
      done = errno == Errno.OK;
      return errno;
    } finally {
      if (removed && !done) {
        frames.restoreToDirectMap(pfn);
      }
    }
  }

  private void restoreToDirectMap(long from, long to) {
    if (removesFromDirectMap()) {
      for (long i = cache.next(from, to); i < to; i = cache.next(i + 1, to)) {
        frames.restoreToDirectMap(SlotWord.pfn(cache.slot(i)));
      }
    }
  }

  /** Asks the operations to prepare a folio. */
  private Errno ask(long index, int pfn, boolean inaccessible) {
    if (!hasOps) {
      return Errno.OK;
    }
    Errno[] errno = new Errno[1];
    show(
        new Folio(this, index, pfn, null),
        folio ->
            errno[0] =
                inaccessible ? ops.prepareInaccessible(folio) : ops.prepareAccessible(folio));
    return answer(errno[0]);
  }

  // ---- memory failure ----

  /**
   * The memory of a frame has failed: takes its page, if the file has it, from all who use it. The
   * frame has been marked, so it never comes back, and stands where it stands until it is punched.
   * No reference is needed, and none held that a conversion would have to wait for.
   *
   * <p>When the slot is not ready any more all is done: every lookup goes by {@code makeReady},
   * which sees the mark. That is also how a repetition knows whether something was left undone.
   *
   * @param again whether the frame was marked before
   */
  Errno memoryFailure(int pfn, boolean again) {
    for (long i = cache.next(0, pages); i < pages; i = cache.next(i + 1, pages)) {
      long slot = cache.slot(i);
      if (SlotWord.pfn(slot) == pfn && (SlotWord.isReady(slot) || !again)) {
        return isolate(i, pfn, again);
      }
    }
    return again ? Errno.EHWPOISON : Errno.OK;
  }

  /** A range operation on one page, which nothing but an interrupt keeps from being done. */
  private Errno isolate(long index, int pfn, boolean again) {
    Errno nothingLeft = again ? Errno.EHWPOISON : Errno.OK;
    Errno errno = lock(index, index + 1);
    if (errno != Errno.OK) {
      return errno == Errno.EBADF ? nothingLeft : errno;
    }
    try {
      long slot = cache.slot(index);
      if (SlotWord.pfn(slot) != pfn || (again && !SlotWord.isReady(slot))) {
        return nothingLeft;
      }
      boolean begun = false;
      try {
        errno = invalidateBegin(index, index + 1);
        begun = errno == Errno.OK;
        if (!begun) {
          LOG.warn("{} at the memory failure of page {} of {}", errno, index, this);
        }
      } catch (Throwable e) {
        LOG.warn("exception at the memory failure of page {} of {}", index, this, e);
      }
      try {
        unmap(index, index + 1);
        cache.awaitFolioUnlocked(index);
        cache.clearReady(index);
        meters.count(Meter.MEMORY_FAILURES);
        LOG.warn("the memory of frame {} has failed: page {} of {}", pfn, index, this);
        return Errno.OK;
      } catch (InterruptedException e) {
        Waiting.restore(e);
        return Errno.EINTR;
      } finally {
        if (begun) {
          endFailure(index);
        }
      }
    } finally {
      unlock(index, index + 1);
    }
  }

  private void endFailure(long index) {
    try {
      invalidateEnd(index, index + 1);
    } catch (Throwable e) {
      LOG.warn("exception after the memory failure of page {} of {}", index, this, e);
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
  static GuestMemfdException interrupted(InterruptedException e, String what) {
    Waiting.restore(e);
    return exception(Errno.EINTR, what + " was interrupted while waiting");
  }

  void at(RacePoint point, long index) {
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
