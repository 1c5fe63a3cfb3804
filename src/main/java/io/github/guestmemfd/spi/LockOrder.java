package io.github.guestmemfd.spi;

import java.util.Arrays;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Checks what a thread holds when it takes a lock, waits, or calls a callback, as the kernel's
 * lockdep does. What is wrong is reported at once by an {@link AssertionError}, also where it does
 * no harm this time: nothing needs to deadlock.
 *
 * <ul>
 *   <li>A thread waits for a lock only while it holds locks of earlier {@linkplain LockClass
 *       classes}. It may try to take a lock in any order.
 *   <li>It waits for nothing while it holds a leaf: a {@link Mutex} of the library, or an announced
 *       access.
 *   <li>It calls a {@link Callback} only with what is documented as held there.
 * </ul>
 *
 * <p>It is on where assertions are ({@code java -ea}), as they are in tests, and costs nothing
 * where they are not. So it checks a program's own callbacks too, in the program's own tests.
 *
 * <p>This class is for the library's own packages. Safe for use by any number of threads.
 */
public final class LockOrder {
  /** A constant for the compiler. */
  private static final boolean ON = LockOrder.class.desiredAssertionStatus();

  private static final ThreadLocal<HeldLocks> HELD = ThreadLocal.withInitial(HeldLocks::new);

  /** The first report that no test has taken: what was thrown may have been caught. */
  private static final AtomicReference<@Nullable AssertionError> REPORT = new AtomicReference<>();

  private LockOrder() {}

  /**
   * Whether anything is checked.
   *
   * @return true where assertions are on
   */
  public static boolean isOn() {
    return ON;
  }

  // ---- locks ----

  /**
   * The calling thread is about to take a lock, and may wait for it.
   *
   * @param lockClass its class
   * @param lock the lock, or what has it
   * @param from which of them; its first page if it is a range
   * @throws AssertionError if the thread holds what is taken after it
   */
  public static void beforeWait(LockClass lockClass, Object lock, long from) {
    if (ON && !HELD.get().mayTake(lockClass, lock, from)) {
      throw report(
          "expected locks in the order "
              + order()
              + "; actual: the "
              + lockClass
              + " is waited for while the thread holds "
              + HELD.get());
    }
  }

  /**
   * The calling thread has taken a lock.
   *
   * @param lockClass its class
   * @param lock the lock, or what has it
   * @param from which of them; its first page if it is a range
   * @param to what comes after it
   */
  public static void taken(LockClass lockClass, Object lock, long from, long to) {
    if (ON) {
      HELD.get().add(lockClass, lock, from, to, null);
    }
  }

  /**
   * The calling thread has given a lock back that it had taken, or a part of a range.
   *
   * @param lockClass its class
   * @param lock the lock, or what has it
   * @param from which of them; its first page if it is a range
   * @param to what comes after it
   * @throws AssertionError if this thread has not taken it
   */
  public static void givenBack(LockClass lockClass, Object lock, long from, long to) {
    if (ON && !HELD.get().remove(lockClass, lock, from, to)) {
      throw report(
          "expected what is given back to be held by the thread; actual: "
              + HeldLocks.name(lockClass, from, to)
              + ", while it holds "
              + HELD.get());
    }
  }

  /**
   * The calling thread goes on with a lock as with one of another class.
   *
   * @param from the class of the lock, which of that class it has taken last
   * @param to what it is from here on
   */
  public static void turned(LockClass from, LockClass to) {
    if (ON) {
      HELD.get().turn(from, to);
    }
  }

  /**
   * The calling thread has taken a folio lock that a user keeps.
   *
   * @param file the file
   * @param page the page
   * @return the lock; null if nothing is checked
   */
  public static @Nullable KeptLock kept(Object file, long page) {
    if (!ON) {
      return null;
    }
    KeptLock kept = new KeptLock();
    HELD.get().add(LockClass.KEPT_FOLIO_LOCK, file, page, page + 1, kept);
    return kept;
  }

  // ---- waits and callbacks ----

  /**
   * The calling thread may be about to wait for something that is no lock.
   *
   * @throws AssertionError if it holds a leaf
   */
  static void beforeWait() {
    if (ON && !HELD.get().mayWait()) {
      throw report(
          "expected a thread that waits to hold none of "
              + those(c -> !c.mayWait())
              + "; actual: it holds "
              + HELD.get());
    }
  }

  /**
   * The calling thread is about to call code outside the library.
   *
   * @param callback which
   * @throws AssertionError if it holds what is not documented as held there
   */
  public static void beforeCall(Callback callback) {
    if (ON && !HELD.get().mayCall(callback)) {
      throw report(
          "expected the caller of "
              + callback
              + " to hold nothing but "
              + Arrays.stream(LockClass.values())
                  .filter(callback::mayHold)
                  .map(LockClass::toString)
                  .collect(Collectors.joining(", "))
              + "; actual: it holds "
              + HELD.get());
    }
  }

  // ---- tests ----

  /** Forgets what the calling thread holds: it begins anew, with other locks. */
  public static void forget() {
    if (ON) {
      HELD.get().clear();
    }
  }

  /** Runs a part of a test in which the calling thread plays other threads: it is not checked. */
  static void playing(Runnable others) {
    HeldLocks held = HELD.get();
    boolean outer = held.playsOthers;
    held.playsOthers = true;
    try {
      others.run();
    } finally {
      held.playsOthers = outer;
    }
  }

  /**
   * Takes the first report since this was last called. What was thrown may have been caught where
   * nothing looks at it.
   *
   * @return the report; null if there is none
   */
  public static @Nullable AssertionError takeReport() {
    return REPORT.getAndSet(null);
  }

  // ---- reports ----

  private static AssertionError report(String what) {
    AssertionError error = new AssertionError(what);
    REPORT.compareAndSet(null, error);
    return error;
  }

  private static String order() {
    return Arrays.stream(LockClass.values())
            .filter(c -> !c.isLeaf())
            .map(LockClass::toString)
            .collect(Collectors.joining(" -> "))
        + " -> one of "
        + those(LockClass::isLeaf);
  }

  private static String those(Predicate<LockClass> which) {
    return Arrays.stream(LockClass.values())
        .filter(which)
        .map(LockClass::toString)
        .collect(Collectors.joining(", "));
  }
}
