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
 * What a thread does once it has left the operation or callback that it is in.
 *
 * <p>It first does all that is the library's own work: the end of a file whose last descriptor was
 * closed, a pending conversion to be tried. Only then does it complete futures, since what depends
 * on them is a user's code and may wait for anything. While that runs, nothing is left that only
 * this thread could do: of several futures the thread completes one that something depends on, last
 * of all, and executors complete the others.
 */
final class WayOut {
  /** Something to be completed by a thread that holds nothing of the library's. */
  interface Deferred {
    /** From here on a thread that waits for it may complete it. */
    void readyToComplete();

    /** Completes it, and runs what depends on it. */
    void complete();

    /** How many stages depend on it, about. */
    int getNumberOfDependents();

    /** Has its executor run something; never throws. */
    void handOver(Runnable task);

    /** As {@link #handOver}, after a delay. */
    void handOverLater(Runnable task, long millis);
  }

  /** How deep completions are nested on one stack, each run by what depends on another. */
  private static final int MAX_NESTED = 8;

  /**
   * Not a part of {@link CallbackContext}, whose depth says what a thread holds: the depth here is
   * that of completions, in which it holds nothing.
   */
  private static final ThreadLocal<WayOut> CURRENT = ThreadLocal.withInitial(WayOut::new);

  /** Whether the thread is still in the middle of something. */
  private BooleanSupplier isInTheMiddle = () -> false;

  /** Users' code further up on the stack that depends on a conversion. */
  private int nested;

  /** Whether the work of the way out is being done, further up on the stack. */
  private boolean leaving;

  private final Queue<Runnable> work = new ArrayDeque<>(4);
  private final Queue<Deferred> over = new ArrayDeque<>(4);

  private WayOut() {}

  /**
   * The way out of this thread; the supplier says whether the thread is in the middle of something.
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

  void add(Deferred deferred) {
    deferred.readyToComplete();
    over.add(deferred);
  }

  boolean isEmpty() {
    return work.isEmpty() && over.isEmpty();
  }

  /** Does all there is to do, unless the thread is in the middle of something. */
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
    if (over.isEmpty()) {
      return;
    }
    List<Deferred> all = new ArrayList<>(over);
    over.clear();
    Deferred last = null;
    if (!mustHandOver()) {
      last = all.get(0);
      for (int i = 1; i < all.size() && last.getNumberOfDependents() == 0; i++) {
        last = all.get(i);
      }
      all.remove(last);
    }
    // All the others, also those that nothing depends on: something may in a moment, and wait.
    Rest.handOver(all);
    for (Deferred next : all) {
      if (next.getNumberOfDependents() == 0) {
        callOut(next::complete);
      }
    }
    if (last != null) {
      callOut(last::complete);
    }
  }

  /**
   * The futures that are over, to be completed by executors. What depends on one may wait for the
   * others, so each thread that completes one has asked for a further thread before.
   */
  private static final class Rest implements Runnable {
    private final Queue<Deferred> left;

    /** Whether an executor has been asked, and has not begun. */
    private final AtomicBoolean asked = new AtomicBoolean();

    /** Threads that run this, and so go on by themselves: an executor may run tasks at once. */
    private final Set<Thread> running = ConcurrentHashMap.newKeySet();

    private Rest(List<Deferred> all) {
      left = new ConcurrentLinkedQueue<>(all);
    }

    static void handOver(List<Deferred> all) {
      if (!all.isEmpty()) {
        new Rest(all).ask();
      }
    }

    private void ask() {
      Deferred next = Announce.read(left).peek();
      if (next != null && Announce.write(asked).compareAndSet(false, true)) {
        next.handOver(this);
      }
    }

    @Override
    public void run() {
      Deferred first = Announce.read(left).peek();
      if (first != null && FrameTable.keepsLock()) {
        first.handOverLater(this, 1);
        return;
      }
      Announce.write(asked).set(false);
      Thread thread = Thread.currentThread();
      if (Announce.write(running).add(thread)) {
        try {
          for (Deferred next = Announce.write(left).poll();
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

  /** Runs users' code, which may come back with anything. */
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
