package io.github.guestmemfd.memory;

import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.IdleStrategy;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.function.LongPredicate;

/**
 * The counts of the frames of a host: takes and drops references, freezes counts and waits for them
 * to change.
 *
 * <p><b>Assumptions.</b> (1) A caller names frames that have been handed out at least once. (2) A
 * thread that takes a reference by {@link #tryGet} then checks that the frame still is what it
 * wanted, and puts the reference if not.
 *
 * <p><b>Guarantees.</b> The put of the last reference swaps it for frozen in one step, so a frame
 * dies exactly once and never comes back. A {@code tryGet} that meets a frozen frame has added to
 * it all the same, and takes that back; by then the frame may be in use again, and this may be its
 * last put. No field of a counts word ever corrupts its neighbour.
 *
 * <p><b>Progress.</b> Taking a reference is one fetch-and-add. Dropping one is lock-free; if a
 * thread waits for it, it wakes that thread.
 */
abstract class FrameCounts extends FrameWords {
  private final IdleStrategy idle;

  /** Where threads wait for a frame. */
  final FrameQueues queues = new FrameQueues();

  /** What to run when the counts of a frame change. */
  private final ConcurrentMap<Integer, Runnable> watchers = new ConcurrentHashMap<>();

  /**
   * Makes the counts of frames that have never been in use.
   *
   * @param limit how many frames there are
   * @param idle how threads wait
   */
  FrameCounts(int limit, IdleStrategy idle) {
    super(limit);
    this.idle = idle;
  }

  /** Ends the life of a frame whose last put has frozen it. */
  abstract void free(int pfn);

  // ---- getting ----

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
  public final boolean tryGet(int pfn, long unit) {
    long[] chunk = counters(pfn);
    int at = position(pfn);
    if (unit == Counts.SAFE || unit == Counts.PIN) {
      return tryGetAfterLook(pfn, chunk, at, unit);
    }
    long old = SharedLongs.getAndAdd(chunk, at, unit);
    return Counts.isFarFromLimits(old + unit) || letStandOrTakeBack(pfn, chunk, at, old, unit);
  }

  /**
   * As {@link #tryGet}, for a caller that has only a number: the frame need never have been in use.
   *
   * @param pfn a number from 1 to the limit
   * @param unit as for {@code tryGet}
   * @return as {@code tryGet}
   */
  public final boolean tryGetByNumber(int pfn, long unit) {
    return isMade(pfn) && tryGet(pfn, unit);
  }

  /** The rest of {@link #tryGet}: keeps what was added, or takes it back. */
  private boolean letStandOrTakeBack(int pfn, long[] chunk, int at, long old, long unit) {
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
      long old = SharedLongs.getVolatile(chunk, at);
      if (old < 0 || (unit == Counts.SAFE && !Counts.isLent(old))) {
        return false;
      }
      if (Counts.isTooMany(old + unit, unit)) {
        throw tooMany(pfn, old);
      }
      if (SharedLongs.compareAndSet(chunk, at, old, old + unit)) {
        return true;
      }
    }
  }

  /**
   * Counts a reference that the caller holds as a safe one: the second step of a holder that raises
   * the counts one after the other. {@link #put} with {@link Counts#SAFE} takes it back.
   *
   * @param pfn the frame
   * @throws IllegalStateException if there are too many safe holders already; nothing is changed
   */
  public final void markSafe(int pfn) {
    long[] chunk = counters(pfn);
    int at = position(pfn);
    long old = SharedLongs.getAndAdd(chunk, at, Counts.SAFE);
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
   * late. If a mistaken put of another caller has dropped it, nothing is left to do.
   *
   * @param pfn the frame
   * @param unit what {@code tryGet} took
   */
  public final void undoGet(int pfn, long unit) {
    takeBack(pfn, counters(pfn), position(pfn), unit);
  }

  /**
   * Takes back what was added in vain. On a frame that is no longer frozen this is a put.
   *
   * <p>A mistaken put of that kind may have come first: it cannot tell what was added from a
   * holder. Then nothing is left to take back, and the counts are right.
   */
  private void takeBack(int pfn, long[] chunk, int at, long unit) {
    for (; ; ) {
      long old = SharedLongs.getVolatile(chunk, at);
      if (!Counts.hasStill(old, unit)) {
        return;
      }
      if (old >= 0
          ? subtract(pfn, chunk, at, old, unit)
          : SharedLongs.compareAndSet(chunk, at, old, old - unit)) {
        return;
      }
    }
  }

  // ---- putting ----

  /**
   * Drops references; the last put of all frees the frame, on this thread.
   *
   * <p>It checks the counts before it subtracts, so that a put without a get changes nothing. It
   * checks its own kind alone, which no get of another thread, refused or not, lowers.
   *
   * @param pfn the frame
   * @param unit what {@link #tryGet} took
   * @throws IllegalStateException if that is not held; nothing is dropped
   */
  public final void put(int pfn, long unit) {
    long[] chunk = counters(pfn);
    int at = position(pfn);
    long old = SharedLongs.getVolatile(chunk, at);
    if (!Counts.isPlainPut(old, unit) || !SharedLongs.compareAndSet(chunk, at, old, old - unit)) {
      putClosely(pfn, chunk, at, unit);
    }
  }

  /** The rest of {@link #put}: the last one, one that is waited for, a mistake, or a lost race. */
  private void putClosely(int pfn, long[] chunk, int at, long unit) {
    while (!subtractIfHeld(pfn, chunk, at, SharedLongs.getVolatile(chunk, at), unit)) {
      Thread.onSpinWait(); // a hint: another thread has just changed the counts
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

  /**
   * Checks that there is a guest-side holder. For a caller that drops one in several steps, of
   * which the first does not check it.
   *
   * @param pfn the frame
   * @throws IllegalStateException if there is none
   */
  public final void requireSafe(int pfn) {
    long counts = counts(pfn);
    if (!Counts.has(counts, Counts.SAFE)) {
      throw putWithoutGet(pfn, counts);
    }
  }

  private static IllegalStateException putWithoutGet(int pfn, long counts) {
    return new IllegalStateException(
        "frame " + pfn + ": put without get: " + Counts.toString(counts));
  }

  /** Replaces counts that are not frozen by less; without a holder left, freezes and frees. */
  private boolean subtract(int pfn, long[] chunk, int at, long old, long unit) {
    long word = old - unit;
    boolean last = Counts.isUnheld(word);
    if (!SharedLongs.compareAndSet(chunk, at, old, last ? Counts.FREE : word)) {
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

  // ---- freezing ----

  /**
   * Freezes a frame if {@link Counts#isCachesAlone its page cache alone} holds it: no reference can
   * be taken until {@link #unfreeze}, and there is none to be dropped. The kernel's {@code
   * folio_ref_freeze}.
   *
   * @param pfn the frame
   * @param condition what else the counts must satisfy
   * @return whether it is frozen
   */
  public final boolean freeze(int pfn, LongPredicate condition) {
    long[] chunk = counters(pfn);
    int at = position(pfn);
    for (; ; ) {
      long old = SharedLongs.getVolatile(chunk, at);
      if (!Counts.isCachesAlone(old) || !condition.test(old)) {
        return false;
      }
      if (SharedLongs.compareAndSet(chunk, at, old, old + Counts.FROZEN)) {
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
  public final void unfreeze(int pfn) {
    SharedLongs.getAndAdd(counters(pfn), position(pfn), Counts.FROZEN);
  }

  /**
   * Unfreezes an allocated frame. It adds, where the kernel stores, because late lookups may have
   * added one that they are about to take back.
   *
   * @param pfn the frame
   * @param unit the references it starts with
   */
  public final void thaw(int pfn, long unit) {
    SharedLongs.getAndAdd(counters(pfn), position(pfn), unit + Counts.FROZEN);
  }

  /**
   * Whether a conversion has frozen a frame.
   *
   * @param pfn a frame in a page cache
   * @return the answer
   */
  public final boolean isFrozen(int pfn) {
    return counts(pfn) < 0;
  }

  /**
   * Whether a frame is in use: held, or frozen in its page cache.
   *
   * @param pfn a number from 1 to {@link FrameTable#highest}
   * @return the answer, read with volatile semantics
   */
  public final boolean isInUse(int pfn) {
    return Counts.isInUse(counts(pfn));
  }

  // ---- waiting ----

  /** Wakes the thread that waits for the counts of a frame, and calls the frame's watcher. */
  private void countsChanged(int pfn) {
    queues.of(pfn).wake(FrameQueues.countKey(pfn), FrameQueues.countKey(pfn) + 1);
    Runnable watcher = Announce.read(watchers).get(pfn);
    if (watcher != null) {
      watcher.run();
    }
  }

  /**
   * Has something run, on the thread that changes them, after each change of the counts of a frame
   * by which a conversion may become possible. The first may come before this returns.
   *
   * <p>The watcher is entered before the mark in the counts that makes other threads look for it;
   * so a caller that reads the counts after this has seen every change that the watcher was not
   * told of.
   *
   * @param pfn a frame that the caller keeps from being freed and that no other thread waits for
   * @param watcher must be quick, and must not throw
   */
  public final void watch(int pfn, Runnable watcher) {
    Announce.write(watchers).put(pfn, watcher);
    SharedLongs.getAndBitwiseOr(counters(pfn), position(pfn), Counts.WAITED);
  }

  /**
   * Ends {@link #watch}. A change that is under way may still be told.
   *
   * @param pfn the frame
   */
  public final void unwatch(int pfn) {
    SharedLongs.getAndBitwiseAnd(counters(pfn), position(pfn), ~Counts.WAITED);
    Announce.write(watchers).remove(pfn);
  }

  /** Whether a frame is watched. */
  final boolean isWatched(int pfn) {
    return Announce.read(watchers).containsKey(pfn);
  }

  /**
   * Waits for the counts to satisfy a condition, woken by every put and every {@link #markSafe}.
   *
   * @param pfn a frame that the caller keeps from being freed
   * @param condition the condition on the counts word
   * @param nanos the longest time to wait
   * @return whether the condition held before the time was up
   * @throws InterruptedException if the thread is interrupted while it waits
   */
  public final boolean awaitCounts(int pfn, LongPredicate condition, long nanos)
      throws InterruptedException {
    long[] chunk = counters(pfn);
    int at = position(pfn);
    SharedLongs.getAndBitwiseOr(chunk, at, Counts.WAITED);
    try {
      return queues
          .of(pfn)
          .await(
              FrameQueues.countKey(pfn),
              () -> condition.test(SharedLongs.getVolatile(chunk, at)),
              idle,
              nanos);
    } finally {
      // One converter at most waits for a frame: it holds the busy bit of the frame's slot.
      SharedLongs.getAndBitwiseAnd(chunk, at, ~Counts.WAITED);
    }
  }
}
