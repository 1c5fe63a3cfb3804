package io.github.guestmemfd.spi;

import java.util.concurrent.locks.LockSupport;

/**
 * What a thread does between two looks at a word that another thread will change.
 *
 * <p>Every wait of an operation ({@link Wait}) calls this, with a round number that starts at 0 and
 * grows by one a look. A waiter that may have to wait long has put itself on a wait queue before
 * its strategy may sleep, and the thread that makes its condition true unparks it; so a strategy
 * may spin, yield, park, or hand the processor to something else, as it likes.
 *
 * <p>An implementation must be safe for use by many threads at once, must return within about
 * {@code maxNanos} even if no other thread unparks the thread, and must leave the thread's
 * interrupt status alone: the caller looks at it after each round. It may be called while the
 * library holds locks of its own and must not call into the library.
 */
@FunctionalInterface
public interface IdleStrategy {

  /**
   * Idles once.
   *
   * @param round how many rounds this wait has idled already, from 0
   * @param maxNanos the longest time in nanoseconds this round may take; {@link Long#MAX_VALUE}
   *     where the thread will be unparked when it has reason to look again
   */
  void idle(int round, long maxNanos);

  /**
   * Spins 64 rounds, yields 16, then parks for as long as it may: the default.
   *
   * @return the strategy, without state
   */
  static IdleStrategy spinThenPark() {
    return SpinThenPark.INSTANCE;
  }

  /**
   * Spins forever: the lowest latency, for threads with a core of their own.
   *
   * @return the strategy, without state
   */
  static IdleStrategy busySpin() {
    return SpinThenPark.BUSY;
  }
}

/** The two strategies the library ships. */
final class SpinThenPark {
  private static final int SPINS = 64;
  private static final int YIELDS = 16;

  static final IdleStrategy BUSY = (round, maxNanos) -> Thread.onSpinWait();

  @SuppressWarnings("ThreadPriorityCheck") // a yield is a hint here, and a park comes after it
  static final IdleStrategy INSTANCE =
      (round, maxNanos) -> {
        if (round < SPINS) {
          Thread.onSpinWait();
        } else if (round < SPINS + YIELDS) {
          Thread.yield();
        } else {
          LockSupport.parkNanos(maxNanos);
        }
      };

  private SpinThenPark() {}
}
