package io.github.guestmemfd;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileStat;
import io.github.guestmemfd.abi.FolioHolders;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.HolderKind;
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
import io.github.guestmemfd.spi.Counters;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.spi.Wait;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ConcurrentNavigableMap;
import java.util.concurrent.ConcurrentSkipListMap;
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
 *       invalidateEnd}; a conversion does the first and the last for each run of pages that change;
 *   <li>make the pages free again and wake who waits.
 * </ol>
 *
 * Up to the change of the slots everything can be undone, and is, if anything refuses or throws. A
 * punch begins with {@code invalidateBegin}, so that clients can let go before the protocol is
 * asked about what is left.
 *
 * <p>A conversion does steps 2 to 5 to the pages that change. Those that are as wanted already are
 * left alone, since there are guests for which the content of a page is lost when it is
 * invalidated; where all are, it ends after step 1.
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
  final Counters<Meter> meters;
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
  final @Nullable RaceHook hook;

  /**
   * Descriptors, mappings and operations under way; the file goes when the last of them does. A
   * lookup of a page that is ready is no operation.
   */
  private final AtomicLong opens = new AtomicLong(1);

  /** Every mapping of the file: the kernel's reverse map, i_mmap. */
  private final List<HostMapping> mappings = new CopyOnWriteArrayList<>();

  /**
   * Conversions that wait for the last holder to let go, by their first pages: they never overlap.
   * Changed with the busy bits of their pages.
   */
  private final ConcurrentNavigableMap<Long, LaterConversion> pending =
      new ConcurrentSkipListMap<>();

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
    this.meters = host.meters.part();
    this.size = size;
    this.flags = flags;
    this.pages = size >>> HostMemory.PAGE_SHIFT;
    this.ops = ops;
    this.hasOps = ops != GuestMemfdOps.NONE;
    this.protocol = protocol;
    this.retry = retry;
    this.frames = host.frames;
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
    boolean created = false;
    try {
      this.hook =
          host.hook == null ? null : Objects.requireNonNull(host.hook.ofFile(this), "ofFile");
      this.owner = frames.newOwner(this);
      this.cache =
          new PageCache(
              pages,
              !CreateFlag.INIT_SHARED.isIn(flags),
              frames,
              host.contents,
              owner,
              host.idle,
              hook,
              host.lru,
              holding.borrows,
              () -> meters.count(Meter.LOOKUPS_STARTED_OVER));
      created = true;
    } finally {
      if (!created) { // there was no memory for it
        host.closeFile();
      }
    }
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

  /**
   * Closes a descriptor or a mapping. The last of these and of the operations under way ends the
   * file: now, unless this thread is in the middle of something.
   */
  void close() {
    if (opens.decrementAndGet() == 0) {
      if (Callbacks.holdsPages()) {
        Callbacks.whenOut(this::endByTheWay);
      } else {
        Failures failures = new Failures();
        end(failures);
        failures.throwIfAny();
      }
    }
  }

  /**
   * Begins an operation that may wait, or change pages: it holds the file open for as long as it
   * lasts, as a system call does its {@code struct file}.
   *
   * @return false if the file is gone, and nothing has begun
   */
  private boolean enter() {
    Callbacks.enterOperation();
    boolean open = false;
    try {
      open = tryOpen();
    } finally {
      if (!open) {
        Callbacks.leaveOperation();
      }
    }
    return open;
  }

  /** Ends an operation, and the file with it if everything else has let go of that. */
  private void leave() {
    if (opens.decrementAndGet() == 0) {
      Callbacks.whenOut(this::endByTheWay);
    }
    Callbacks.leaveOperation();
  }

  void add(HostMapping mapping) {
    mappings.add(mapping);
  }

  void remove(HostMapping mapping) {
    mappings.remove(mapping);
  }

  /** Ends the file on a thread that has come for something else. */
  private void endByTheWay() {
    Failures failures = new Failures();
    end(failures);
    failures.logIfAny(LOG, "exception at the end of " + this);
  }

  /**
   * The end of the file. Nothing uses it any more, and no operation is under way: no page is busy,
   * and a folio lock that is taken is a user's. So this waits for nothing but accesses through the
   * direct map, or a client's page table, that have begun; and these wait for nothing.
   *
   * @param failures takes what callbacks and race hooks throw
   */
  private void end(Failures failures) {
    Callbacks.enterOperation();
    try {
      lockAll(failures);
      for (LaterConversion later : pending.values()) {
        undo(later, "the file is closed");
      }
      Callbacks.enter("release", this, 0, size);
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
        failures.attempt(() -> cache.abandon(index));
      }
      cache.die();
      owner.close();
      host.closeFile();
      LOG.debug("released {}", this);
    } finally {
      Callbacks.leaveOperation();
    }
  }

  private void lockAll(Failures failures) {
    try {
      if (cache.lock(0, pages)) {
        failures.attempt(() -> at(RacePoint.RANGE_BUSY, 0));
        return;
      }
    } catch (InterruptedException e) {
      Wait.restore(e);
    }
    throw new IllegalStateException("an operation is under way at the end of " + this);
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
        show("freeFolio", new Folio(this, -1, pfn, null), ops::freeFolio);
      }
    } finally {
      if (contents != null && host.poisonsViews) {
        contents.poison(pfn);
      } else if (contents != null && frames.isRemovedFromDirectMap(pfn)) {
        contents.zero(pfn); // it returns to the direct map, where its bytes must not be seen
      }
    }
  }

  @Override
  public void isFree() {
    Callbacks.out(); // the callback may have let go of something
  }

  /** Shows a folio to a callback, for as long as that takes. */
  private void show(String name, Folio folio, Consumer<Folio> callback) {
    Callbacks.enter(name, this, folio.offset(), HostMemory.PAGE_SIZE);
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
    Callbacks.forgetReason();
    boolean open = false; // most of what is not ready is answered at once
    try {
      for (long slot = firstSlot; ; slot = look(index, unit, wanted)) {
        if (PageCache.isHit(slot, wanted)) {
          if (SlotWord.isReady(slot)) {
            return SlotWord.pfn(slot);
          }
          if (unit != 0) {
            frames.undoGet(SlotWord.pfn(slot), unit); // nobody waits with a reference in hand
          }
        } else if (!SlotWord.isBusy(slot)) {
          if (!wanted.matches(slot)) {
            return SIGBUS;
          }
          if (SlotWord.isNeither(slot)) {
            return wanted == Wanted.ACCESSIBLE ? SIGBUS : -Errno.EAGAIN.code();
          }
        }
        if (!open) {
          if (Callbacks.isInside()) { // before a hole is filled: first use takes the folio lock
            return -Errno.EDEADLK.code();
          }
          open = enter();
          if (!open) {
            return -Errno.EBADF.code();
          }
        }
        int result = bringOn(index, slot);
        if (result != 0) {
          return result;
        }
      }
    } catch (InterruptedException e) {
      return -ended(e).code();
    } finally {
      if (open) {
        leave();
      }
    }
  }

  /**
   * Does for a page what it takes to look it up once more: waits for it, fills the hole, or makes
   * its folio ready.
   *
   * @return 0, or a negated errno
   */
  private int bringOn(long index, long slot) throws InterruptedException {
    if (SlotWord.isBusy(slot)) {
      return awaitNotBusy(index) ? 0 : -Errno.EBADF.code();
    }
    if (SlotWord.pfn(slot) != 0) {
      return makeReady(index, slot);
    }
    return fill(index, slot, false) ? 0 : -Errno.ENOMEM.code();
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
    return tryFill(index, slot, reserved) || (host.drainLru() > 0 && tryFill(index, slot, false));
  }

  private boolean tryFill(long index, long slot, boolean reserved) {
    try {
      return cache.fill(index, slot, reserved);
    } catch (OutOfMemoryError e) {
      Callbacks.outOfMemory(e);
      return false;
    }
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
    frames.lock(pfn);
    try {
      if (cache.slot(index) != slot) {
        return 0;
      }
      if (frames.isPoisoned(pfn)) {
        meters.count(Meter.POISONED_USES);
        return -Errno.EHWPOISON.code();
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
      Callbacks.outOfMemory(e);
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
    if (!enter()) {
      return Errno.EBADF;
    }
    try {
      return tryAllocate(from, to);
    } finally {
      leave();
    }
  }

  private Errno tryAllocate(long from, long to) {
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
      return ended(e);
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
    if (!enter()) {
      return Errno.EBADF;
    }
    boolean locked = false;
    try {
      Errno errno = makeBusy(from, to);
      if (errno == Errno.OK) {
        locked = passBusy(from, from, to);
      }
      return errno;
    } finally {
      if (!locked) {
        leave();
      }
    }
  }

  private void unlock(long from, long to) {
    cache.unlock(from, to);
    leave();
  }

  private Errno makeBusy(long from, long to) {
    try {
      return cache.lock(from, to) ? Errno.OK : Errno.EBADF;
    } catch (InterruptedException e) {
      return ended(e);
    } catch (OutOfMemoryError e) {
      Callbacks.outOfMemory(e);
      return Errno.ENOMEM;
    }
  }

  /** Passes the race point, with pages busy that are let go if the hook throws. */
  private boolean passBusy(long index, long from, long to) {
    boolean passed = false;
    try {
      at(RacePoint.RANGE_BUSY, index);
      passed = true;
      return true;
    } finally {
      if (!passed) {
        cache.unlock(from, to);
      }
    }
  }

  /**
   * Locks a range that is to be converted or punched: more than the range, if the protocol wants
   * that. Pending conversions of its pages are undone, for which all of their pages are busy for a
   * moment; their futures fail when the operation is over. If this thread is interrupted before,
   * nothing is undone.
   */
  private Errno lockToChange(long from, long to, String operation) {
    if (Callbacks.isInside()) {
      return Errno.EDEADLK;
    }
    if (!enter()) {
      return Errno.EBADF;
    }
    boolean locked = false;
    try {
      Errno errno = makeBusyAndUndo(from, to, operation);
      if (errno == Errno.OK) {
        locked = passBusy(from, first(from), last(to));
      }
      return errno;
    } finally {
      if (!locked) {
        leave();
      }
    }
  }

  private Errno makeBusyAndUndo(long from, long to, String operation) {
    long low = Math.min(first(from), firstPending(from));
    long high = Math.max(last(to), endPending(to));
    for (; ; ) {
      Errno errno = makeBusy(low, high);
      if (errno != Errno.OK) {
        return errno;
      }
      if (firstPending(from) >= low && endPending(to) <= high) {
        break;
      }
      cache.unlock(low, high); // another one has come to be pending
      low = Math.min(low, firstPending(from));
      high = Math.max(high, endPending(to));
      try {
        Wait.check();
      } catch (InterruptedException e) {
        return ended(e);
      }
    }
    boolean undone = false;
    try {
      for (LaterConversion later : pending.subMap(firstPending(from), to).values()) {
        undo(later, operation);
      }
      undone = true;
      return Errno.OK;
    } finally {
      unlockIfAny(low, undone ? first(from) : high);
      unlockIfAny(undone ? last(to) : high, high);
    }
  }

  private void unlockIfAny(long from, long to) {
    if (from < to) {
      cache.unlock(from, to);
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

  private Errno invalidateBegin(long from, long to) {
    if (!hasOps) {
      return Errno.OK;
    }
    long offset = from << HostMemory.PAGE_SHIFT;
    long length = (to - from) << HostMemory.PAGE_SHIFT;
    Callbacks.enter("invalidateBegin", this, offset, length);
    try {
      return Callbacks.answered(ops.invalidateBegin(offset, length));
    } finally {
      Callbacks.leave();
    }
  }

  private void invalidateEnd(long from, long to) {
    if (!hasOps) {
      return;
    }
    long offset = from << HostMemory.PAGE_SHIFT;
    long length = (to - from) << HostMemory.PAGE_SHIFT;
    Callbacks.enter("invalidateEnd", this, offset, length);
    try {
      ops.invalidateEnd(offset, length);
    } finally {
      Callbacks.leave();
    }
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

  /** As {@link #awaitAccesses}, but only to folios that a conversion changes. */
  private void awaitAccessesToChanging(long from, long to, boolean inaccessible)
      throws InterruptedException {
    Accesses.UnderWay underWay = frames.accesses.underWay();
    if (underWay != null) {
      for (long i = cache.next(from, to); i < to; i = cache.next(i + 1, to)) {
        if (isInaccessible(i) != inaccessible) {
          underWay.concerns(SlotWord.pfn(cache.slot(i)));
        }
      }
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
      return ended(e);
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
      errno = ended(e);
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
      meter = inaccessible ? Meter.CONVERSIONS_TO_INACCESSIBLE : Meter.CONVERSIONS_TO_ACCESSIBLE;
    } else if (busy != null) {
      meter = busy.hasOthers() ? Meter.REFUSED_OTHERS_COUNTED : Meter.REFUSED_NO_OTHERS_COUNTED;
    } else {
      meter = Meter.CONVERSIONS_FAILED;
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
        leavePending(later, Objects.requireNonNull(busy));
      }
      return errno;
    } catch (InterruptedException e) {
      return ended(e);
    } finally {
      unlockChanged(from, to);
    }
  }

  /** Whether a conversion ended because of a folio, and not because a callback said so. */
  private static boolean isRefused(@Nullable Errno errno, @Nullable BusyFolio busy) {
    return errno == Errno.EAGAIN && busy != null && busy.offset() >= 0;
  }

  int frameOf(BusyFolio busy) {
    return SlotWord.pfn(cache.slot(busy.offset() >>> HostMemory.PAGE_SHIFT));
  }

  private Errno convertLocked(
      long from, long to, boolean inaccessible, RetryPolicy policy, @Nullable BusyFolio busy)
      throws InterruptedException {
    long first = cache.next(from, to, !inaccessible);
    if (first == to) {
      return Errno.OK; // all of it is as wanted
    }
    try {
      if (inaccessible) {
        unmapAccessible(first, to);
        if (isAnyInTheWay(first, to, mayTurnInaccessible, policy, Objects.requireNonNull(busy))) {
          return Errno.EAGAIN;
        }
      } else {
        awaitInaccessibleUnlocked(first, to);
      }
      at(RacePoint.BEFORE_COMMIT, from);
      return commit(first, to, inaccessible);
    } finally {
      if (freezes && inaccessible) {
        unfreeze(first, to);
      }
    }
  }

  /** Step 2 of a conversion to inaccessible: what is inaccessible already is left alone. */
  private void unmapAccessible(long from, long to) throws InterruptedException {
    for (long run = from; run < to; ) {
      long end = cache.next(run, to, true);
      unmap(run, end);
      run = cache.next(end, to, false);
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
                i << HostMemory.PAGE_SHIFT,
                counts,
                guest.safe(counts),
                guest.safeRefs(counts),
                host.register == null ? List.of() : host.register.of(pfn));
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

  /**
   * Step 5: invalidates what changes, prepares the folios and changes the slots; or nothing of
   * that. Each run of pages that change is an invalidation of its own, which ends in any case. If
   * the attributes are undone after that has begun to end, each run is invalidated once more.
   *
   * @param from the first page that changes
   */
  private Errno commit(long from, long to, boolean inaccessible) throws InterruptedException {
    Invalidation invalidation = new Invalidation(from, to, inaccessible);
    boolean prepared = false;
    boolean done = false;
    try {
      Errno errno;
      try {
        errno = invalidation.begin();
        if (errno == Errno.OK) {
          awaitAccessesToChanging(from, to, inaccessible); // the clients', which have been told
          if (host.poisonsViews && inaccessible) {
            moveAway(from, to);
          }
          errno = prepareAll(from, to, inaccessible);
          prepared = errno == Errno.OK;
        }
        if (prepared) {
          cache.setAttribute(from, to, inaccessible);
          invalidation.changed = true;
          at(RacePoint.AFTER_COMMIT, from);
        }
      } catch (Throwable e) {
        try {
          invalidation.end();
        } catch (Throwable end) {
          e.addSuppressed(end);
        }
        throw e;
      }
      invalidation.end();
      done = true;
      return errno;
    } finally {
      if (invalidation.changed && !done) {
        cache.undoAttribute(from, to);
        invalidation.undo();
      } else if (prepared && !done) {
        unprepare(from, to, inaccessible);
      } else if (done && invalidation.changed && !inaccessible) {
        restoreToDirectMap(from, to);
      }
    }
  }

  /**
   * Leaves the frames that the host has used behind, so that a view which is used after its
   * reference is gone sees poison, and not what becomes of the page.
   */
  private void moveAway(long from, long to) {
    for (long i = cache.next(from, to); i < to; i = cache.next(i + 1, to)) {
      if (!isInaccessible(i)) {
        cache.move(i);
      }
    }
  }

  /**
   * What clients are told of a conversion: of each run of pages that change, in ascending order,
   * and of no other. The runs are found in the slots each time, since there may be very many.
   */
  private final class Invalidation {
    private final long from;
    private final long to;
    private final boolean inaccessible;

    /** Where the last run ends of which a begin has been agreed to. */
    private long begun;

    /** Whether the attribute of the pages has been changed. */
    boolean changed;

    /**
     * Takes the range as it is.
     *
     * @param from the first page that changes
     */
    Invalidation(long from, long to, boolean inaccessible) {
      this.from = from;
      this.to = to;
      this.inaccessible = inaccessible;
      this.begun = from;
    }

    /** Begins each run, up to the first that is refused. */
    Errno begin() {
      if (!hasOps) {
        return Errno.OK;
      }
      for (long run = from; run < to; ) {
        long end = endOfRun(run, to);
        Errno errno = invalidateBegin(run, end);
        if (errno != Errno.OK) {
          return errno;
        }
        begun = end;
        run = nextRun(end, to);
      }
      return Errno.OK;
    }

    /** Ends each run that has begun, whatever one of the ends throws. */
    void end() {
      Failures failures = new Failures();
      for (long run = from; run < begun; ) {
        long first = run;
        long end = endOfRun(run, begun);
        failures.attempt(() -> invalidateEnd(first, end));
        run = nextRun(end, begun);
      }
      failures.throwIfAny();
    }

    /**
     * After the attributes have been undone, with which clients may have used pages since they were
     * told of the end: invalidates each run once more, and undoes its preparation. There is nothing
     * left to fall back to: what clients answer is logged.
     */
    void undo() {
      changed = false;
      for (long run = from; run < to; ) {
        long end = endOfRun(run, to);
        boolean begun = beginUndoing(run, end);
        unprepare(run, end, inaccessible);
        if (begun) {
          endUndoing(run, end);
        }
        run = nextRun(end, to);
      }
    }

    private boolean beginUndoing(long run, long end) {
      try {
        Errno errno = invalidateBegin(run, end);
        if (errno != Errno.OK) {
          LOG.warn("{} while undoing the conversion of {}", errno, page(run));
        }
        return errno == Errno.OK;
      } catch (Throwable e) {
        LOG.warn("exception while undoing the conversion of {}", page(run), e);
        return false;
      }
    }

    private void endUndoing(long run, long end) {
      try {
        invalidateEnd(run, end);
      } catch (Throwable e) {
        LOG.warn("exception while undoing the conversion of {}", page(run), e);
      }
    }

    private long nextRun(long after, long limit) {
      return changed
          ? cache.nextChanged(after, limit, true)
          : cache.next(after, limit, !inaccessible);
    }

    private long endOfRun(long run, long limit) {
      return changed ? cache.nextChanged(run, limit, false) : cache.next(run, limit, inaccessible);
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

  /**
   * Where the pending conversion begins that a page is part of; the page itself if there is none.
   */
  private long firstPending(long index) {
    Map.Entry<Long, LaterConversion> entry = pending.floorEntry(index);
    return entry != null && entry.getValue().to > index ? entry.getKey() : index;
  }

  /** Where the last pending conversion ends that begins before a page; at least at that page. */
  private long endPending(long end) {
    Map.Entry<Long, LaterConversion> entry = pending.lowerEntry(end);
    return entry == null ? end : Math.max(end, entry.getValue().to);
  }

  /** Leaves a conversion of locked pages pending, until a busy folio is let go. */
  private void leavePending(LaterConversion later, BusyFolio busy) {
    boolean done = false;
    try {
      pending.put(later.from, later);
      later.enter();
      cache.setPending(later.from, later.to, true);
      meters.count(Meter.PENDING_BEGUN);
      later.await(busy);
      done = true;
    } finally {
      if (!done) {
        giveBack(later, new CancellationException());
      }
    }
  }

  /** Undoes a pending conversion, whose pages are locked, on behalf of an operation. */
  private void undo(LaterConversion later, String operation) {
    if (giveBack(
        later,
        exception(
            Errno.ECANCELED, "conversion of " + later.describe() + " undone: " + operation))) {
      Callbacks.complete(later);
    }
  }

  /**
   * Ends a pending conversion without having converted; its locked pages are as they were before.
   *
   * @param why what its future is to fail with
   * @return whether it is this that has ended it
   */
  private boolean giveBack(LaterConversion later, Throwable why) {
    boolean undone = later.undo(why);
    if (pending.remove(later.from, later)) {
      later.leave();
      cache.setPending(later.from, later.to, false);
      meters.count(Meter.PENDING_UNDONE);
    }
    return undone;
  }

  /**
   * Undoes a pending conversion on behalf of its user. If this thread must not wait for its pages
   * any more, it is ended all the same, and the pages are given back a little later.
   *
   * @param why what its future is to fail with
   * @param failures takes what a race hook throws
   * @return whether it is this that has ended it
   */
  boolean undo(LaterConversion later, Throwable why, Failures failures) {
    if (!enter()) {
      return later.endWithoutPages(why); // the end of the file gives them back
    }
    try {
      if (!cache.lock(later.from, later.to)) {
        return false;
      }
      try {
        failures.attempt(() -> at(RacePoint.RANGE_BUSY, later.from));
        return giveBack(later, why);
      } finally {
        cache.unlock(later.from, later.to);
      }
    } catch (InterruptedException e) {
      Wait.restore(e);
      boolean ended = later.endWithoutPages(why);
      later.tryLater();
      return ended;
    } finally {
      leave();
    }
  }

  /** Tries a pending conversion once more, if that is possible without waiting. */
  void tryPending(LaterConversion later) {
    if (!later.mayBeTried() || !enter()) {
      return; // or else the end of the file undoes it
    }
    long from = first(later.from);
    long to = last(later.to);
    boolean locked = false;
    try {
      locked = makeBusy(from, to) == Errno.OK;
      if (!locked) {
        later.tryLater();
      } else if (later.claim()) {
        tryLocked(later, from);
      }
      if (locked && later.isEnded()) {
        giveBack(later, new CancellationException());
        Callbacks.complete(later);
      }
    } finally {
      if (locked) {
        cache.unlock(from, to);
      }
      leave();
    }
  }

  /** Tries a pending conversion that its caller has claimed, with the pages locked. */
  private void tryLocked(LaterConversion later, long lockedFrom) {
    ConversionEvent event = Events.conversion();
    BusyFolio busy = new BusyFolio();
    Errno errno = null;
    Throwable failure = null;
    boolean again = false;
    try {
      at(RacePoint.RANGE_BUSY, lockedFrom);
      errno = convertLocked(later.from, later.to, true, RetryPolicy.failAtOnce(), busy);
      // A callback that has been interrupted or would wait, and not one that refuses like this.
      again = errno == Errno.EINTR && (Wait.isRefused() || Thread.currentThread().isInterrupted());
    } catch (InterruptedException e) {
      Wait.restore(e);
      again = true;
    } catch (RuntimeException | Error e) {
      failure = e;
    }
    if (again) {
      later.pend();
      later.tryLater();
      return;
    }
    if (isRefused(errno, busy)) {
      later.await(busy);
      return;
    }
    if (errno != null && errno != Errno.OK) {
      failure = refused(errno, "completing the conversion of " + later.describe());
    }
    cache.setPending(later.from, later.to, false);
    pending.remove(later.from, later);
    later.leave();
    meters.count(errno == Errno.OK ? Meter.PENDING_COMPLETED : Meter.PENDING_UNDONE);
    countConversion(errno, true, null);
    if (event != null) {
      event.finish(this, later.from, later.to, true, Events.name(errno), 0);
    }
    later.over(failure);
    Callbacks.complete(later);
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
          LOG.warn("{} while undoing the conversion of {}", errno, page(i));
        }
      } catch (Throwable e) {
        LOG.warn("exception while undoing the conversion of {}", page(i), e);
      }
    }
  }

  private boolean needsPreparation() {
    return hasOps || removesFromDirectMap();
  }

  boolean removesFromDirectMap() {
    return CreateFlag.NO_DIRECT_MAP.isIn(flags);
  }

  /**
   * Prepares a folio for its new use. To be inaccessible it first leaves the direct map; to be
   * accessible it comes back only when the conversion is complete.
   *
   * <p>A folio that is not up to date is zeroed: once it has left the direct map, by which somebody
   * may just be writing.
   */
  private Errno prepare(long index, int pfn, boolean inaccessible) throws InterruptedException {
    boolean removed = inaccessible && removesFromDirectMap();
    if (removed) {
      frames.removeFromDirectMap(pfn);
    }
    boolean done = false;
    try {
      if (!frames.isUptodate(pfn)) {
        FrameContents contents = host.contents;
        if (contents != null) {
          contents.zero(pfn);
        }
        frames.setUptodate(pfn);
      }
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
    Errno[] errno = {Errno.OK};
    show(
        inaccessible ? "prepareInaccessible" : "prepareAccessible",
        new Folio(this, index, pfn, null),
        folio ->
            errno[0] =
                Callbacks.answered(
                    inaccessible ? ops.prepareInaccessible(folio) : ops.prepareAccessible(folio)));
    return errno[0];
  }

  // ---- holders ----

  /** Looks through the file, as part of an audit of its host. */
  void audit(Audit audit) {
    if (opens.get() == 0) {
      return; // only its orphans are left
    }
    long busy = cache.nextBusy(0, pages);
    if (busy < pages) {
      audit.found(this, busy, "is busy");
    }
    for (long i = cache.next(0, pages); i < pages; i = cache.next(i + 1, pages)) {
      audit.page(this, i, cache.slot(i), endPending(i + 1) > i && firstPending(i) <= i);
    }
    for (HostMapping mapping : mappings) {
      for (long page = mapping.table.next(0, mapping.pages);
          page < mapping.pages;
          page = mapping.table.next(page + 1, mapping.pages)) {
        long index = mapping.firstIndex + page;
        audit.entry(this, index, PageTable.held(mapping.table.entry(page)), cache.slot(index));
      }
    }
  }

  /** Counts who holds the folio of a page. */
  FolioHolders holders(long index) {
    long offset = index << HostMemory.PAGE_SHIFT;
    int pfn = SlotWord.pfn(cache.slot(index));
    if (pfn == 0) {
      return new FolioHolders(offset, 0, 0, 0, 0, 0, 0);
    }
    long counts = frames.counts(pfn);
    int mapped = mapped(index, pfn);
    int own = Math.max(0, Counts.ownRefs(counts) - guest.safeRefs(counts) - mapped);
    return new FolioHolders(
        offset,
        pfn,
        mapped,
        own % Counts.PIN_BIAS + Counts.unsafe(counts),
        own / Counts.PIN_BIAS,
        Counts.accessible(counts),
        guest.safe(counts));
  }

  /** How many mappings have a frame at a page. */
  private int mapped(long index, int pfn) {
    int mapped = 0;
    for (HostMapping mapping : mappings) {
      long page = index - mapping.firstIndex;
      if (page >= 0 && page < mapping.pages && PageTable.held(mapping.table.entry(page)) == pfn) {
        mapped++;
      }
    }
    return mapped;
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
      return errno == Errno.EBADF ? awaitEnd(index, pfn, nothingLeft) : errno;
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
          LOG.warn("{} at the memory failure of {}", errno, page(index));
        }
      } catch (Throwable e) {
        LOG.warn("exception at the memory failure of {}", page(index), e);
      }
      try {
        unmap(index, index + 1);
        cache.awaitFolioUnlocked(index);
        cache.clearReady(index);
        meters.count(Meter.MEMORY_FAILURES);
        LOG.warn("the memory of frame {} has failed: {}", pfn, page(index));
        return Errno.OK;
      } catch (InterruptedException e) {
        return ended(e);
      } finally {
        if (begun) {
          endFailure(index);
        }
      }
    } finally {
      unlock(index, index + 1);
    }
  }

  /** Waits until the end of the file, which is under way, has taken a page from its users. */
  private Errno awaitEnd(long index, int pfn, Errno then) {
    try {
      Wait.await(host.idle, () -> SlotWord.pfn(cache.slot(index)) != pfn, LOOK_AGAIN_NANOS);
      return then;
    } catch (InterruptedException e) {
      return ended(e);
    }
  }

  private void endFailure(long index) {
    try {
      invalidateEnd(index, index + 1);
    } catch (Throwable e) {
      LOG.warn("exception after the memory failure of {}", page(index), e);
    }
  }

  // ---- odds and ends ----

  FileStat stat() {
    return new FileStat(ino, size, 0, HostMemory.PAGE_SIZE, 0100600, mtimeNanos);
  }

  static GuestMemfdException exception(Errno errno, String what) {
    return new GuestMemfdException(errno, what);
  }

  /**
   * An exception for what this thread has just been answered, after its arguments were found good.
   *
   * @param errno the answer
   * @param call what was called, with its arguments
   */
  GuestMemfdException refused(Errno errno, String call) {
    GuestMemfdException e = exception(errno, call + ": " + why(errno));
    Callbacks.Reason reason = Callbacks.reason(errno);
    if (reason != null && reason.noMemory() != null) {
      e.initCause(reason.noMemory());
    }
    return e;
  }

  /** Why this thread has just been answered an errno by this file. */
  String why(Errno errno) {
    if (errno == Errno.EDEADLK && Callbacks.isInside()) {
      return Callbacks.deadlock();
    }
    Callbacks.Reason reason = Callbacks.reason(errno);
    if (reason != null) {
      return reason.text();
    }
    return switch (errno) {
      case EAGAIN -> "a conversion of the page is pending";
      case EBADF -> "the file is gone";
      case EDEADLK -> Callbacks.deadlock();
      case EFAULT -> "the page is inaccessible";
      case EHWPOISON -> "the memory of the page has failed";
      case EINTR -> "the thread was interrupted";
      case ENOMEM -> "expected more free memory in " + host;
      default -> "refused";
    };
  }

  /** A page, for messages. */
  String page(long index) {
    return "the page at offset " + Hex.of(index << HostMemory.PAGE_SHIFT) + " of " + this;
  }

  /** A range, for messages. */
  static String range(long offset, long length) {
    return " [offset=" + Hex.of(offset) + ", length=" + length + "]";
  }

  /**
   * What a wait that ended before its time is to be answered with. If an interrupt has ended it,
   * the thread's interrupt status is set again.
   *
   * @return EINTR, or EDEADLK for a wait that could have been for the thread itself
   */
  static Errno ended(InterruptedException e) {
    Callbacks.forgetReason(); // this is the reason
    Wait.restore(e);
    return Wait.isDeadlock(e) ? Errno.EDEADLK : Errno.EINTR;
  }

  /** As {@link #ended}, as an exception. */
  static GuestMemfdException interrupted(InterruptedException e, String what) {
    Errno errno = ended(e);
    return exception(
        errno,
        what + ": " + (errno == Errno.EINTR ? "the thread was interrupted" : Callbacks.deadlock()));
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
    return "guest_memfd[ino=" + ino + ", size=" + size + ", flags=" + CreateFlag.names(flags) + "]";
  }
}
