package io.github.guestmemfd.spi;

import java.util.Objects;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * A lock for short sections: a {@link ReentrantLock} that announces itself to a {@link Scheduler},
 * and that {@link LockOrder} checks if it has a class. Its holder waits for nothing, unless its
 * class says so.
 */
public final class Mutex {
  private final ReentrantLock lock = new ReentrantLock();

  /** Null for a program's own lock, whose order the program knows. */
  private final @Nullable LockClass lockClass;

  /** Makes a lock of a program's own, which is free. Its order is not checked. */
  public Mutex() {
    this.lockClass = null;
  }

  /**
   * Makes a lock of the library, which is free.
   *
   * @param lockClass what kind of lock it is
   */
  public Mutex(LockClass lockClass) {
    this.lockClass = Objects.requireNonNull(lockClass, "lockClass");
  }

  /** Takes the lock, whether or not the thread is interrupted. The holder may take it again. */
  public void lock() {
    if (lockClass != null && !lock.isHeldByCurrentThread()) {
      LockOrder.beforeWait(lockClass, this, 0);
    }
    Scheduler scheduler = Exploration.scheduler();
    if (scheduler != null && !lock.isHeldByCurrentThread()) {
      scheduler.acquire(this);
    }
    lock.lock();
    if (lockClass != null && lock.getHoldCount() == 1) {
      LockOrder.taken(lockClass, this, 0, 1);
    }
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
    if (lockClass != null && !lock.isHeldByCurrentThread()) {
      LockOrder.givenBack(lockClass, this, 0, 1);
    }
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
