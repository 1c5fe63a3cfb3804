package io.github.guestmemfd.memory;

import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.Mutex;
import io.github.guestmemfd.spi.Wait;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;

/**
 * A queue of threads that wait for a word to change, in order of arrival, each under a key.
 *
 * <p><b>Assumptions.</b> (1) A thread that makes a condition true changes the word by an atomic
 * read-modify-write, or follows the store with a full fence, and only then calls {@link #wake}. (2)
 * The condition reads the word with volatile semantics.
 *
 * <p><b>Guarantees.</b> A waiter announces itself before it looks at the condition for the last
 * time; a waker changes the word before it looks for waiters. At least one of the two sees the
 * other, so no wake-up is lost. The queue looks at no condition and idles by no strategy while it
 * holds its lock.
 *
 * <p><b>Progress.</b> A wake without waiters is one volatile read.
 */
public final class WaitQueue {

  /** A thread in the queue. */
  static final class Waiter {
    final Thread thread = Thread.currentThread();
    final long key;

    /** Set once, by the thread that hands this waiter what it waits for. */
    volatile boolean granted;

    @Nullable Waiter previous;
    @Nullable Waiter next;

    Waiter(long key) {
      this.key = key;
    }
  }

  final Mutex lock = new Mutex(LockClass.WAIT_QUEUE_LOCK);
  private @Nullable Waiter head;
  private @Nullable Waiter tail;

  /** Changed under the lock, read without. */
  private final AtomicInteger size = new AtomicInteger();

  /** Makes an empty queue. */
  public WaitQueue() {}

  /**
   * Waits until the condition holds, the time is up, or the thread is interrupted.
   *
   * @param key what the caller waits for
   * @param condition true when the wait is over; called often, and must not block
   * @param idle how to wait
   * @param nanos the longest time to wait in nanoseconds; {@link Long#MAX_VALUE} for ever
   * @return true when the condition held, false when the time was up first
   * @throws InterruptedException if the thread is interrupted while the condition does not hold
   */
  public boolean await(long key, BooleanSupplier condition, IdleStrategy idle, long nanos)
      throws InterruptedException {
    Wait wait = Wait.upTo(idle, nanos);
    if (wait.briefly(condition)) {
      return true;
    }
    if (wait.isTimeUp()) {
      return false;
    }
    Waiter waiter = new Waiter(key);
    lock.lock();
    try {
      add(waiter);
    } finally {
      lock.unlock();
    }
    try {
      return wait.until(condition); // looks first: see the guarantees
    } finally {
      lock.lock();
      try {
        remove(waiter);
      } finally {
        lock.unlock();
      }
    }
  }

  /**
   * Wakes every waiter with a key in a range, so that it looks at its condition again.
   *
   * @param from the first key
   * @param to the key after the last
   * @return whether any thread was queued, with whatever key
   */
  public boolean wake(long from, long to) {
    if (Announce.read(size).get() == 0) {
      return false;
    }
    lock.lock();
    try {
      for (Waiter w = head; w != null; w = w.next) {
        if (w.key >= from && w.key < to) {
          Wait.unpark(w.thread);
        }
      }
    } finally {
      lock.unlock();
    }
    return true;
  }

  /** The waiter with this key that came first, or null. The caller holds the lock. */
  @Nullable Waiter first(long key) {
    Waiter w = head;
    while (w != null && w.key != key) {
      w = w.next;
    }
    return w;
  }

  /** Appends a waiter. The caller holds the lock. */
  void add(Waiter waiter) {
    Waiter last = tail;
    waiter.previous = last;
    if (last == null) {
      head = waiter;
    } else {
      last.next = waiter;
    }
    tail = waiter;
    Announce.write(size).incrementAndGet();
  }

  /** Takes a waiter out. The caller holds the lock. */
  void remove(Waiter waiter) {
    Waiter before = waiter.previous;
    Waiter after = waiter.next;
    if (before == null) {
      head = after;
    } else {
      before.next = after;
    }
    if (after == null) {
      tail = before;
    } else {
      after.previous = before;
    }
    Announce.write(size).decrementAndGet();
  }

  /**
   * How many threads are queued.
   *
   * @return the number, which may be out of date when it is returned
   */
  public int size() {
    return Announce.read(size).get();
  }
}
