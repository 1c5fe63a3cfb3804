package io.github.guestmemfd.memory;

import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.LockOrder;
import io.github.guestmemfd.spi.Wait;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * The folio locks: a bit in the state word of each frame, and a queue for the threads that wait.
 *
 * <p><b>Assumptions.</b> A thread that waits for a lock holds no reference on the frame, and looks
 * afterwards whether the frame still is what it wanted: the lock's word outlives every use of the
 * frame.
 *
 * <p><b>Guarantees.</b> A lock that is waited for is handed over in order of arrival: it stays
 * taken, and the waiter is told that it has been granted. The waiters bit is set and cleared under
 * the queue's lock, so an unlock that finds it clear has no waiter to look for.
 *
 * <p><b>Progress.</b> To take a free lock, or to give one back that is not waited for, is
 * lock-free.
 */
final class FolioLocks {
  /** How many folio locks this thread keeps, of all hosts; lowered by any thread that unlocks. */
  private static final ThreadLocal<AtomicInteger> KEPT =
      ThreadLocal.withInitial(AtomicInteger::new);

  private final FrameCounts frames;
  private final IdleStrategy idle;

  /** The threads, by their counters, that keep the locks of frames beyond a call. */
  private final ConcurrentMap<Integer, AtomicInteger> keepers = new ConcurrentHashMap<>();

  /**
   * Makes the locks of frames.
   *
   * @param frames their words and queues
   * @param idle how threads wait
   */
  FolioLocks(FrameCounts frames, IdleStrategy idle) {
    this.frames = frames;
    this.idle = idle;
  }

  // ---- taking ----

  /** See {@link FrameTable#tryLock}. */
  boolean tryLock(int pfn) {
    for (; ; ) {
      long word = frames.state(pfn);
      if (!FrameState.isFreeToLock(word)) {
        return false;
      }
      if (frames.casState(pfn, word, word | FrameState.LOCKED)) {
        taken(pfn);
        return true;
      }
    }
  }

  /** See {@link FrameTable#lock}. */
  void lock(int pfn) throws InterruptedException {
    LockOrder.beforeWait(LockClass.FOLIO_LOCK, this, pfn);
    if (tryLock(pfn)) {
      return;
    }
    if (Announce.read(keepers).get(pfn) == KEPT.get()) {
      throw Wait.deadlock();
    }
    if (Wait.upTo(idle, Wait.FOREVER).briefly(() -> tryLock(pfn))) {
      return;
    }
    WaitQueue queue = frames.queues.of(pfn);
    WaitQueue.Waiter waiter = new WaitQueue.Waiter(FrameQueues.lockKey(pfn));
    queue.lock.lock();
    try {
      for (; ; ) {
        long word = frames.state(pfn);
        if (FrameState.isFreeToLock(word)) {
          if (frames.casState(pfn, word, word | FrameState.LOCKED)) {
            taken(pfn);
            return;
          }
        } else if (FrameState.hasWaiters(word)
            || frames.casState(pfn, word, word | FrameState.WAITERS)) {
          break;
        }
      }
      queue.add(waiter);
    } finally {
      queue.lock.unlock();
    }
    try {
      Wait.await(idle, () -> Announce.read(waiter).granted, Wait.FOREVER);
    } catch (Throwable e) { // interrupted, or the strategy has thrown
      giveUp(pfn, queue, waiter);
      throw e;
    }
    taken(pfn);
  }

  private void taken(int pfn) {
    LockOrder.taken(LockClass.FOLIO_LOCK, this, pfn, pfn + 1);
  }

  private void givenBack(int pfn) {
    LockOrder.givenBack(LockClass.FOLIO_LOCK, this, pfn, pfn + 1);
  }

  /**
   * Removes a waiter that gives up; if it has been granted the lock meanwhile, passes the lock on.
   */
  private void giveUp(int pfn, WaitQueue queue, WaitQueue.Waiter waiter) {
    queue.lock.lock();
    try {
      if (!Announce.read(waiter).granted) {
        queue.remove(waiter);
        if (queue.first(waiter.key) == null) {
          frames.clearState(pfn, FrameState.WAITERS);
        }
        return;
      }
    } finally {
      queue.lock.unlock();
    }
    if (passOn(pfn)) {
      putCacheRef(pfn);
    }
  }

  /** See {@link FrameTable#awaitUnlocked}. */
  void awaitUnlocked(int pfn) throws InterruptedException {
    LockOrder.beforeWait(LockClass.FOLIO_LOCK, this, pfn);
    if (FrameState.isLocked(frames.state(pfn))) {
      lock(pfn);
      unlock(pfn);
    }
  }

  // ---- giving back ----

  /** See {@link FrameTable#unlock}. */
  void unlock(int pfn) {
    boolean left = passOn(pfn);
    givenBack(pfn);
    if (left) {
      putCacheRef(pfn); // the lock's word outlives every use of the frame
    }
  }

  private void putCacheRef(int pfn) {
    frames.put(pfn, Counts.isLent(frames.counts(pfn)) ? Counts.LENT_CACHE_REF : Counts.CACHE_REF);
  }

  /** Unlocks; whether the page cache's reference was left to the lock, and is to be dropped now. */
  private boolean passOn(int pfn) {
    for (; ; ) {
      long word = frames.state(pfn);
      if (!FrameState.isLocked(word)) {
        throw new IllegalStateException("frame " + pfn + " is not locked");
      }
      if (FrameState.hasWaiters(word)) {
        return handOver(pfn);
      }
      if (frames.casState(pfn, word, FrameState.unlocked(word))) {
        return FrameState.isLeft(word);
      }
    }
  }

  private boolean handOver(int pfn) {
    WaitQueue queue = frames.queues.of(pfn);
    queue.lock.lock();
    try {
      WaitQueue.Waiter waiter = queue.first(FrameQueues.lockKey(pfn));
      if (waiter == null) { // the last waiter has left meanwhile
        long all = FrameState.LOCKED | FrameState.WAITERS | FrameState.LEFT;
        return FrameState.isLeft(frames.clearState(pfn, all));
      }
      queue.remove(waiter);
      boolean isLast = queue.first(waiter.key) == null;
      long was = frames.clearState(pfn, FrameState.LEFT | (isLast ? FrameState.WAITERS : 0));
      Announce.write(waiter).granted = true;
      Wait.unpark(waiter.thread);
      return FrameState.isLeft(was);
    } finally {
      queue.lock.unlock();
    }
  }

  /** See {@link FrameTable#leaveToLock}. */
  boolean leaveToLock(int pfn) {
    for (; ; ) {
      long word = frames.state(pfn);
      if (!FrameState.isLocked(word)) {
        return false;
      }
      if (frames.casState(pfn, word, word | FrameState.LEFT)) {
        return true;
      }
    }
  }

  /** See {@link FrameTable#isLeftToLock}. */
  boolean isLeftToLock(int pfn) {
    return FrameState.isLeft(frames.state(pfn));
  }

  // ---- locks that are kept beyond a call ----

  /** See {@link FrameTable#keepLock}. */
  void keepLock(int pfn) {
    AtomicInteger kept = KEPT.get();
    Announce.write(keepers).put(pfn, kept);
    Announce.write(kept).incrementAndGet();
    givenBack(pfn); // it is the user's now
  }

  /** See {@link FrameTable#unlockKept}. */
  void unlockKept(int pfn) {
    AtomicInteger kept = Announce.write(keepers).remove(pfn);
    if (kept == null) {
      throw new IllegalStateException("frame " + pfn + " is not locked by a user");
    }
    boolean left = passOn(pfn);
    Announce.write(kept).decrementAndGet();
    if (left) {
      putCacheRef(pfn);
    }
  }

  /** See {@link FrameTable#keepsLock}. */
  static boolean keepsLock() {
    return Announce.read(KEPT.get()).get() != 0;
  }

  /** Whether any thread keeps the lock of a frame. */
  boolean isKept(int pfn) {
    return Announce.read(keepers).containsKey(pfn);
  }
}
