package io.github.guestmemfd.cache;

import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameContents;
import io.github.guestmemfd.memory.FrameOwners;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.memory.WaitQueue;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.Callback;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.LockOrder;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.spi.Wait;
import java.lang.invoke.VarHandle;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;

/**
 * The page cache of a file: a slot for each page index, the lookup, and the invalidate lock. What a
 * range operation does to the slots of its range is in {@link SlotChange}, their bits in {@link
 * SlotWord}.
 *
 * <h2>The invalidate lock</h2>
 *
 * The kernel has one reader-writer lock for a file. Here every slot carries its own bit, "busy",
 * and a range operation owns its range once it has set them all, in ascending order. Operations on
 * ranges that do not overlap, and faults outside them, do not affect each other. Ascending order
 * makes deadlock impossible; a bit once set stays set, so a large range makes progress among small
 * ones.
 *
 * <h2>Lookup</h2>
 *
 * <b>Assumptions.</b> (1) A thread makes a page busy before it looks at the counts of its frame.
 * (2) The count of a frame in a slot is not frozen.
 *
 * <p><b>Guarantees.</b> A lookup that returns a frame took its reference while the slot held that
 * frame, was not busy, and had the attribute asked for. Therefore a range operation sees, in the
 * counts, every reference whose lookup did not see the busy bit; all others are dropped again at
 * once without the content having been touched. {@code tryGet} and the busy bit's compare-and-set
 * are both read-modify-writes with volatile semantics, each followed by a volatile read of the
 * other word: the store-buffering pattern, of which sequential consistency excludes that both miss.
 *
 * <p><b>Progress.</b> A lookup starts over only when the slot has changed: lock-free.
 */
public final class PageCache {

  /** Which pages a lookup is for. */
  public enum Wanted {
    /** Whatever the attribute. */
    ANY,
    /** Accessible to the host. */
    ACCESSIBLE,
    /** Inaccessible to the host. */
    INACCESSIBLE;

    /**
     * Whether a page is of the kind wanted.
     *
     * @param slot its slot
     * @return the answer
     */
    public boolean matches(long slot) {
      return this == ANY || (this == INACCESSIBLE) == SlotWord.isInaccessible(slot);
    }
  }

  private final FrameTable frames;
  private final @Nullable FrameContents contents;
  private final FrameOwners.Owner owner;
  private final IdleStrategy idle;
  private final @Nullable RaceHook hook;
  private final @Nullable LruBatches lru;
  private final long cacheRef;
  private final Runnable startedOver;
  private final long pages;
  private final SparseWords slots;
  private final WaitQueue waiters = new WaitQueue();
  private final LongAdder present = new LongAdder();

  /** Set before the slots become busy for ever. */
  private volatile boolean dead;

  /**
   * Makes the page cache of an empty file.
   *
   * @param pages the size of the file
   * @param inaccessible the attribute every page starts with
   * @param frames where frames come from
   * @param contents what they contain, or null for metadata only
   * @param owner the file, as the owner of its frames
   * @param idle how threads wait
   * @param hook called at race points, or null
   * @param lru takes a reference on every folio that comes into the cache, or null
   * @param lends whether guest-side holders take no reference of their own, and rely on the cache's
   * @param startedOver called when a lookup has taken a reference back and starts over
   */
  public PageCache(
      long pages,
      boolean inaccessible,
      FrameTable frames,
      @Nullable FrameContents contents,
      FrameOwners.Owner owner,
      IdleStrategy idle,
      @Nullable RaceHook hook,
      @Nullable LruBatches lru,
      boolean lends,
      Runnable startedOver) {
    this.pages = pages;
    this.frames = frames;
    this.contents = contents;
    this.owner = owner;
    this.idle = idle;
    this.hook = hook;
    this.lru = lru;
    this.cacheRef = lends ? Counts.LENT_CACHE_REF : Counts.CACHE_REF;
    this.startedOver = startedOver;
    this.slots =
        new SparseWords(
            pages,
            SlotWord.PFN_MASK,
            inaccessible ? SlotWord.INACCESSIBLE : 0,
            inaccessible ? 0 : SlotWord.INACCESSIBLE,
            SlotWord.NEITHER,
            SlotWord.BUSY,
            SlotWord.BUSY | SlotWord.NEITHER,
            SlotWord.BUSY | SlotWord.INACCESSIBLE,
            SlotWord.BUSY | SlotWord.WAS_INACCESSIBLE,
            SlotWord.BUSY | SlotWord.WAS_INACCESSIBLE | SlotWord.INACCESSIBLE);
  }

  // ---- lookup ----

  /**
   * A slot as it is now.
   *
   * @param index the page index
   * @return a word for {@link SlotWord}, read with volatile semantics
   */
  public long slot(long index) {
    return slots.get(index);
  }

  /**
   * Takes a reference on a folio that is ready, and whose page is as wanted: the short way of
   * {@link #lookup}, without race points and small enough to be compiled into its callers. It gives
   * up where lookup would start over.
   *
   * @param index the page index
   * @param unit the reference to take, as for {@link FrameTable#tryGet}
   * @param wanted which pages to take a reference on
   * @return the frame; 0, and nothing is held, if lookup has to say more
   */
  public int grab(long index, long unit, Wanted wanted) {
    long[] leaf = slots.leaf(index);
    if (leaf == null || hook != null) {
      return 0;
    }
    long slot = SparseWords.getVolatile(leaf, index);
    if (!isReadyHit(slot, wanted)) {
      return 0;
    }
    int pfn = SlotWord.pfn(slot);
    if (!frames.tryGet(pfn, unit)) {
      return 0;
    }
    return SparseWords.getVolatile(leaf, index) == slot ? pfn : undoGrab(pfn, unit);
  }

  private int undoGrab(int pfn, long unit) {
    frames.undoGet(pfn, unit);
    startedOver.run();
    return 0;
  }

  /**
   * Finds the folio at an index and takes a reference on it, if there is one, it is not busy, and
   * its attribute is as wanted: the kernel's {@code filemap_get_folio}.
   *
   * @param index the page index
   * @param unit the reference to take, as for {@link FrameTable#tryGet}
   * @param wanted which pages to take a reference on
   * @return the slot; the reference is held exactly if {@link #isHit} says so
   */
  public long lookup(long index, long unit, Wanted wanted) {
    long[] leaf = slots.leaf(index);
    for (; ; ) {
      long slot = leaf == null ? slots.get(index) : SparseWords.getVolatile(leaf, index);
      if (!isHit(slot, wanted)) {
        return slot;
      }
      at(RacePoint.AFTER_SLOT_LOAD, index);
      int pfn = SlotWord.pfn(slot);
      if (frames.tryGet(pfn, unit)) {
        boolean done = false;
        try {
          at(RacePoint.BEFORE_SLOT_RELOAD, index);
          if ((leaf == null ? slots.get(index) : SparseWords.getVolatile(leaf, index)) == slot) {
            at(RacePoint.AFTER_LOOKUP, index);
            done = true;
            return slot;
          }
        } finally {
          if (!done) {
            frames.undoGet(pfn, unit);
            startedOver.run();
          }
        }
      }
    }
  }

  /**
   * Whether a lookup that returned this slot holds a reference.
   *
   * @param slot what {@link #lookup} returned
   * @param wanted what it was asked for
   * @return the answer
   */
  public static boolean isHit(long slot, Wanted wanted) {
    return SlotWord.pfn(slot) != 0 && !SlotWord.isClosed(slot) && wanted.matches(slot);
  }

  /**
   * Whether a lookup that returned this slot holds a reference, on a folio that is ready.
   *
   * @param slot what {@link #lookup} returned
   * @param wanted what it was asked for
   * @return the answer
   */
  public static boolean isReadyHit(long slot, Wanted wanted) {
    return SlotWord.isReadyAndOpen(slot) && wanted.matches(slot);
  }

  // ---- folios come ----

  /**
   * Allocates a folio into a hole, not up to date.
   *
   * @param index the page index
   * @param slot the hole, as it was seen
   * @param reserved whether a frame has been promised to the caller, which this then uses up
   * @return false if the host has no memory; true if the hole has been filled or is no longer as it
   *     was seen
   * @throws OutOfMemoryError if the JVM has no memory; the promise is used up all the same
   */
  public boolean fill(long index, long slot, boolean reserved) {
    if (!reserved && !frames.reserve(1)) {
      return false;
    }
    int pfn = 0;
    long held = 0;
    try {
      pfn = frames.allocate(owner);
      if (contents != null) {
        contents.populate(pfn);
      }
      long unit = lru == null ? cacheRef : cacheRef + Counts.REF;
      frames.thaw(pfn, unit);
      held = unit;
      if (lru != null) {
        lru.add(pfn); // before the slot shows it: a thread that meets it there can drain it
        held = cacheRef;
      }
      at(RacePoint.BEFORE_SLOT_FILL, index);
      if (slots.compareAndSet(index, slot, SlotWord.filled(slot, pfn))) {
        present.increment();
        pfn = 0;
      }
      return true;
    } catch (OutOfMemoryError e) {
      if (pfn == 0) {
        frames.unreserve(1);
      }
      throw e;
    } finally {
      if (pfn != 0) {
        frames.discard(pfn, owner, held);
      }
    }
  }

  /**
   * Marks the folio of a slot as ready, unless the slot has changed.
   *
   * @param index the page index
   * @param slot the slot as it was seen
   */
  public void markReady(long index, long slot) {
    slots.compareAndSet(index, slot, SlotWord.ready(slot));
  }

  /**
   * How many folios there are; the kernel's {@code cachestat}.
   *
   * @return the number, exact while nothing is being changed
   */
  public long present() {
    return present.sum();
  }

  /**
   * How many folios there are in a range.
   *
   * @param from the first page index
   * @param to the page index after the last, in the file
   * @return the number, exact while nothing in the range is being changed
   */
  public long present(long from, long to) {
    long count = 0;
    for (Folios folios = folios(from, to); folios.next(); ) {
      count++;
    }
    return count;
  }

  // ---- the invalidate lock ----

  /**
   * Waits until a page is not busy. The caller holds no reference on it.
   *
   * @param index the page index
   * @return false if the file is gone, and its pages busy for ever
   * @throws InterruptedException if the thread is interrupted while it waits; {@link Wait#deadlock}
   *     if it keeps a folio lock, for which the operation it would wait for may be waiting
   */
  public boolean awaitNotBusy(long index) throws InterruptedException {
    BooleanSupplier over = () -> Announce.read(this).dead || !SlotWord.isBusy(slots.get(index));
    if (FrameTable.keepsLock() && !over.getAsBoolean()) {
      throw Wait.deadlock();
    }
    LockOrder.beforeWait(LockClass.INVALIDATE_LOCK, this, index);
    waiters.await(index, over, idle, Long.MAX_VALUE);
    return !Announce.read(this).dead;
  }

  /**
   * Makes every page of a range busy, waiting for other operations to finish.
   *
   * @param from the first page index
   * @param to the page index after the last
   * @return false, and nothing is locked, if the file is gone
   * @throws InterruptedException if the thread is interrupted while it waits; nothing is locked
   * @throws OutOfMemoryError if there is no memory for a node of the tree; nothing is locked
   */
  public boolean lock(long from, long to) throws InterruptedException {
    LockOrder.beforeWait(LockClass.INVALIDATE_LOCK, this, from);
    long locked = from;
    boolean done = false;
    try {
      for (; ; ) {
        locked = slots.update(locked, to, SlotChange.SET_BUSY, false);
        if (locked == to) {
          LockOrder.taken(LockClass.INVALIDATE_LOCK, this, from, to);
          done = true;
          return true;
        }
        if (!awaitNotBusy(locked)) {
          return false;
        }
      }
    } catch (SparseWords.Incomplete e) {
      locked = e.at;
      OutOfMemoryError error = new OutOfMemoryError(e.getMessage());
      error.initCause(e.getCause());
      throw error;
    } finally {
      if (!done) {
        release(from, locked);
      }
    }
  }

  /**
   * Gives the busy bits of a range back and wakes the threads that wait for it.
   *
   * @param from the first page index
   * @param to the page index after the last
   * @return whether any thread was waiting, for whatever pages of the file
   */
  public boolean unlock(long from, long to) {
    boolean waited = release(from, to);
    LockOrder.givenBack(LockClass.INVALIDATE_LOCK, this, from, to);
    return waited;
  }

  private boolean release(long from, long to) {
    slots.update(from, to, SlotChange.RELEASE, true);
    VarHandle.fullFence(); // the stores before the look for waiters: see WaitQueue
    return waiters.wake(from, to);
  }

  /** Marks the file as gone. The caller has locked all of it and never unlocks it. */
  public void die() {
    Announce.write(this).dead = true;
    waiters.wake(0, Long.MAX_VALUE);
    LockOrder.givenBack(LockClass.INVALIDATE_LOCK, this, 0, pages);
  }

  // ---- searches ----

  /**
   * Walks over the folios of a range.
   *
   * @param from the first page index
   * @param to the page index after the last
   * @return the walk, before the first
   */
  public Folios folios(long from, long to) {
    return new Folios(slots, from, to);
  }

  /**
   * The first folio in a range.
   *
   * @param from the first page index
   * @param to the page index after the last
   * @return its page index; {@code to} if there is none
   */
  public long next(long from, long to) {
    return slots.next(from, to);
  }

  /**
   * The first page of a range that has an attribute. Parts of the file whose pages are all alike
   * and have no folio are looked at once each, however large they are.
   *
   * @param from the first page index
   * @param to the page index after the last
   * @param inaccessible the attribute
   * @return its page index, {@code to} if there is none; it holds until the caller's lock ends
   */
  public long next(long from, long to, boolean inaccessible) {
    return find(from, to, SlotChange.stopAtAttribute(inaccessible));
  }

  /**
   * The first page of a locked range whose attribute {@link #setAttribute} has changed, or not
   * changed. Looks at the file as {@link #next(long, long, boolean)} does.
   *
   * @param from the first page index
   * @param to the page index after the last
   * @param changed whether the page is to be one that changed
   * @return its page index; {@code to} if there is none
   */
  public long nextChanged(long from, long to, boolean changed) {
    return find(from, to, SlotChange.stopAtChanged(changed));
  }

  /**
   * The first page of a range that the host may touch, or may not: one that is pending it may not.
   * Looks at the file as {@link #next(long, long, boolean)} does. Needs no lock; each page is
   * looked at once, in ascending order.
   *
   * @param from the first page index
   * @param to the page index after the last
   * @param open whether the host is to be allowed to touch the page
   * @return its page index; {@code to} if there was none
   */
  public long nextForHost(long from, long to, boolean open) {
    return find(from, to, SlotChange.stopAtOpenToHost(open));
  }

  /**
   * The first page of a range that an operation has made busy. Looks at the file as {@link
   * #nextForHost} does.
   *
   * @param from the first page index
   * @param to the page index after the last
   * @return its page index; {@code to} if there was none
   */
  public long nextBusy(long from, long to) {
    return find(from, to, SlotChange.STOP_AT_BUSY);
  }

  /** The index at which a change that changes nothing says stop. */
  private long find(long from, long to, SparseWords.Change stop) {
    return slots.update(from, to, stop, false);
  }

  // ---- attributes, for the owner of a locked range ----

  /**
   * Changes the attribute of all pages of a locked range.
   *
   * @param from the first page index
   * @param to the page index after the last
   * @param inaccessible the new attribute
   */
  public void setAttribute(long from, long to, boolean inaccessible) {
    slots.update(from, to, SlotChange.commit(inaccessible), true);
  }

  /**
   * Undoes {@link #setAttribute}: every page of the locked range has the attribute that it had
   * before.
   *
   * @param from the first page index
   * @param to the page index after the last
   */
  public void undoAttribute(long from, long to) {
    slots.update(from, to, SlotChange.UNDO, true);
  }

  /**
   * Marks the accessible pages of a locked range as neither side's, since a conversion to
   * inaccessible is pending, or clears the mark. The mark outlasts the lock, and ends with the next
   * {@link #setAttribute}.
   *
   * @param from the first page index
   * @param to the page index after the last
   * @param pending whether a conversion is pending
   */
  public void setPending(long from, long to, boolean pending) {
    slots.update(from, to, SlotChange.setPending(pending), true);
  }

  // ---- folios move and go, for the owner of a locked range ----

  /**
   * Moves the content of a locked slot to another frame, as the kernel's page migration does. It
   * does so only if the page cache alone holds the old frame, the folio is ready, and there is
   * memory. The folio must not be mapped, and accesses to it must be over. It stays ready and
   * prepared.
   *
   * @param index the page index
   * @return the old frame, for {@link #putMoved}; 0 if nothing has moved
   */
  public int move(long index) {
    long slot = slots.get(index);
    int from = SlotWord.pfn(slot);
    if (contents == null || !SlotWord.isReady(slot) || !frames.reserve(1)) {
      return 0;
    }
    boolean wasFrozen = frames.isFrozen(from);
    if (!wasFrozen && !frames.freeze(from, counts -> true)) {
      frames.unreserve(1);
      return 0; // it is held: its holder must find it where it is
    }
    int to = 0;
    boolean done = false;
    try {
      to = frames.allocate(owner);
      contents.populate(to);
      contents.copy(from, to);
      frames.setUptodate(to);
      frames.setPrepared(to);
      frames.thaw(to, cacheRef);
      int pfn = to;
      slots.update(index, index + 1, word -> SlotWord.moved(word, pfn), true);
      done = true;
    } catch (OutOfMemoryError e) {
      if (to == 0) {
        frames.unreserve(1);
      }
    } finally {
      if (!done && to != 0) {
        frames.discard(to, owner, 0);
      }
      if (done || !wasFrozen) {
        frames.unfreeze(from);
      }
    }
    return done ? from : 0;
  }

  /**
   * Drops the page cache's reference on a frame that is in no slot any more, and so frees it.
   *
   * @param pfn what {@link #move} returned
   */
  public void putMoved(int pfn) {
    frames.put(pfn, cacheRef);
  }

  /**
   * Takes a folio out of a locked slot and drops the page cache's reference on it. Other holders
   * may keep it alive, as an orphan.
   *
   * @param index the page index
   */
  public void remove(long index) {
    int pfn = SlotWord.pfn(slots.get(index));
    slots.update(index, index + 1, SlotChange.EMPTY, true);
    present.decrement();
    frames.put(pfn, cacheRef);
  }

  /**
   * As {@link #remove}, at the end of the file, which waits for no folio lock: if the folio is
   * locked, the page cache's reference is left to the lock, and the unlock drops it.
   *
   * @param index the page index
   */
  public void abandon(long index) {
    int pfn = SlotWord.pfn(slots.get(index));
    slots.update(index, index + 1, SlotChange.EMPTY, true);
    present.decrement();
    if (!frames.leaveToLock(pfn)) {
      frames.put(pfn, cacheRef);
    }
  }

  /**
   * Marks the folio of a locked slot as not ready, so that every lookup of it takes the slow path.
   *
   * @param index the page index
   */
  public void clearReady(long index) {
    slots.update(index, index + 1, SlotChange.MAKE_UNREADY, true);
  }

  /**
   * Waits until no thread is zeroing or preparing the folio at a locked slot, or otherwise holds
   * its folio lock. None can take it again before the slot is unlocked: a thread that locks a folio
   * looks at its slot afterwards.
   *
   * @param index the page index of a folio
   * @throws InterruptedException if the thread is interrupted while it waits
   */
  public void awaitFolioUnlocked(long index) throws InterruptedException {
    frames.awaitUnlocked(SlotWord.pfn(slots.get(index)));
  }

  private void at(RacePoint point, long index) {
    RaceHook h = hook;
    if (h != null) {
      LockOrder.beforeCall(Callback.RACE_HOOK);
      h.at(point, index);
    }
  }
}
