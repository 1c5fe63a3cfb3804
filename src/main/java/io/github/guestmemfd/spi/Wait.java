package io.github.guestmemfd.spi;

import java.util.Objects;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;

/**
 * A wait of one thread: the loops by which an operation of the library idles, polls or parks.
 *
 * <p>Every wait of an operation goes through this class, which also sets the interrupt status again
 * where a wait has cleared it. What waits elsewhere does so below this class (the explorer), around
 * it (tools that hold threads for a test) or for a short lock ({@link Mutex}); {@code
 * docs/synchronization.md} lists it. This class is for the library's own packages. A program that
 * uses the library passes it an {@link IdleStrategy} and has no reason to call this.
 *
 * <p>There are three kinds of wait. Most are interruptible. A caller that cannot give up what it
 * waits for {@linkplain #awaitUninterruptibly keeps the interrupt for later}. And a thread can say
 * that it must not wait at all ({@link #withoutWaiting}): then every wait ends at once as if the
 * thread had been interrupted, which every caller of an interruptible wait can deal with, and its
 * interrupt status stays as it is.
 *
 * <p>A thread that a {@link Scheduler} explores does not idle. Its wait ends when another thread
 * has changed a word that the condition has read, or has unparked it where that is how it is woken,
 * and short rounds before a queue are left out. Its time is virtual.
 *
 * <p>A retry loop around a compare-and-set is not a wait. It starts over because another thread has
 * made progress, so it does not idle and does not belong here.
 */
public final class Wait {

  /** As a time to wait: no limit. */
  public static final long FOREVER = Long.MAX_VALUE;

  /**
   * The longest idle, in nanoseconds, of a wait whose end no thread announces. 20 microseconds is
   * short beside what is waited for (a callback, a copy of many pages, an invalidation), and long
   * beside the cost of one look.
   */
  public static final long LOOK_AGAIN_NANOS = 20_000;

  /**
   * How many rounds a wait idles before it queues. Most folio locks and busy pages are given back
   * sooner, and a queue costs its lock twice.
   */
  public static final int BRIEF_ROUNDS = 32;

  /**
   * The longest idle, in nanoseconds, of a round of a short wait, of a thread that has not queued.
   * No thread unparks it yet, so a longer sleep would delay what it waits for.
   */
  public static final long BRIEF_NANOS = 1_000;

  private static final ThreadLocal<Attempt> ATTEMPT = ThreadLocal.withInitial(Attempt::new);

  /** The attempts of a thread that must not wait. */
  private static final class Attempt {
    /** How many attempts that must not wait are under way, one inside the other. */
    int depth;

    /** Whether the innermost one would have waited. */
    boolean refused;
  }

  /** A wait that ended because its thread must not wait, and not for an interrupt. */
  private static class Refused extends InterruptedException {
    private static final long serialVersionUID = 1L;
  }

  /** A wait that did not begin, since it could be for the thread itself. */
  private static final class Deadlock extends Refused {
    private static final long serialVersionUID = 1L;
  }

  private final IdleStrategy idle;
  private final long nanos;
  private final long begun;

  /** How many rounds have been idled. */
  private int round;

  private Wait(IdleStrategy idle, long nanos) {
    this.idle = Objects.requireNonNull(idle, "idle");
    this.nanos = Math.max(nanos, 0);
    this.begun = nanos == FOREVER ? 0 : Exploration.nanoTime();
  }

  // ---- a wait in parts ----

  /**
   * Begins a wait that is limited in time. It counts its rounds from 0 to its end, through all its
   * parts.
   *
   * @param idle how to wait
   * @param nanos the longest time to wait in nanoseconds; {@link #FOREVER} for no limit
   * @return the wait, for the calling thread alone
   */
  public static Wait upTo(IdleStrategy idle, long nanos) {
    return new Wait(idle, nanos);
  }

  /**
   * Waits for a condition for as long as it is not worth queueing: {@link #BRIEF_ROUNDS} short
   * rounds.
   *
   * @param condition true when the wait is over; called often, and must not block. It may be an
   *     attempt, to take a lock for instance
   * @return whether the condition held; if not, the rounds are used up or the time is
   * @throws InterruptedException if the thread is interrupted, or must not wait, while the
   *     condition does not hold
   */
  public boolean briefly(BooleanSupplier condition) throws InterruptedException {
    Objects.requireNonNull(condition, "condition");
    return idleUntil(condition, BRIEF_ROUNDS, BRIEF_NANOS);
  }

  /**
   * Waits for a condition whose change is announced: the thread that changes it unparks this one.
   *
   * @param condition true when the wait is over; called often, and must not block
   * @return whether the condition held before the time was up
   * @throws InterruptedException if the thread is interrupted, or must not wait, while the
   *     condition does not hold
   */
  public boolean until(BooleanSupplier condition) throws InterruptedException {
    Objects.requireNonNull(condition, "condition");
    return idleUntil(condition, Integer.MAX_VALUE, FOREVER);
  }

  /**
   * Whether the time of this wait is up.
   *
   * @return the answer; always false for a wait without a limit
   */
  public boolean isTimeUp() {
    return left() <= 0;
  }

  private long left() {
    return nanos == FOREVER ? FOREVER : nanos - (Exploration.nanoTime() - begun);
  }

  /**
   * The loop. It looks at the condition first, then whether the thread may wait on, then at the
   * limits, then idles.
   *
   * @param rounds no more is idled once so many rounds have been
   * @param maxNanos the longest time between two looks
   */
  private boolean idleUntil(BooleanSupplier condition, int rounds, long maxNanos)
      throws InterruptedException {
    checkOrder();
    boolean explored = Exploration.scheduler() != null;
    int limit = explored && rounds != Integer.MAX_VALUE ? 0 : rounds;
    for (; !condition.getAsBoolean(); round++) {
      check();
      long left = left();
      if (left <= 0 || round >= limit) {
        return false;
      }
      idle(idle, round, left, maxNanos);
    }
    return true;
  }

  /** Idles one round, or lets the scheduler of this thread do so. */
  private static void idle(IdleStrategy idle, int round, long left, long maxNanos) {
    Scheduler scheduler = Exploration.scheduler();
    if (scheduler == null) {
      idle.idle(round, Math.min(left, maxNanos));
    } else if (maxNanos == FOREVER) {
      scheduler.park(left);
    } else {
      scheduler.poll(left);
    }
  }

  // ---- a whole wait ----

  /**
   * Waits until a condition holds. Allocates nothing.
   *
   * @param idle how to wait
   * @param condition true when the wait is over; must read with volatile semantics
   * @param maxNanos the longest time between two looks
   * @throws InterruptedException if the thread is interrupted, or must not wait, while the
   *     condition does not hold
   */
  public static void await(IdleStrategy idle, BooleanSupplier condition, long maxNanos)
      throws InterruptedException {
    Objects.requireNonNull(idle, "idle");
    Objects.requireNonNull(condition, "condition");
    checkOrder();
    for (int round = 0; !condition.getAsBoolean(); round++) {
      check();
      idle(idle, round, FOREVER, maxNanos);
    }
  }

  /**
   * Waits until a condition holds, for a caller that cannot give up. An interrupt is kept for
   * later. If the strategy throws, the wait goes on by the default one, and what was thrown is
   * thrown when the condition holds. Allocates nothing: the heap may be full.
   *
   * @param idle how to wait
   * @param condition true when the wait is over; must read with volatile semantics
   * @param maxNanos the longest time between two looks
   */
  public static void awaitUninterruptibly(
      IdleStrategy idle, BooleanSupplier condition, long maxNanos) {
    Objects.requireNonNull(idle, "idle");
    Objects.requireNonNull(condition, "condition");
    checkOrder();
    boolean interrupted = false;
    IdleStrategy strategy = idle;
    RuntimeException exception = null;
    Error error = null;
    for (int round = 0; !condition.getAsBoolean(); round++) {
      try {
        interrupted |= Thread.interrupted(); // a strategy that parks would not, if it is set
        idle(strategy, round, FOREVER, maxNanos);
      } catch (RuntimeException e) {
        exception = e;
        strategy = IdleStrategy.spinThenPark();
      } catch (Error e) {
        error = e;
        strategy = IdleStrategy.spinThenPark();
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
    if (error != null) {
      throw error;
    }
    if (exception != null) {
      throw exception;
    }
  }

  /**
   * Idles once between two attempts at something, for a loop whose body is more than a condition.
   *
   * @param idle how to wait
   * @param round how many rounds have been idled, from 0
   * @param maxNanos the longest time to idle
   * @throws InterruptedException without having idled, if the thread is interrupted or must not
   *     wait
   */
  public static void once(IdleStrategy idle, int round, long maxNanos) throws InterruptedException {
    Objects.requireNonNull(idle, "idle");
    checkOrder();
    check();
    Scheduler scheduler = Exploration.scheduler();
    if (scheduler == null) {
      idle.idle(round, maxNanos);
    } else {
      scheduler.retry();
    }
  }

  /**
   * As {@link #once}, for a caller that looks at the interrupt status itself and tries until
   * another thread has done something.
   *
   * @param idle how to wait
   * @param round how many rounds have been idled, from 0
   * @param maxNanos the longest time to idle
   * @return false, without having idled, if the thread is interrupted, whose status stays set, or
   *     must not wait
   */
  public static boolean pause(IdleStrategy idle, int round, long maxNanos) {
    Objects.requireNonNull(idle, "idle");
    checkOrder();
    try {
      check();
    } catch (InterruptedException e) {
      restore(e);
      return false;
    }
    idle(idle, round, maxNanos, maxNanos);
    return true;
  }

  /**
   * Wakes a thread that waits, after what it waits for has changed.
   *
   * @param thread the thread; if it does not wait, its next wait ends at once
   */
  public static void unpark(Thread thread) {
    Objects.requireNonNull(thread, "thread");
    Scheduler scheduler = Exploration.scheduler();
    if (scheduler == null) {
      LockSupport.unpark(thread);
    } else {
      scheduler.unpark(thread);
    }
  }

  // ---- waits of java.util.concurrent ----

  /** A method of {@code java.util.concurrent} that blocks up to a time. */
  @FunctionalInterface
  public interface Blocking {
    /**
     * Blocks.
     *
     * @param nanos the longest time in nanoseconds; at once if not positive
     * @return false if the time was up first
     * @throws InterruptedException if the thread is interrupted
     */
    boolean await(long nanos) throws InterruptedException;
  }

  /**
   * Blocks up to a time whether or not the thread is interrupted. An interrupt is kept for later.
   * For tests, which stop a thread at any step: what it holds is not checked.
   *
   * @param blocking what blocks; called again after an interrupt, with the time that is left
   * @param nanos the longest time in nanoseconds
   * @return what the last call returned
   */
  public static boolean blockUninterruptibly(Blocking blocking, long nanos) {
    Objects.requireNonNull(blocking, "blocking");
    long begun = System.nanoTime();
    boolean interrupted = false;
    try {
      for (; ; ) {
        try {
          return blocking.await(Math.max(nanos, 0) - (System.nanoTime() - begun));
        } catch (InterruptedException e) {
          interrupted = true;
        }
      }
    } finally {
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  // ---- whether a thread may wait ----

  /**
   * Reports a wait of a thread that holds what it must not wait with, whether or not it comes to
   * wait. One that must not wait at all does not.
   */
  private static void checkOrder() {
    if (LockOrder.isOn() && ATTEMPT.get().depth == 0) {
      LockOrder.beforeWait();
    }
  }

  /**
   * To be called before a thread idles: whether it may.
   *
   * @throws InterruptedException if the thread has been interrupted, and the interrupt status is
   *     cleared; or if it must not wait
   */
  public static void check() throws InterruptedException {
    checkInterrupt();
    Attempt attempt = ATTEMPT.get();
    if (attempt.depth != 0) {
      attempt.refused = true;
      throw new Refused();
    }
  }

  /**
   * To be called between the pieces of a long operation that waits for nothing: whether it is to go
   * on.
   *
   * @throws InterruptedException if the thread has been interrupted, and the interrupt status is
   *     cleared
   */
  public static void checkInterrupt() throws InterruptedException {
    if (Thread.interrupted()) {
      throw new InterruptedException();
    }
  }

  /**
   * Runs something that an interrupt is not for: the interrupt status is clear when it begins, and
   * is set again when it ends, however it ends.
   *
   * @param step what to run
   */
  public static void keepingInterrupt(Runnable step) {
    Objects.requireNonNull(step, "step");
    boolean interrupted = Thread.interrupted();
    try {
      step.run();
    } finally {
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  /**
   * Runs something on this thread that must not wait.
   *
   * @param attempt its waits end as if they were interrupted
   */
  public static void withoutWaiting(Runnable attempt) {
    Objects.requireNonNull(attempt, "attempt");
    Attempt current = ATTEMPT.get();
    boolean outer = current.refused;
    current.refused = false;
    current.depth++;
    try {
      attempt.run();
    } finally {
      current.depth--;
      current.refused = outer;
    }
  }

  /**
   * Whether an {@linkplain #withoutWaiting attempt} of this thread has come to a wait: then what
   * was answered by an interrupted wait is no answer of a user's.
   *
   * @return false if none is under way
   */
  public static boolean isRefused() {
    return ATTEMPT.get().refused;
  }

  /**
   * To be thrown instead of a wait that could be for the thread itself.
   *
   * @return the exception; no interrupt, for {@link #restore}
   */
  public static InterruptedException deadlock() {
    return new Deadlock();
  }

  /**
   * Whether a wait did not begin because it could be for the thread itself.
   *
   * @param e what the wait threw
   * @return true for {@link #deadlock}
   */
  public static boolean isDeadlock(InterruptedException e) {
    return Objects.requireNonNull(e, "e") instanceof Deadlock;
  }

  /**
   * Sets the interrupt status again after a wait that an interrupt has ended.
   *
   * @param e what the wait threw
   */
  public static void restore(InterruptedException e) {
    if (!(Objects.requireNonNull(e, "e") instanceof Refused)) {
      Thread.currentThread().interrupt();
    }
  }
}
