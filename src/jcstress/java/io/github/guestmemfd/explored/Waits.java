package io.github.guestmemfd.explored;

import io.github.guestmemfd.spi.Exploration;
import io.github.guestmemfd.spi.Scheduler;
import java.util.concurrent.locks.LockSupport;

/** What a test's own code does to wait, for a thread that may be explored. */
public final class Waits {
  private Waits() {}

  /** Instead of {@link Thread#onSpinWait}: until a word that the thread has read is changed. */
  public static void onSpinWait() {
    Scheduler scheduler = Exploration.scheduler();
    if (scheduler == null) {
      Thread.onSpinWait();
    } else {
      scheduler.poll(Long.MAX_VALUE);
    }
  }

  /** Instead of {@link LockSupport#park()}. */
  public static void park() {
    parkNanos(Long.MAX_VALUE);
  }

  /** Instead of {@link LockSupport#parkNanos(long)}. */
  public static void parkNanos(long nanos) {
    Scheduler scheduler = Exploration.scheduler();
    if (scheduler == null) {
      LockSupport.parkNanos(nanos);
    } else {
      scheduler.park(nanos);
    }
  }

  /** Instead of {@link LockSupport#unpark}. */
  public static void unpark(Thread thread) {
    Scheduler scheduler = Exploration.scheduler();
    if (scheduler == null || thread == null) {
      LockSupport.unpark(thread);
    } else {
      scheduler.unpark(thread);
    }
  }

  /** Instead of {@link Thread#interrupt}: a thread that is parked goes on. */
  public static void interrupt(Thread thread) {
    thread.interrupt();
    unpark(thread);
  }
}
