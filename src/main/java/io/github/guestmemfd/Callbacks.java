package io.github.guestmemfd;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.memory.FrameTable;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * What this thread is in the middle of, on any host, and what it does when it is out of that.
 *
 * <p>Inside a callback of {@link GuestMemfdOps} it holds busy bits or a folio lock, and so must not
 * wait for any: not even for those of another host, whose callbacks may want ours. Inside an
 * operation it holds busy bits, a lock, or references that it is about to drop. What comes up
 * meanwhile and needs pages itself, or calls out, waits until the thread is out of all that: the
 * end of a file whose last descriptor was closed, a pending conversion to be tried, a future to be
 * completed.
 *
 * <p><b>On the way out</b> the thread first does all that is the library's own work, and only then
 * completes futures, since what depends on them is a user's code and may wait for anything. While
 * it runs nothing is left that only this thread could do: of several futures the thread completes
 * one that something depends on, last of all, and the host's executor the others.
 */
final class Callbacks {
  /** How deep completions are nested on one stack, each run by what depends on another. */
  private static final int MAX_NESTED = 8;

  private static final Logger LOG = LoggerFactory.getLogger(GuestMemfd.class);

  private static final ThreadLocal<Callbacks> CURRENT = ThreadLocal.withInitial(Callbacks::new);

  /** The innermost callback that it is in. */
  private @Nullable Call inside;

  private int operations;

  /** Why its operation is about to be refused, if a callback or the JVM is the reason. */
  private @Nullable Reason reason;

  /** Users' code further up on the stack that depends on a conversion. */
  private int nested;

  /** Whether the work of the way out is being done, further up on the stack. */
  private boolean leaving;

  private final Queue<Runnable> work = new ArrayDeque<>(4);
  private final Queue<LaterConversion> over = new ArrayDeque<>(4);

  private Callbacks() {}

  // ---- callbacks ----

  /** A callback under way. */
  private static final class Call {
    final String name;
    final Inode file;
    final long offset;
    final long length;
    final @Nullable Call outer;

    /** The reason of the operation that has called back: at first the one before, if any. */
    @Nullable Reason reason;

    Call(
        String name,
        Inode file,
        long offset,
        long length,
        @Nullable Call outer,
        @Nullable Reason reason) {
      this.name = name;
      this.file = file;
      this.offset = offset;
      this.length = length;
      this.outer = outer;
      this.reason = reason;
    }

    @Override
    public String toString() {
      return describe(name, offset, length) + " of " + file;
    }
  }

  /** A callback with its pages; those of a folio that is being freed are not known. */
  private static String describe(String name, long offset, long length) {
    return "callback " + name + (offset < 0 ? "" : Inode.range(offset, length));
  }

  /**
   * Enters a callback, perhaps from inside another.
   *
   * @param name its method
   * @param file the file that calls it
   * @param offset where its pages begin; negative if it is not known
   * @param length how many bytes they are
   */
  static void enter(String name, Inode file, long offset, long length) {
    Callbacks current = CURRENT.get();
    current.inside = new Call(name, file, offset, length, current.inside, current.reason);
    current.reason = null;
  }

  /** Leaves the callback that was entered last. */
  static void leave() {
    Callbacks current = CURRENT.get();
    Call left = current.innermost();
    current.inside = left.outer;
    current.reason = left.reason;
  }

  /** Takes what the callback that was entered last has answered. */
  static Errno answered(@Nullable Errno errno) {
    Call call = CURRENT.get().innermost();
    if (errno == null) {
      throw new NullPointerException(call + " answered null, expected an Errno");
    }
    Reason before = call.reason; // what is refused while the operation is undone is not why
    if (errno != Errno.OK && (before == null || before.noMemory != null)) {
      call.reason = new Reason(errno, call.name, call.offset, call.length, null);
    }
    return errno;
  }

  private Call innermost() {
    return Objects.requireNonNull(inside, "expected to be inside a callback");
  }

  static boolean isInside() {
    return CURRENT.get().inside != null;
  }

  /** The callback that this thread is inside, in words; null if it is in none. */
  static @Nullable String inside() {
    Call call = CURRENT.get().inside;
    return call == null ? null : call.toString();
  }

  // ---- reasons ----

  /**
   * Why an operation of this thread is refused, where its errno does not say it: a callback has
   * answered that, or the JVM is out of memory.
   */
  record Reason(
      Errno errno, String callback, long offset, long length, @Nullable OutOfMemoryError noMemory) {
    String text() {
      return noMemory == null
          ? describe(callback, offset, length) + " answered " + errno
          : "the JVM, not the host, is out of memory: " + noMemory.getMessage();
    }
  }

  /** The JVM has no memory for what an operation needs. */
  static void outOfMemory(OutOfMemoryError e) {
    CURRENT.get().reason = new Reason(Errno.ENOMEM, "", 0, 0, e);
  }

  /** Begins something that may be refused, for reasons of its own. */
  static void forgetReason() {
    CURRENT.get().reason = null;
  }

  /** The reason for what has just been answered; null if the errno says it all. */
  static @Nullable Reason reason(Errno errno) {
    Reason why = CURRENT.get().reason;
    return why != null && why.errno == errno ? why : null;
  }

  // ---- operations ----

  /** Enters an operation: until it is left, this thread has something in hand. */
  static void enterOperation() {
    Callbacks current = CURRENT.get();
    if (!current.isInTheMiddle()) {
      current.reason = null;
    }
    current.operations++;
  }

  /** Leaves an operation, whose pages have been let go. */
  static void leaveOperation() {
    Callbacks current = CURRENT.get();
    current.operations--;
    current.wayOut();
  }

  static boolean holdsPages() {
    return CURRENT.get().isInTheMiddle();
  }

  private boolean isInTheMiddle() {
    return inside != null || operations != 0;
  }

  /** Whether this thread must leave a completion to the executor. */
  static boolean mustHandOver() {
    return FrameTable.keepsLock() || isTooDeep();
  }

  /** Whether as many completions are nested on this stack as may be. */
  static boolean isTooDeep() {
    return CURRENT.get().nested >= MAX_NESTED;
  }

  /** Refuses an operation that may wait. */
  static void forbid(String operation) {
    if (isInside()) {
      throw new GuestMemfdException(Errno.EDEADLK, operation + ": " + deadlock());
    }
  }

  /** Why something is answered with EDEADLK. */
  static String deadlock() {
    String inside = inside();
    return inside == null
        ? "the thread keeps a folio lock, and could wait for itself"
        : "called from inside " + inside;
  }

  // ---- the way out ----

  /** Runs something when this thread is out of everything: now, if it is. */
  static void whenOut(Runnable step) {
    Callbacks current = CURRENT.get();
    current.work.add(step);
    current.wayOut();
  }

  /** Completes the future of a conversion that is over when this thread is out of everything. */
  static void complete(LaterConversion conversion) {
    Callbacks current = CURRENT.get();
    conversion.readyToComplete();
    current.over.add(conversion);
    current.wayOut();
  }

  /** To be called where callbacks end that are no part of an operation. */
  static void out() {
    CURRENT.get().wayOut();
  }

  private void wayOut() {
    Reason own = reason; // of what is over, and not of what comes now
    while (!isInTheMiddle() && !leaving && !(work.isEmpty() && over.isEmpty())) {
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
    reason = own;
  }

  private void completeAll() {
    if (over.isEmpty()) {
      return;
    }
    List<LaterConversion> all = new ArrayList<>(over);
    over.clear();
    LaterConversion last = null;
    if (!mustHandOver()) {
      last = all.get(0);
      for (int i = 1; i < all.size() && last.getNumberOfDependents() == 0; i++) {
        last = all.get(i);
      }
      all.remove(last);
    }
    // All the others, also those that nothing depends on: something may in a moment, and wait.
    Rest.handOver(all);
    for (LaterConversion next : all) {
      if (next.getNumberOfDependents() == 0) {
        callOut(next::complete);
      }
    }
    if (last != null) {
      callOut(last::complete);
    }
  }

  /**
   * Conversions that are over, to be completed by executors. What depends on one may wait for the
   * others, so each thread that completes one has asked for a further thread before.
   */
  private static final class Rest implements Runnable {
    private final Queue<LaterConversion> left;

    /** Whether an executor has been asked, and has not begun. */
    private final AtomicBoolean asked = new AtomicBoolean();

    /** Threads that run this, and so go on by themselves: an executor may run tasks at once. */
    private final Set<Thread> running = ConcurrentHashMap.newKeySet();

    private Rest(List<LaterConversion> all) {
      left = new ConcurrentLinkedQueue<>(all);
    }

    static void handOver(List<LaterConversion> all) {
      if (!all.isEmpty()) {
        new Rest(all).ask();
      }
    }

    private void ask() {
      LaterConversion next = left.peek();
      if (next != null && asked.compareAndSet(false, true)) {
        next.completions().handOver(this);
      }
    }

    @Override
    public void run() {
      LaterConversion first = left.peek();
      if (first != null && FrameTable.keepsLock()) {
        first.completions().handOverLater(this, 1);
        return;
      }
      asked.set(false);
      Thread thread = Thread.currentThread();
      if (running.add(thread)) {
        try {
          for (LaterConversion next = left.poll(); next != null; next = left.poll()) {
            ask();
            CURRENT.get().callOut(next::complete);
          }
        } finally {
          running.remove(thread);
        }
      }
    }
  }

  /** Runs users' code, which may come back with anything. */
  private void callOut(Runnable dependents) {
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
      LOG.warn("exception on the way out of an operation", e);
    }
  }
}
