package io.github.guestmemfd.spi;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MutableCallSite;
import java.util.Objects;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * Announces the steps of a thread: its accesses to words that other threads change or read. A
 * {@link Scheduler} that explores orders of steps holds the thread there.
 *
 * <p>Each access to a shared word stands behind an announcement; a test of the library's bytecode
 * sees to that. Without an exploration under way an announcement costs nothing in compiled code: it
 * tests a {@link MutableCallSite}, which the compiler takes for a constant, as the kernel's static
 * keys are jumps that are patched. While any exploration of the process is under way, threads
 * without a scheduler pay for a look at a thread-local.
 *
 * <p>This class is for the library's own packages. A program that wants its own words explored
 * announces its accesses by {@link #read} and {@link #write} too.
 */
public final class Step {
  private static final MethodHandle YES = MethodHandles.constant(boolean.class, true);
  private static final MethodHandle NO = MethodHandles.constant(boolean.class, false);

  private static final MutableCallSite KEY = new MutableCallSite(NO);

  /** Whether any exploration is under way: a constant until that changes. */
  private static final MethodHandle ON = KEY.dynamicInvoker();

  private static final ThreadLocal<@Nullable Scheduler> SCHEDULER = new ThreadLocal<>();

  private static final ReentrantLock COUNT_LOCK = new ReentrantLock();

  /** How many explorations are under way. Guarded by the lock. */
  private static int explorations;

  private Step() {}

  // ---- steps ----

  /**
   * Announces that the calling thread is about to read a word.
   *
   * @param owner the object that has the word
   * @param index which of its words
   */
  public static void read(Object owner, long index) {
    if (isOn()) {
      access(owner, index, false);
    }
  }

  /**
   * Announces that the calling thread is about to write a word, or to read and write it in one.
   *
   * @param owner the object that has the word
   * @param index which of its words
   */
  public static void write(Object owner, long index) {
    if (isOn()) {
      access(owner, index, true);
    }
  }

  /**
   * Announces that the calling thread is about to read an object that has one word, or whose words
   * count as one: an atomic variable, a concurrent collection, the volatile fields of an object.
   *
   * @param <T> its type
   * @param word the object
   * @return the object, to be read now
   */
  public static <T> T read(T word) {
    read(word, 0);
    return word;
  }

  /**
   * Announces that the calling thread is about to write an object that has one word, or to read and
   * write it in one.
   *
   * @param <T> its type
   * @param word the object
   * @return the object, to be written now
   */
  public static <T> T write(T word) {
    write(word, 0);
    return word;
  }

  private static void access(Object owner, long index, boolean write) {
    Scheduler scheduler = SCHEDULER.get();
    if (scheduler != null) {
      scheduler.access(Objects.requireNonNull(owner, "owner"), index, write);
    }
  }

  // ---- who schedules ----

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

  private static boolean isOn() {
    try {
      return (boolean) ON.invokeExact();
    } catch (RuntimeException | Error e) {
      throw e;
    } catch (Throwable e) {
      throw new AssertionError(e); // a constant throws nothing
    }
  }

  /** Turns announcements on, for as long as an exploration is under way. */
  public static void begin() {
    COUNT_LOCK.lock();
    try {
      if (explorations++ == 0) {
        turn(YES);
      }
    } finally {
      COUNT_LOCK.unlock();
    }
  }

  /** Ends {@link #begin}. */
  public static void end() {
    COUNT_LOCK.lock();
    try {
      if (explorations == 0) {
        throw new IllegalStateException("no exploration has begun");
      }
      if (--explorations == 0) {
        turn(NO);
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
