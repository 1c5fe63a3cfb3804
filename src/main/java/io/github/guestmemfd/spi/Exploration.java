package io.github.guestmemfd.spi;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MutableCallSite;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * Whether the process explores, and the {@link Scheduler} of each thread that is scheduled.
 *
 * <p>Whether it does is a {@link MutableCallSite}, which the compiler takes for a constant, as the
 * kernel's static keys are jumps that are patched. So what depends on it costs nothing in compiled
 * code until the first exploration. From then on, threads without a scheduler pay for a look at a
 * counter, and at a thread-local while any exploration is under way.
 */
public final class Exploration {
  private static final MutableCallSite KEY =
      new MutableCallSite(MethodHandles.constant(boolean.class, false));

  /** Whether there has been any exploration: a constant until that changes. */
  private static final MethodHandle ON = KEY.dynamicInvoker();

  private static final ThreadLocal<@Nullable Scheduler> SCHEDULER = new ThreadLocal<>();

  /** Explorations under way. */
  private static final AtomicInteger UNDER_WAY = new AtomicInteger();

  private Exploration() {}

  /**
   * The scheduler of the calling thread.
   *
   * @return null if it has none, which costs nothing before the first exploration
   */
  public static @Nullable Scheduler scheduler() {
    return isOn() && UNDER_WAY.get() != 0 ? SCHEDULER.get() : null;
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
   * Before something that may fail: whether an exploration has it fail, as the kernel's fault
   * injection does ({@code should_fail}). An announcement like {@link Announce}, which costs
   * nothing in compiled code before the first exploration.
   *
   * @return false for a thread without a scheduler
   */
  public static boolean shouldFail() {
    Scheduler scheduler = scheduler();
    return scheduler != null && scheduler.mayFail();
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

  /** Whether there has been any exploration. */
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
   * Explores. The first time, this turns announcements on, for as long as the process lasts: to
   * turn them off again would have all that is compiled thrown away once more.
   *
   * @param <R> what is found
   * @param exploration runs threads by schedulers
   * @return what it returns
   */
  public static <R extends @Nullable Object> R during(Supplier<R> exploration) {
    Objects.requireNonNull(exploration, "exploration");
    if (!isOn()) {
      KEY.setTarget(MethodHandles.constant(boolean.class, true));
      MutableCallSite.syncAll(new MutableCallSite[] {KEY});
    }
    UNDER_WAY.incrementAndGet();
    try {
      return exploration.get();
    } finally {
      UNDER_WAY.decrementAndGet();
    }
  }
}
