package io.github.guestmemfd.spi;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MutableCallSite;
import java.util.Objects;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * Explorations that are under way, and the {@link Scheduler} of each thread that they schedule.
 *
 * <p>Whether there is any is a {@link MutableCallSite}, which the compiler takes for a constant, as
 * the kernel's static keys are jumps that are patched. So what depends on it costs nothing in
 * compiled code while there is none. While there is one anywhere in the process, threads without a
 * scheduler pay for a look at a thread-local.
 */
public final class Exploration {
  private static final MethodHandle YES = MethodHandles.constant(boolean.class, true);
  private static final MethodHandle NO = MethodHandles.constant(boolean.class, false);

  private static final MutableCallSite KEY = new MutableCallSite(NO);

  /** Whether any exploration is under way: a constant until that changes. */
  private static final MethodHandle ON = KEY.dynamicInvoker();

  private static final ThreadLocal<@Nullable Scheduler> SCHEDULER = new ThreadLocal<>();

  private static final ReentrantLock COUNT_LOCK = new ReentrantLock();

  /** How many explorations are under way. Guarded by the lock. */
  private static int explorations;

  private Exploration() {}

  /**
   * The scheduler of the calling thread.
   *
   * @return null if it has none, which costs nothing while no exploration is under way
   */
  public static @Nullable Scheduler scheduler() {
    return isOn() ? SCHEDULER.get() : null;
  }

  /**
   * The time for limits of waits: virtual for a thread with a scheduler.
   *
   * @return nanoseconds, as {@link System#nanoTime}
   */
  public static long nanoTime() {
    Scheduler scheduler = scheduler();
    return scheduler == null ? System.nanoTime() : scheduler.nanoTime();
  }

  /**
   * A number that tells threads apart: small and the same in each run for a thread with a
   * scheduler.
   *
   * @return the number
   */
  public static long threadId() {
    Scheduler scheduler = scheduler();
    return scheduler == null ? Thread.currentThread().getId() : scheduler.threadNumber();
  }

  /**
   * Runs something with a scheduler for the calling thread.
   *
   * @param scheduler the scheduler; null to run something unannounced
   * @param body what to run
   */
  public static void by(@Nullable Scheduler scheduler, Runnable body) {
    Objects.requireNonNull(body, "body");
    Scheduler outer = SCHEDULER.get();
    SCHEDULER.set(scheduler);
    try {
      body.run();
    } finally {
      if (outer == null) {
        SCHEDULER.remove();
      } else {
        SCHEDULER.set(outer);
      }
    }
  }

  /** Whether any exploration is under way. */
  static boolean isOn() {
    try {
      return (boolean) ON.invokeExact();
    } catch (RuntimeException | Error e) {
      throw e;
    } catch (Throwable e) {
      throw new AssertionError(e); // a constant throws nothing
    }
  }

  /**
   * Explores: announcements are on for as long as this lasts.
   *
   * @param <R> what is found
   * @param exploration runs threads by schedulers
   * @return what it returns
   */
  public static <R extends @Nullable Object> R during(Supplier<R> exploration) {
    Objects.requireNonNull(exploration, "exploration");
    count(1);
    try {
      return exploration.get();
    } finally {
      count(-1);
    }
  }

  private static void count(int more) {
    COUNT_LOCK.lock();
    try {
      boolean before = explorations != 0;
      explorations += more;
      if (before != (explorations != 0)) {
        turn(before ? NO : YES);
      }
    } finally {
      COUNT_LOCK.unlock();
    }
  }

  private static void turn(MethodHandle target) {
    KEY.setTarget(target);
    MutableCallSite.syncAll(new MutableCallSite[] {KEY});
  }
}
