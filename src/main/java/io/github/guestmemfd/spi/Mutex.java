package io.github.guestmemfd.spi;

import java.util.Objects;
import java.util.concurrent.locks.ReentrantLock;

/**
 * A lock for short sections, whose holder waits for nothing: a {@link ReentrantLock} that announces
 * itself to a {@link Scheduler}.
 */
public final class Mutex {
  private final ReentrantLock lock = new ReentrantLock();

  /** Makes a lock that is free. */
  public Mutex() {}

  /** Takes the lock, whether or not the thread is interrupted. The holder may take it again. */
  public void lock() {
    Scheduler scheduler = Exploration.scheduler();
    if (scheduler != null && !lock.isHeldByCurrentThread()) {
      scheduler.acquire(this);
    }
    lock.lock();
  }

  /**
   * Gives the lock back.
   *
   * @throws IllegalStateException if this thread does not hold it
   */
  public void unlock() {
    if (!lock.isHeldByCurrentThread()) {
      throw new IllegalStateException("expected a lock that this thread holds");
    }
    Scheduler scheduler = Exploration.scheduler();
    if (scheduler != null && lock.getHoldCount() == 1) {
      scheduler.release(this);
    }
    lock.unlock();
  }

  /**
   * Whether the calling thread holds the lock.
   *
   * @return the answer
   */
  public boolean isHeldByCurrentThread() {
    return lock.isHeldByCurrentThread();
  }

  /**
   * Whether a thread waits for the lock.
   *
   * @param thread the thread
   * @return the answer, for tests; it may be out of date when it is returned
   */
  public boolean hasQueuedThread(Thread thread) {
    return lock.hasQueuedThread(Objects.requireNonNull(thread, "thread"));
  }
}
