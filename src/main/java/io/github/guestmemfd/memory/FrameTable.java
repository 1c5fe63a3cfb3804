package io.github.guestmemfd.memory;

import io.github.guestmemfd.spi.IdleStrategy;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.LongPredicate;
import org.jspecify.annotations.Nullable;

/**
 * The frames of the host: a counts word and a state word for each, and the list of the free ones.
 *
 * <p><b>Assumptions.</b> (1) A caller names frames this table has handed out at least once. (2) Who
 * takes a reference by {@link #tryGet} then checks that the frame still is what it wanted, and puts
 * the reference if not.
 *
 * <p><b>Guarantees.</b> A frame is on the free list only while frozen. The put of the last
 * reference swaps it for frozen in one step, so a frame dies exactly once and never comes back. A
 * {@code tryGet} that meets a frozen frame has added to it all the same, and takes that back; by
 * then the frame may be in use again, and taking back be its last put. No field of a counts word
 * ever corrupts its neighbour.
 *
 * <p><b>Progress.</b> Taking a reference is one fetch-and-add. Dropping one is lock-free; if
 * somebody waits for it, it wakes them. Allocation and release are lock-free.
 *
 * <p>Counts and states are arrays of their own: a lookup of a ready folio needs the counts only.
 * Frames that are neighbours are used by different vCPUs, so inside each group of 512 they are
 * placed 128 bytes apart.
 */
public final class FrameTable {

  /** Bits of a page frame number. */
  public static final int PFN_BITS = 30;

  /** The most frames a host can have: just under 4 TiB. */
  public static final int MAX_FRAMES = (1 << PFN_BITS) - 2;

  private static final int CHUNK_SHIFT = 12;
  private static final int CHUNK_FRAMES = 1 << CHUNK_SHIFT;
  private static final int CHUNK_MASK = CHUNK_FRAMES - 1;

  private static final VarHandle WORDS = MethodHandles.arrayElementVarHandle(long[].class);
  private static final VarHandle CHUNKS = MethodHandles.arrayElementVarHandle(long[][].class);

  private final int limit;
  private final long[] @Nullable [] countChunks;
  private final long[] @Nullable [] stateChunks;
  private final IdleStrategy idle;

  /** Accesses to frames that are under way. */
  public final Accesses accesses = new Accesses();

  /** The files that own frames, by number. Replaced when it must grow. */
  private volatile @Nullable Owner[] owners = new @Nullable Owner[16];

  /** Which numbers of files are in use; 0 is none's. Under the lock. */
  private final BitSet ownerNumbers = new BitSet();

  private final ReentrantLock ownersLock = new ReentrantLock();
  private final WaitQueue[] queues;

  /** How many folio locks this thread keeps, of all hosts; changed by whatever thread unlocks. */
  private static final ThreadLocal<AtomicInteger> KEPT =
      ThreadLocal.withInitial(AtomicInteger::new);

  /** The threads, by their counters, that keep the locks of frames beyond a call. */
  private final ConcurrentMap<Integer, AtomicInteger> keepers = new ConcurrentHashMap<>();

  /** What to run when the counts of a frame change. */
  private final ConcurrentMap<Integer, Runnable> watchers = new ConcurrentHashMap<>();

  /** Frames neither in use nor promised to anybody. */
  private final AtomicLong available;

  /** Frames whose memory has failed, and those among them that nobody uses and nobody will. */
  private final AtomicLong poisoned = new AtomicLong();

  private final AtomicLong takenOut = new AtomicLong();

  /** The last frame number ever used; those above it have not been touched. */
  private final AtomicLong fresh = new AtomicLong();

  /** The free list, a Treiber stack: {@code tag (34) | pfn (30)}, the tag against reuse (ABA). */
  private final AtomicLong freeHead = new AtomicLong();

  private static final long PFN_MASK = (1L << PFN_BITS) - 1;

  /**
   * Makes a table of free frames. Metadata is allocated as frames come into use.
   *
   * @param limit how many frames there are, 1 to {@link #MAX_FRAMES}
   * @param idle how threads wait
   */
  public FrameTable(int limit, IdleStrategy idle) {
    if (limit < 1 || limit > MAX_FRAMES) {
      throw new IllegalArgumentException(
          "number of frames: expected 1 to " + MAX_FRAMES + ", actual " + limit);
    }
    this.limit = limit;
    this.idle = idle;
    this.available = new AtomicLong(limit);
    this.countChunks = new long[(limit >>> CHUNK_SHIFT) + 1][];
    this.stateChunks = new long[(limit >>> CHUNK_SHIFT) + 1][];
    this.queues = new WaitQueue[64];
    for (int i = 0; i < queues.length; i++) {
      queues[i] = new WaitQueue();
    }
  }

  // ---- words ----

  /**
   * The chunk of a frame that has been handed out. A plain read is enough: the pfn reached the
   * caller through an atomic word that was written after the chunk was made.
   */
  private static long[] chunk(long[] @Nullable [] chunks, int pfn) {
    long[] chunk = chunks[pfn >>> CHUNK_SHIFT];
    if (chunk == null) {
      throw new IllegalStateException("frame " + pfn + " was never in use");
    }
    return chunk;
  }

  private long[] counters(int pfn) {
    return chunk(countChunks, pfn);
  }

  private long[] states(int pfn) {
    return chunk(stateChunks, pfn);
  }

  /** Where the word of a frame stands in its chunk: 128 bytes between neighbours. */
  static int position(int pfn) {
    int line = ((pfn << 1) | ((pfn >>> 5) & 1)) & 63;
    return (pfn & CHUNK_MASK & ~511) | (line << 3) | ((pfn >>> 6) & 7);
  }

  /**
   * The counts word of a frame, read with volatile semantics.
   *
   * @param pfn the frame
   * @return a word for {@link Counts}
   */
  public long counts(int pfn) {
    return (long) WORDS.getVolatile(counters(pfn), position(pfn));
  }

  private long state(int pfn) {
    return (long) WORDS.getVolatile(states(pfn), position(pfn));
  }

  private boolean casState(int pfn, long expected, long word) {
    return WORDS.compareAndSet(states(pfn), position(pfn), expected, word);
  }

  private void setState(int pfn, long bits) {
    WORDS.getAndBitwiseOr(states(pfn), position(pfn), bits);
  }

  private long clearState(int pfn, long bits) {
    return (long) WORDS.getAndBitwiseAnd(states(pfn), position(pfn), ~bits);
  }

  // ---- references ----

  /**
   * Takes references unless the frame is frozen: the kernel's {@code folio_try_get}.
   *
   * <p>Full ordering (a read-modify-write with volatile semantics), so that the caller's next read
   * of the slot cannot come before the reference is visible to a converter.
   *
   * @param pfn the frame
   * @param unit {@link Counts#REF}, {@link Counts#SAFE_REF}, {@link Counts#UNSAFE_REF}, {@link
   *     Counts#ACCESSIBLE_REF} or {@link Counts#PIN}; or {@link Counts#SAFE} alone, which the frame
   *     of a page cache that lends its reference allows
   * @return false, and nothing taken, when the frame is frozen, or for {@code SAFE} not lent
   * @throws IllegalStateException if there are too many references of the kind already; nothing is
   *     taken. Close to its largest count a get may be refused while others are being refused
   */
  public boolean tryGet(int pfn, long unit) {
    long[] chunk = counters(pfn);
    int at = position(pfn);
    if (unit == Counts.SAFE || unit == Counts.PIN) {
      return tryGetAfterLook(pfn, chunk, at, unit);
    }
    long old = (long) WORDS.getAndAdd(chunk, at, unit);
    return Counts.isFarFromLimits(old + unit) || mayStand(pfn, chunk, at, old, unit);
  }

  /** The rest of {@link #tryGet}: what was added stands, or is taken back. */
  private boolean mayStand(int pfn, long[] chunk, int at, long old, long unit) {
    boolean frozen = old < 0;
    if (!frozen && !Counts.isTooMany(old + unit, unit)) {
      return true;
    }
    takeBack(pfn, chunk, at, unit);
    if (frozen) {
      return false;
    }
    throw tooMany(pfn, old);
  }

  private static IllegalStateException tooMany(int pfn, long counts) {
    return new IllegalStateException(
        "frame " + pfn + ": too many references: " + Counts.toString(counts));
  }

  /**
   * For units that may not be added on trial. A safe holder without a reference that comes late,
   * and is counted on the frame of a file whose safe holders have one, would for that moment make
   * another holder's reference look like its own. A pin is so many references that a few refused
   * ones would fill the room above the largest count.
   */
  private static boolean tryGetAfterLook(int pfn, long[] chunk, int at, long unit) {
    for (; ; ) {
      long old = (long) WORDS.getVolatile(chunk, at);
      if (old < 0 || (unit == Counts.SAFE && !Counts.isLent(old))) {
        return false;
      }
      if (Counts.isTooMany(old + unit, unit)) {
        throw tooMany(pfn, old);
      }
      if (WORDS.compareAndSet(chunk, at, old, old + unit)) {
        return true;
      }
    }
  }

  /**
   * Says that a reference the caller holds is a safe one: the second step of a holder that raises
   * the counts one after the other. {@link #put} with {@link Counts#SAFE} takes it back.
   *
   * @param pfn the frame
   * @throws IllegalStateException if there are too many safe holders already; nothing is changed
   */
  public void markSafe(int pfn) {
    long[] chunk = counters(pfn);
    int at = position(pfn);
    long old = (long) WORDS.getAndAdd(chunk, at, Counts.SAFE);
    if (Counts.isTooMany(old + Counts.SAFE, Counts.SAFE)) {
      takeBack(pfn, chunk, at, Counts.SAFE);
      throw tooMany(pfn, old);
    }
    if ((old & Counts.WAITED) != 0) {
      countsChanged(pfn); // what a conversion waits for may be this as well as a put
    }
  }

  /**
   * Gives back what {@link #tryGet} took and what was never used: the end of a lookup that came too
   * late. If another's put has dropped it by mistake, nothing is left to do, and nobody is hurt.
   *
   * @param pfn the frame
   * @param unit what {@code tryGet} took
   */
  public void undoGet(int pfn, long unit) {
    takeBack(pfn, counters(pfn), position(pfn), unit);
  }

  /**
   * Looks whether there is a guest-side holder, for who is about to drop one in several steps of
   * which the first says nothing about that.
   *
   * @param pfn the frame
   * @throws IllegalStateException if there is none
   */
  public void requireSafe(int pfn) {
    long counts = counts(pfn);
    if (!Counts.has(counts, Counts.SAFE)) {
      throw putWithoutGet(pfn, counts);
    }
  }

  // ---- freezing ----

  /**
   * Freezes a frame if {@link Counts#isCachesAlone nobody but its page cache} holds it: no
   * reference can be taken until {@link #unfreeze}. The kernel's {@code folio_ref_freeze}. So there
   * is nobody who could want to let go of it meanwhile.
   *
   * @param pfn the frame
   * @param condition what else the counts must satisfy
   * @return whether it is frozen
   */
  public boolean freeze(int pfn, LongPredicate condition) {
    long[] chunk = counters(pfn);
    int at = position(pfn);
    for (; ; ) {
      long old = (long) WORDS.getVolatile(chunk, at);
      if (!Counts.isCachesAlone(old) || !condition.test(old)) {
        return false;
      }
      if (WORDS.compareAndSet(chunk, at, old, old + Counts.FROZEN)) {
        return true;
      }
    }
  }

  /**
   * Ends {@link #freeze}. It adds, where the kernel stores, because of late lookups: see {@link
   * #thaw}.
   *
   * @param pfn a frame that its caller has frozen
   */
  public void unfreeze(int pfn) {
    WORDS.getAndAdd(counters(pfn), position(pfn), Counts.FROZEN);
  }

  /**
   * As {@link #tryGet}, for who has only a number: the frame need never have been in use.
   *
   * @param pfn a number from 1 to the limit
   * @param unit as for {@code tryGet}
   * @return as {@code tryGet}
   */
  public boolean tryGetByNumber(int pfn, long unit) {
    return CHUNKS.getAcquire(stateChunks, pfn >>> CHUNK_SHIFT) != null && tryGet(pfn, unit);
  }

  /**
   * Drops references; the last put of all frees the frame, on this thread.
   *
   * <p>It looks before it subtracts, so that a put without a get disturbs nobody. What it looks for
   * is its own kind alone, which no get of another thread, refused or not, makes less.
   *
   * @param pfn the frame
   * @param unit what {@link #tryGet} took
   * @throws IllegalStateException if nobody holds that; nothing is dropped
   */
  public void put(int pfn, long unit) {
    long[] chunk = counters(pfn);
    int at = position(pfn);
    while (!subtractIfHeld(pfn, chunk, at, (long) WORDS.getVolatile(chunk, at), unit)) {
      Thread.onSpinWait();
    }
  }

  /** Replaces counts by less; false if they have changed meanwhile. */
  private boolean subtractIfHeld(int pfn, long[] chunk, int at, long old, long unit) {
    requireHeld(pfn, old, unit);
    return subtract(pfn, chunk, at, old, unit);
  }

  private static void requireHeld(int pfn, long counts, long unit) {
    if (!Counts.has(counts, unit)) {
      throw putWithoutGet(pfn, counts);
    }
  }

  private static IllegalStateException putWithoutGet(int pfn, long counts) {
    return new IllegalStateException(
        "frame " + pfn + ": put without get: " + Counts.toString(counts));
  }

  /**
   * Takes back what was added in vain: a put, unless the frame is still frozen.
   *
   * <p>A put of that kind without a get may have come first, which could not tell what was added
   * from a holder. The counts are right then.
   */
  private void takeBack(int pfn, long[] chunk, int at, long unit) {
    for (; ; ) {
      long old = (long) WORDS.getVolatile(chunk, at);
      if (!Counts.hasStill(old, unit)) {
        return;
      }
      if (old >= 0
          ? subtract(pfn, chunk, at, old, unit)
          : WORDS.compareAndSet(chunk, at, old, old - unit)) {
        return;
      }
    }
  }

  /** Replaces counts that are not frozen by less; nobody left means frozen, and freed. */
  private boolean subtract(int pfn, long[] chunk, int at, long old, long unit) {
    long word = old - unit;
    boolean last = Counts.isNobodys(word);
    if (!WORDS.compareAndSet(chunk, at, old, last ? Counts.FREE : word)) {
      return false;
    }
    if ((old & Counts.WAITED) != 0) {
      countsChanged(pfn);
    }
    if (last) {
      free(pfn);
    }
    return true;
  }

  /** Tells whoever waits for the counts of a frame that they have changed. */
  private void countsChanged(int pfn) {
    queue(pfn).wake(countKey(pfn), countKey(pfn) + 1);
    Runnable watcher = watchers.get(pfn);
    if (watcher != null) {
      watcher.run();
    }
  }

  /**
   * Has something run, on the thread that changes them, after each change of the counts of a frame
   * by which a conversion may become possible. The first may come before this returns.
   *
   * <p>The watcher is entered before the mark in the counts that makes others look for it; so a
   * caller that reads the counts after this has seen every change that nobody was told of.
   *
   * @param pfn a frame that the caller keeps from being freed and that nobody else waits for
   * @param watcher must be quick, and must not throw
   */
  public void watch(int pfn, Runnable watcher) {
    watchers.put(pfn, watcher);
    WORDS.getAndBitwiseOr(counters(pfn), position(pfn), Counts.WAITED);
  }

  /**
   * Ends {@link #watch}. A change that is under way may still be told.
   *
   * @param pfn the frame
   */
  public void unwatch(int pfn) {
    WORDS.getAndBitwiseAnd(counters(pfn), position(pfn), ~Counts.WAITED);
    watchers.remove(pfn);
  }

  /**
   * Waits for the counts to satisfy a condition, woken by every put.
   *
   * @param pfn a frame that the caller keeps from being freed
   * @param condition the condition on the counts word
   * @param nanos the longest time to wait
   * @return whether the condition held before the time was up
   * @throws InterruptedException if the thread is interrupted while it waits
   */
  public boolean awaitCounts(int pfn, LongPredicate condition, long nanos)
      throws InterruptedException {
    long[] chunk = counters(pfn);
    int at = position(pfn);
    WORDS.getAndBitwiseOr(chunk, at, Counts.WAITED);
    try {
      return queue(pfn)
          .await(
              countKey(pfn),
              () -> condition.test((long) WORDS.getVolatile(chunk, at)),
              idle,
              nanos);
    } finally {
      // One converter at most waits for a frame: it holds the busy bit of the frame's slot.
      WORDS.getAndBitwiseAnd(chunk, at, ~Counts.WAITED);
    }
  }

  // ---- the folio lock ----

  private WaitQueue queue(int pfn) {
    return queues[pfn & (queues.length - 1)];
  }

  private static long lockKey(int pfn) {
    return (long) pfn << 1;
  }

  private static long countKey(int pfn) {
    return lockKey(pfn) | 1;
  }

  /**
   * Takes the folio lock if it is free and nobody queues for it.
   *
   * @param pfn the frame
   * @return whether the caller now holds it
   */
  public boolean tryLock(int pfn) {
    for (; ; ) {
      long word = state(pfn);
      if ((word & (FrameState.LOCKED | FrameState.WAITERS)) != 0) {
        return false;
      }
      if (casState(pfn, word, word | FrameState.LOCKED)) {
        return true;
      }
    }
  }

  /**
   * Takes the folio lock; those who wait get it in the order in which they came.
   *
   * <p>The lock needs no reference: its word outlives every use of the frame. So the caller, who
   * must not hold a reference while it waits, looks afterwards whether the frame still is what it
   * wanted.
   *
   * @param pfn the frame
   * @throws InterruptedException if the thread is interrupted while it waits; {@link
   *     Waiting#deadlock} if it keeps this very lock
   */
  public void lock(int pfn) throws InterruptedException {
    for (int round = 0; round < WaitQueue.ROUNDS_BEFORE_QUEUE; round++) {
      if (tryLock(pfn)) {
        return;
      }
      if (round == 0 && keepers.get(pfn) == KEPT.get()) {
        throw Waiting.deadlock();
      }
      Waiting.check();
      idle.idle(round, 1_000);
    }
    WaitQueue queue = queue(pfn);
    WaitQueue.Waiter waiter = new WaitQueue.Waiter(lockKey(pfn));
    queue.lock.lock();
    try {
      for (; ; ) {
        long word = state(pfn);
        if ((word & (FrameState.LOCKED | FrameState.WAITERS)) == 0) {
          if (casState(pfn, word, word | FrameState.LOCKED)) {
            return;
          }
        } else if ((word & FrameState.WAITERS) != 0
            || casState(pfn, word, word | FrameState.WAITERS)) {
          break;
        }
      }
      queue.add(waiter);
    } finally {
      queue.lock.unlock();
    }
    boolean locked = false;
    try {
      Waiting.await(idle, () -> waiter.granted, Long.MAX_VALUE);
      locked = true;
    } finally {
      if (!locked) { // interrupted, or the strategy has thrown
        leave(pfn, queue, waiter);
      }
    }
  }

  /**
   * Says that the lock this thread has just taken stays taken when the call of the library is over.
   * Until {@link #unlockKept}, by whatever thread, this thread keeps a lock that others may wait
   * for.
   *
   * @param pfn the frame, locked by this thread
   */
  public void keepLock(int pfn) {
    AtomicInteger kept = KEPT.get();
    keepers.put(pfn, kept);
    kept.incrementAndGet();
  }

  /**
   * Gives a kept lock back.
   *
   * @param pfn the frame
   * @throws IllegalStateException if no thread keeps its lock
   */
  public void unlockKept(int pfn) {
    AtomicInteger kept = keepers.remove(pfn);
    if (kept == null) {
      throw new IllegalStateException("frame " + pfn + " is not locked by a user");
    }
    boolean left = passOn(pfn);
    kept.decrementAndGet();
    if (left) {
      putCacheRef(pfn);
    }
  }

  /**
   * Whether this thread keeps the lock of a folio of any host, and so must not wait for pages:
   * whoever has made them busy may be waiting for that lock.
   *
   * @return the answer
   */
  public static boolean keepsLock() {
    return KEPT.get().get() != 0;
  }

  /**
   * Leaves the page cache's reference to the folio lock, if that is taken: the next unlock drops
   * it.
   *
   * @param pfn a frame that has left its page cache, with the reference of that
   * @return false if the lock is free, and the reference the caller's still
   */
  public boolean leaveToLock(int pfn) {
    for (; ; ) {
      long word = state(pfn);
      if ((word & FrameState.LOCKED) == 0) {
        return false;
      }
      if (casState(pfn, word, word | FrameState.LEFT)) {
        return true;
      }
    }
  }

  /**
   * Whether the folio lock has the reference of the page cache that the frame has left.
   *
   * @param pfn the frame
   * @return the answer, read with volatile semantics
   */
  public boolean isLeftToLock(int pfn) {
    return (state(pfn) & FrameState.LEFT) != 0;
  }

  private void leave(int pfn, WaitQueue queue, WaitQueue.Waiter waiter) {
    queue.lock.lock();
    try {
      if (!waiter.granted) {
        queue.remove(waiter);
        if (queue.first(waiter.key) == null) {
          clearState(pfn, FrameState.WAITERS);
        }
        return;
      }
    } finally {
      queue.lock.unlock();
    }
    unlock(pfn);
  }

  /**
   * Gives the folio lock back, or on to the first who waits for it.
   *
   * @param pfn the frame
   * @throws IllegalStateException if it is not locked
   */
  public void unlock(int pfn) {
    if (passOn(pfn)) {
      putCacheRef(pfn); // the lock's word outlives every use of the frame
    }
  }

  private void putCacheRef(int pfn) {
    put(pfn, Counts.isLent(counts(pfn)) ? Counts.LENT_CACHE_REF : Counts.CACHE_REF);
  }

  /** Unlocks; whether the page cache's reference was left to the lock, and is to be dropped now. */
  private boolean passOn(int pfn) {
    for (; ; ) {
      long word = state(pfn);
      if ((word & FrameState.LOCKED) == 0) {
        throw new IllegalStateException("frame " + pfn + " is not locked");
      }
      if ((word & FrameState.WAITERS) != 0) {
        return handOver(pfn);
      }
      if (casState(pfn, word, word & ~(FrameState.LOCKED | FrameState.LEFT))) {
        return (word & FrameState.LEFT) != 0;
      }
    }
  }

  private boolean handOver(int pfn) {
    WaitQueue queue = queue(pfn);
    queue.lock.lock();
    try {
      WaitQueue.Waiter waiter = queue.first(lockKey(pfn));
      if (waiter == null) { // the last one left before we came
        long all = FrameState.LOCKED | FrameState.WAITERS | FrameState.LEFT;
        return (clearState(pfn, all) & FrameState.LEFT) != 0;
      }
      queue.remove(waiter);
      boolean isLast = queue.first(waiter.key) == null;
      long was = clearState(pfn, FrameState.LEFT | (isLast ? FrameState.WAITERS : 0));
      waiter.granted = true;
      LockSupport.unpark(waiter.thread);
      return (was & FrameState.LEFT) != 0;
    } finally {
      queue.lock.unlock();
    }
  }

  /**
   * Whether the folio is locked.
   *
   * @param pfn the frame
   * @return the answer, read with volatile semantics
   */
  public boolean isLocked(int pfn) {
    return (state(pfn) & FrameState.LOCKED) != 0;
  }

  /**
   * Waits until whoever holds the folio lock now has let go of it.
   *
   * @param pfn the frame
   * @throws InterruptedException as {@link #lock}
   */
  public void awaitUnlocked(int pfn) throws InterruptedException {
    if (isLocked(pfn)) {
      lock(pfn);
      unlock(pfn);
    }
  }

  // ---- flags ----

  /**
   * Whether the operations know what the folio is used for. It is up to date then.
   *
   * @param pfn the frame
   * @return the answer
   */
  public boolean isPrepared(int pfn) {
    return (state(pfn) & FrameState.PREPARED) != 0;
  }

  /**
   * Whether the frame's bytes are its content.
   *
   * @param pfn the frame
   * @return the answer
   */
  public boolean isUptodate(int pfn) {
    return (state(pfn) & FrameState.UPTODATE) != 0;
  }

  /**
   * Says that the frame's bytes, written before, are its content.
   *
   * @param pfn the frame, locked
   */
  public void setUptodate(int pfn) {
    setState(pfn, FrameState.UPTODATE);
  }

  /**
   * Says that the operations know what the folio is used for.
   *
   * @param pfn the frame, locked
   */
  public void setPrepared(int pfn) {
    setState(pfn, FrameState.PREPARED);
  }

  /** The number of the file a frame belongs to, 0 for none. */
  private int owner(int pfn) {
    return FrameState.owner(state(pfn));
  }

  // ---- the direct map ----

  /**
   * Takes a frame out of the direct map and waits for accesses under way to end.
   *
   * @param pfn the frame
   * @throws InterruptedException if the thread is interrupted while it waits; the frame is then in
   *     the direct map still
   */
  public void removeFromDirectMap(int pfn) throws InterruptedException {
    setState(pfn, FrameState.DIRECT_REMOVED);
    Accesses.UnderWay underWay = accesses.underWay();
    if (underWay != null) {
      underWay.concerns(pfn);
      boolean over = false;
      try {
        underWay.await(idle);
        over = true;
      } finally {
        if (!over) {
          restoreToDirectMap(pfn);
        }
      }
    }
  }

  /**
   * Puts a frame back into the direct map.
   *
   * @param pfn the frame
   */
  public void restoreToDirectMap(int pfn) {
    clearState(pfn, FrameState.DIRECT_REMOVED);
  }

  /**
   * Whether a frame can be reached through the direct map: it is in use, and has not been removed.
   *
   * @param pfn a number from 1 to the limit
   * @return the answer
   */
  public boolean isDirectMapped(int pfn) {
    return CHUNKS.getAcquire(stateChunks, pfn >>> CHUNK_SHIFT) != null
        && Counts.isInUse(counts(pfn))
        && !isRemovedFromDirectMap(pfn);
  }

  /**
   * Whether a frame has been taken out of the direct map.
   *
   * @param pfn the frame
   * @return the answer
   */
  public boolean isRemovedFromDirectMap(int pfn) {
    return (state(pfn) & FrameState.DIRECT_REMOVED) != 0;
  }

  /**
   * Announces an access through the direct map; a removal waits until it {@linkplain Accesses#end
   * ends}.
   *
   * @param pfn a number from 1 to the limit
   * @return the access; 0, and nothing announced, if the frame is not in the direct map
   */
  public long beginDirectAccess(int pfn) {
    long access = accesses.begin(pfn, 1);
    if (isDirectMapped(pfn)) { // looked at after the announcement
      return access;
    }
    accesses.end(access);
    return 0;
  }

  /**
   * Whether a conversion has frozen a frame.
   *
   * @param pfn a frame in a page cache
   * @return the answer
   */
  public boolean isFrozen(int pfn) {
    return counts(pfn) < 0;
  }

  // ---- allocation ----

  /**
   * Promises frames: after this succeeds, so many calls of {@link #allocate} will find one.
   *
   * @param frames how many
   * @return false, and nothing promised, if there are not that many
   */
  public boolean reserve(long frames) {
    for (; ; ) {
      long now = available.get();
      if (now < frames) {
        return false;
      }
      if (available.compareAndSet(now, now - frames)) {
        return true;
      }
    }
  }

  /**
   * Gives promised frames back unused.
   *
   * @param frames how many
   */
  public void unreserve(long frames) {
    available.addAndGet(frames);
  }

  /**
   * Takes a promised frame: not up to date, unlocked, in the direct map, frozen. Its old bytes are
   * still there, so nobody may see it before it is zeroed. {@link #thaw} brings it to life.
   *
   * @param owner the file it is for
   * @return the frame
   */
  public int allocate(Owner owner) {
    int pfn;
    do {
      pfn = pop();
      while (pfn == 0) {
        long last = fresh.get();
        if (last >= limit) {
          throw new IllegalStateException("allocated without a promise: limit=" + limit);
        }
        makeChunk((int) last + 1); // first, since it may find no memory
        if (fresh.compareAndSet(last, last + 1)) {
          pfn = (int) last + 1;
        }
      }
    } while (!claim(pfn, owner));
    owner.frames.incrementAndGet();
    return pfn;
  }

  /** Gives a free frame to a file, unless its memory has failed; then this is where it ends. */
  private boolean claim(int pfn, Owner owner) {
    for (; ; ) {
      long word = state(pfn);
      if ((word & FrameState.POISONED) != 0) {
        return false;
      }
      if (casState(pfn, word, FrameState.withOwner(word | FrameState.ALLOCATED, owner.number))) {
        return true;
      }
    }
  }

  private void setOwner(int pfn, int owner) {
    for (; ; ) {
      long word = state(pfn);
      if (casState(pfn, word, FrameState.withOwner(word, owner))) {
        return;
      }
    }
  }

  /**
   * Unfreezes an allocated frame. It adds, where the kernel stores, because late lookups may have
   * added one that they are about to take back.
   *
   * @param pfn the frame
   * @param unit the references it starts with
   */
  public void thaw(int pfn, long unit) {
    WORDS.getAndAdd(counters(pfn), position(pfn), unit + Counts.FROZEN);
  }

  /**
   * Gives back a frame that never came to be used: its file hears nothing of it.
   *
   * @param pfn the frame
   * @param owner the file it was allocated for
   * @param unit the references it was thawed with; 0 if it is still frozen
   */
  public void discard(int pfn, Owner owner, long unit) {
    setOwner(pfn, 0);
    owner.forget();
    if (unit == 0) {
      release(pfn);
    } else {
      put(pfn, unit);
    }
  }

  /** Ends the life of a frame whose last put has frozen it. */
  private void free(int pfn) {
    Owner owner = owners[owner(pfn)];
    try {
      if (owner != null) {
        owner.listener.freed(pfn);
      }
    } finally {
      release(pfn);
      if (owner != null) {
        owner.forget();
        owner.listener.isFree();
      }
    }
  }

  private void release(int pfn) {
    long was =
        clearState(
            pfn,
            FrameState.UPTODATE
                | FrameState.PREPARED
                | FrameState.DIRECT_REMOVED
                | FrameState.ALLOCATED
                | FrameState.OWNER_MASK);
    if ((was & FrameState.POISONED) != 0) {
      takenOut.incrementAndGet();
      return;
    }
    push(pfn);
    available.incrementAndGet();
  }

  // ---- memory failure ----

  /** What came of {@link #poison}. */
  public enum Poisoning {
    /** The frame is poisoned by this call. */
    DONE,
    /** It was poisoned before. */
    ALREADY,
    /** It is free, and every free frame is promised to somebody. */
    PROMISED
  }

  /**
   * Marks a frame as failed, for good. A frame in use is taken out when its last reference goes; a
   * free one is taken out now, that is, skipped by the allocation that meets it in the free list.
   *
   * <p>Marking, allocating and releasing are each one atomic change of the state word, so they come
   * one after the other. A free frame is marked only against a promise, which is never redeemed: so
   * there still is a good frame for every other promise.
   *
   * @param pfn a number from 1 to the limit
   * @return what came of it
   */
  public Poisoning poison(int pfn) {
    makeChunk(pfn);
    for (; ; ) {
      long word = state(pfn);
      if ((word & FrameState.POISONED) != 0) {
        return Poisoning.ALREADY;
      }
      boolean free = (word & FrameState.ALLOCATED) == 0;
      if (free && !reserve(1)) {
        return Poisoning.PROMISED;
      }
      if (casState(pfn, word, word | FrameState.POISONED)) {
        poisoned.incrementAndGet();
        if (free) {
          takenOut.incrementAndGet();
        }
        return Poisoning.DONE;
      }
      if (free) {
        unreserve(1);
      }
    }
  }

  /**
   * Whether a frame's memory has failed.
   *
   * @param pfn the frame
   * @return the answer; true stays true
   */
  public boolean isPoisoned(int pfn) {
    return (state(pfn) & FrameState.POISONED) != 0;
  }

  /**
   * Frames whose memory has failed, in use or not.
   *
   * @return how many
   */
  public long poisoned() {
    return poisoned.get();
  }

  /**
   * The file that a poisoned frame belongs to. No reference is needed: such a frame may leave its
   * file, which then does not find it any more, but never comes to another.
   *
   * @param pfn a poisoned frame
   * @return what {@link #newOwner} was given; null if the frame is free, or never came to be used
   */
  public @Nullable Listener listener(int pfn) {
    long word = state(pfn);
    Owner owner = (word & FrameState.ALLOCATED) == 0 ? null : owners[FrameState.owner(word)];
    return owner == null ? null : owner.listener;
  }

  /** A file, as it is told of its frames. */
  @FunctionalInterface
  public interface Listener {
    /**
     * The last reference on a frame is gone: on the thread that dropped it, while the frame is
     * still frozen and nobody else's. The frame is freed even if this throws.
     *
     * @param pfn the frame
     */
    void freed(int pfn);

    /** A frame of which this was told has gone back: the thread has nothing more to do with it. */
    default void isFree() {}
  }

  /**
   * A file, as the owner of frames. It is remembered until it is closed and its last frame free.
   */
  public final class Owner {
    private final int number;
    private final AtomicLong frames = new AtomicLong(1); // one for being open
    private final Listener listener;

    private Owner(int number, Listener listener) {
      this.number = number;
      this.listener = listener;
    }

    /** Says that the file will allocate no more. Its frames may live on as orphans. */
    public void close() {
      forget();
    }

    private void forget() {
      if (frames.decrementAndGet() == 0) {
        remove(this);
      }
    }
  }

  /**
   * Registers a file that will own frames.
   *
   * @param listener told of each of its frames whose last reference is gone
   * @return the owner
   */
  public Owner newOwner(Listener listener) {
    ownersLock.lock();
    try {
      int number = ownerNumbers.nextClearBit(1);
      Owner owner = new Owner(number, listener);
      @Nullable Owner[] grown =
          number < owners.length ? owners : Arrays.copyOf(owners, 2 * owners.length);
      grown[number] = owner;
      owners = grown;
      ownerNumbers.set(number);
      return owner;
    } finally {
      ownersLock.unlock();
    }
  }

  /** Forgets a file of which no frame is left. */
  private void remove(Owner owner) {
    ownersLock.lock();
    try {
      owners[owner.number] = null;
      ownerNumbers.clear(owner.number);
    } finally {
      ownersLock.unlock();
    }
  }

  /**
   * The files that are open or have frames.
   *
   * @return what {@link #newOwner} was given, as it was at one moment
   */
  public List<Listener> listeners() {
    List<Listener> listeners = new ArrayList<>();
    for (Owner owner : owners) {
      if (owner != null) {
        listeners.add(owner.listener);
      }
    }
    return listeners;
  }

  /**
   * The highest frame number that was ever in use.
   *
   * @return the number; 0 if there was none
   */
  public int highest() {
    return (int) fresh.get();
  }

  /**
   * Whether a frame is somebody's.
   *
   * @param pfn a number from 1 to {@link #highest}
   * @return the answer, read with volatile semantics
   */
  public boolean isInUse(int pfn) {
    return Counts.isInUse(counts(pfn));
  }

  /**
   * What is wrong with a frame to which nothing is being done.
   *
   * @param pfn a number from 1 to {@link #highest}
   * @return what is wrong; null if nothing is
   */
  public @Nullable String anomaly(int pfn) {
    long counts = counts(pfn);
    long state = state(pfn);
    boolean inUse = Counts.isInUse(counts);
    if (!inUse && (counts & ~Counts.FROZEN) != 0) {
      return "is free, and held: " + Counts.toString(counts);
    }
    if (inUse && counts < 0) {
      return "is frozen";
    }
    if (inUse != ((state & FrameState.ALLOCATED) != 0)) {
      return inUse ? "is in use, and not allocated" : "is free, and allocated";
    }
    if ((state & FrameState.LOCKED) != 0 && !keepers.containsKey(pfn)) {
      return "is locked by nobody";
    }
    if ((state & FrameState.WAITERS) != 0) {
      return "has somebody queue for its lock";
    }
    if ((counts & Counts.WAITED) != 0 && !watchers.containsKey(pfn)) {
      return "is waited for by nobody";
    }
    return null;
  }

  /**
   * Frames in use or promised.
   *
   * @return how many
   */
  public long used() {
    return limit - available.get() - takenOut.get();
  }

  /**
   * All frames.
   *
   * @return how many
   */
  public int limit() {
    return limit;
  }

  private void makeChunk(int pfn) {
    int i = pfn >>> CHUNK_SHIFT;
    if (CHUNKS.getAcquire(stateChunks, i) == null) {
      long[] made = new long[CHUNK_FRAMES];
      Arrays.fill(made, Counts.FREE);
      CHUNKS.compareAndSet(countChunks, i, null, made);
      CHUNKS.compareAndSet(stateChunks, i, null, new long[CHUNK_FRAMES]); // after its counts
    }
  }

  private int pop() {
    for (; ; ) {
      long head = freeHead.get();
      int pfn = (int) (head & PFN_MASK);
      if (pfn == 0) {
        return 0;
      }
      // If the frame has been taken meanwhile this is its owner, and the tag makes the CAS fail.
      long next = FrameState.owner(state(pfn)) & PFN_MASK;
      if (freeHead.compareAndSet(head, nextTag(head) | next)) {
        return pfn;
      }
    }
  }

  private void push(int pfn) {
    for (; ; ) {
      long head = freeHead.get();
      int next = (int) (head & PFN_MASK);
      for (; ; ) {
        long word = state(pfn);
        if (casState(pfn, word, FrameState.withOwner(word, next))) {
          break;
        }
      }
      if (freeHead.compareAndSet(head, nextTag(head) | pfn)) {
        return;
      }
    }
  }

  private static long nextTag(long head) {
    return (head & ~PFN_MASK) + (1L << PFN_BITS);
  }
}
