package io.github.guestmemfd.file;

import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.LockOrder;
import io.github.guestmemfd.spi.Wait;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Makes the changes of what a mapping maps exclusive: the kernel's {@code mmap_lock}, taken for
 * writing. Faults and accesses do not take it: they look at the {@link Areas} again. Its holder
 * waits for accesses under way and for nothing else. Not reentrant, not fair.
 */
final class MmapLock {
  private final AtomicBoolean locked = new AtomicBoolean();
  private final IdleStrategy idle;

  MmapLock(IdleStrategy idle) {
    this.idle = idle;
  }

  /** Takes the lock; not even a free one if the thread is interrupted. */
  void lock() throws InterruptedException {
    Wait.check();
    LockOrder.beforeWait(LockClass.MMAP_LOCK, this, 0);
    Wait.await(idle, this::tryLock, Wait.LOOK_AGAIN_NANOS);
    LockOrder.taken(LockClass.MMAP_LOCK, this, 0, 1);
  }

  /** As {@link #lock}, for a caller that cannot give up; keeps an interrupt for later. */
  void lockUninterruptibly() {
    try {
      if (!tryLock()) { // a mapping that no other thread knows may be ended anywhere
        LockOrder.beforeWait(LockClass.MMAP_LOCK, this, 0);
        Wait.awaitUninterruptibly(idle, this::tryLock, Wait.LOOK_AGAIN_NANOS);
      }
    } finally { // it is taken also if the strategy has thrown
      LockOrder.taken(LockClass.MMAP_LOCK, this, 0, 1);
    }
  }

  private boolean tryLock() {
    return Announce.write(locked).compareAndSet(false, true);
  }

  void unlock() {
    Announce.write(locked).set(false);
    LockOrder.givenBack(LockClass.MMAP_LOCK, this, 0, 1);
  }
}
