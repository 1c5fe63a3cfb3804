package io.github.guestmemfd.file;

import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.Callback;
import io.github.guestmemfd.spi.LockOrder;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.BooleanSupplier;

/**
 * The work that a thread has put off until it has left every operation and callback.
 *
 * <p>The library's own work comes first: to end a file whose last descriptor was closed, to try a
 * pending conversion. Then come futures whose outcome is decided. To complete one runs the stages
 * that depend on it, which are users' code and may wait for anything, another of these futures
 * included. So by then nothing is left that only this thread can do: of several futures with
 * dependents it hands all but one to executors, and completes that one last.
 */
final class WayOut {
  /**
   * A future whose outcome is decided. A thread that holds no lock, busy bit or reference of the
   * library completes it.
   */
  interface Completable {
    /** Lets a thread that waits for the future complete it itself from now on. */
    void readyToComplete();

    /** Completes the future, and so runs the stages that depend on it. */
    void complete();

    /** An estimate of how many stages depend on the future. */
    int getNumberOfDependents();

    /** Hands a task to the executor of the host. Never throws. */
    void handOver(Runnable task);

    /** As {@link #handOver}, after a delay. */
    void handOverLater(Runnable task, long millis);
  }

  /**
   * The most completions on one stack. They nest where a stage that depends on one future completes
   * another.
   */
  private static final int MAX_NESTED = 8;

  /**
   * Kept apart from {@link CallbackContext}, whose depth counts operations and callbacks, in which
   * a thread holds something. The depth here is that of completions, in which it holds nothing.
   */
  private static final ThreadLocal<WayOut> CURRENT = ThreadLocal.withInitial(WayOut::new);

  /** Whether the thread is still inside an operation or a callback. */
  private BooleanSupplier isInTheMiddle = () -> false;

  /** Completions under way further up on this stack. */
  private int nested;

  /** Whether the library's own work is being done further up on this stack. */
  private boolean leaving;

  private final Queue<Runnable> work = new ArrayDeque<>(4);

  /** Futures whose outcome is decided. */
  private final Queue<Completable> decided = new ArrayDeque<>(4);

  private WayOut() {}

  /**
   * The way out of this thread; the supplier says whether the thread is inside an operation or a
   * callback.
   */
  static WayOut of(BooleanSupplier isInTheMiddle) {
    WayOut current = CURRENT.get();
    current.isInTheMiddle = isInTheMiddle;
    return current;
  }

  /** Whether as many completions are nested on this stack as may be. */
  static boolean isTooDeep() {
    return CURRENT.get().nested >= MAX_NESTED;
  }

  /** Whether this thread must leave a completion to an executor. */
  static boolean mustHandOver() {
    return FrameTable.keepsLock() || isTooDeep();
  }

  void add(Runnable step) {
    work.add(step);
  }

  void add(Completable completable) {
    completable.readyToComplete();
    decided.add(completable);
  }

  boolean isEmpty() {
    return work.isEmpty() && decided.isEmpty();
  }

  /**
   * Does the work and completes the futures, unless the thread is still inside an operation or a
   * callback.
   */
  void go() {
    while (!isInTheMiddle.getAsBoolean() && !leaving && !isEmpty()) {
      leaving = true;
      try {
        for (Runnable step = work.poll(); step != null; step = work.poll()) {
          run(step);
        }
      } finally {
        leaving = false;
      }
      completeAll();
    }
  }

  private void completeAll() {
    if (decided.isEmpty()) {
      return;
    }
    List<Completable> all = new ArrayList<>(decided);
    decided.clear();
    Completable last = null;
    if (!mustHandOver()) {
      last = all.get(0);
      for (int i = 1; i < all.size() && last.getNumberOfDependents() == 0; i++) {
        last = all.get(i);
      }
      all.remove(last);
    }
    // The others, also those without dependents: a stage that waits may be added in a moment.
    Rest.handOver(all);
    for (Completable next : all) {
      if (next.getNumberOfDependents() == 0) {
        callOut(next::complete);
      }
    }
    if (last != null) {
      callOut(last::complete);
    }
  }

  /**
   * Futures that executors complete. A stage that depends on one may wait for another, so a thread
   * asks for a further thread before it completes one.
   */
  private static final class Rest implements Runnable {
    private final Queue<Completable> left;

    /** Whether an executor has been asked for a thread that has not begun. */
    private final AtomicBoolean asked = new AtomicBoolean();

    /**
     * Threads inside {@link #run}. They go on by themselves: an executor may run a task at once, on
     * the thread that submits it.
     */
    private final Set<Thread> running = ConcurrentHashMap.newKeySet();

    private Rest(List<Completable> all) {
      left = new ConcurrentLinkedQueue<>(all);
    }

    static void handOver(List<Completable> all) {
      if (!all.isEmpty()) {
        new Rest(all).ask();
      }
    }

    private void ask() {
      Completable next = Announce.read(left).peek();
      if (next != null && Announce.write(asked).compareAndSet(false, true)) {
        next.handOver(this);
      }
    }

    @Override
    public void run() {
      Completable first = Announce.read(left).peek();
      if (first != null && FrameTable.keepsLock()) {
        first.handOverLater(this, 1);
        return;
      }
      Announce.write(asked).set(false);
      Thread thread = Thread.currentThread();
      if (Announce.write(running).add(thread)) {
        try {
          for (Completable next = Announce.write(left).poll();
              next != null;
              next = Announce.write(left).poll()) {
            ask();
            CURRENT.get().callOut(next::complete);
          }
        } finally {
          Announce.write(running).remove(thread);
        }
      }
    }
  }

  /** Completes a future: runs users' code, which may throw anything. */
  private void callOut(Runnable dependents) {
    LockOrder.beforeCall(Callback.DEPENDENT);
    nested++;
    try {
      run(dependents);
    } finally {
      nested--;
    }
  }

  private static void run(Runnable step) {
    try {
      step.run();
    } catch (RuntimeException | Error e) {
      Logs.FILE.warn("exception on the way out of an operation", e);
    }
  }
}
