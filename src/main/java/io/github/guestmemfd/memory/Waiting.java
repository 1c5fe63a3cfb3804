package io.github.guestmemfd.memory;

import io.github.guestmemfd.spi.IdleStrategy;
import java.util.function.BooleanSupplier;

/**
 * How threads of the library wait: every wait of the core goes through this class.
 *
 * <p>There are three ways. A wait is interruptible, unless its caller cannot give up what it waits
 * for. And a thread can say that it must not wait at all ({@link #withoutWaiting}): then every wait
 * ends at once as if the thread had been interrupted, which every caller of an interruptible wait
 * can deal with, and its interrupt status stays as it is.
 */
public final class Waiting {
  private static final ThreadLocal<Attempt> ATTEMPT = ThreadLocal.withInitial(Attempt::new);

  /** What a thread must not do now. */
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

  private Waiting() {}

  /**
   * To be called before a thread idles: whether it may.
   *
   * @throws InterruptedException if the thread has been interrupted, and the interrupt status is
   *     cleared; or if it must not wait
   */
  public static void check() throws InterruptedException {
    if (Thread.interrupted()) {
      throw new InterruptedException();
    }
    Attempt attempt = ATTEMPT.get();
    if (attempt.depth != 0) {
      attempt.refused = true;
      throw new Refused();
    }
  }

  /**
   * Waits until a condition holds.
   *
   * @param idle how to wait
   * @param condition true when the wait is over; must read with volatile semantics
   * @param maxNanos the longest time between two looks
   * @throws InterruptedException if the thread is interrupted, or must not wait, while the
   *     condition does not hold
   */
  public static void await(IdleStrategy idle, BooleanSupplier condition, long maxNanos)
      throws InterruptedException {
    if (condition.getAsBoolean()) {
      return;
    }
    check();
    idle.await(condition, maxNanos);
  }

  /**
   * Waits until a condition holds, whatever happens meanwhile: for what cannot be given up. An
   * interrupt is kept for later. If the strategy throws, the wait goes on by the default one, and
   * what was thrown is thrown when the condition holds.
   *
   * @param idle how to wait
   * @param condition true when the wait is over; must read with volatile semantics
   * @param maxNanos the longest time between two looks
   */
  public static void awaitUninterruptibly(
      IdleStrategy idle, BooleanSupplier condition, long maxNanos) {
    boolean interrupted = false;
    IdleStrategy strategy = idle;
    RuntimeException exception = null;
    Error error = null;
    for (boolean over = false; !over; ) {
      try {
        strategy.await(condition, maxNanos);
        over = true;
      } catch (InterruptedException e) {
        interrupted = true;
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
   * Runs something on this thread that must not wait.
   *
   * @param attempt its waits end as if they were interrupted
   */
  public static void withoutWaiting(Runnable attempt) {
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
    return e instanceof Deadlock;
  }

  /**
   * Sets the interrupt status again after a wait that an interrupt has ended.
   *
   * @param e what the wait threw
   */
  public static void restore(InterruptedException e) {
    if (!(e instanceof Refused)) {
      Thread.currentThread().interrupt();
    }
  }
}
