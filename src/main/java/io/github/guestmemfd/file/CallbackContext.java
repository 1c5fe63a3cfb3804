package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import java.util.Objects;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * The operations and callbacks that a thread is inside, on any host.
 *
 * <p>Inside a callback the thread holds busy bits or a folio lock, and so must not wait for any:
 * not even for those of another host, whose callbacks may wait for the ones it holds. Inside an
 * operation it holds busy bits, a lock, or references that it is about to drop. Work that comes up
 * meanwhile and needs pages itself, or calls users' code, is put off until the thread has left all
 * of them: see {@link WayOut}.
 */
public final class CallbackContext {
  private static final ThreadLocal<CallbackContext> CURRENT =
      ThreadLocal.withInitial(CallbackContext::new);

  /** The innermost callback that the thread is in; null for none. */
  private @Nullable Call inside;

  /** The outermost callback, whenever the thread is in one. */
  private final Call outermost = new Call(null);

  private int operations;

  /** Why its operation is about to be refused, if a callback or the JVM is the reason. */
  private @Nullable Reason reason;

  private final WayOut wayOut = WayOut.of(this::isInTheMiddle);

  private CallbackContext() {}

  // ---- callbacks ----

  /**
   * A callback under way. A thread keeps the one of each depth for the next callback there: a
   * conversion may call back for each page, and is to make no garbage.
   */
  private static final class Call {
    final @Nullable Call outer;

    /** The one for callbacks that are made inside this one; null before the first. */
    private @Nullable Call inner;

    String name = "";
    @Nullable Object file;
    long offset;
    long length;

    /**
     * What becomes the operation's reason when the callback is left: its refusal, or the reason
     * that there was before.
     */
    @Nullable Reason reason;

    Call(@Nullable Call outer) {
      this.outer = outer;
    }

    Call inner() {
      Call next = inner;
      if (next == null) {
        next = new Call(this);
        inner = next;
      }
      return next;
    }

    @Override
    public String toString() {
      return describe(name, offset, length) + " of " + file;
    }
  }

  /** A callback in words, with its pages; those of a folio that is being freed are not known. */
  private static String describe(String name, long offset, long length) {
    return "callback " + name + (offset < 0 ? "" : Hex.range(offset, length));
  }

  /**
   * Enters a callback, perhaps from inside another.
   *
   * @param name its method
   * @param file the file that calls it
   * @param offset where its pages begin; negative if it is not known
   * @param length how many bytes they are
   */
  static void enterCallback(String name, Object file, long offset, long length) {
    CallbackContext current = CURRENT.get();
    Call call = current.inside == null ? current.outermost : current.inside.inner();
    call.name = name;
    call.file = file;
    call.offset = offset;
    call.length = length;
    call.reason = current.reason;
    current.inside = call;
    current.reason = null;
  }

  /** Leaves the callback that was entered last. */
  static void leaveCallback() {
    CallbackContext current = CURRENT.get();
    Call left = current.innermost();
    current.inside = left.outer;
    current.reason = left.reason;
    left.file = null; // the thread may outlive it
    left.reason = null;
  }

  /** Checks what the innermost callback has answered, and keeps a refusal as the reason. */
  static Errno answered(@Nullable Errno errno) {
    Call call = CURRENT.get().innermost();
    if (errno == null) {
      throw new NullPointerException(call + " answered null, expected an Errno");
    }
    Reason before = call.reason; // a refusal while the operation is undone is not the reason
    if (errno != Errno.OK && (before == null || before.noMemory != null)) {
      call.reason = new Reason(errno, call.name, call.offset, call.length, null);
    }
    return errno;
  }

  /**
   * Makes a call of a client that is not a file's own as one of its callbacks.
   *
   * @param name its method
   * @param file the file whose pages it is about
   * @param offset where they begin
   * @param length how many bytes they are
   * @param call the call
   * @return what it answers
   */
  public static Errno inCallback(
      String name, Object file, long offset, long length, Supplier<Errno> call) {
    enterCallback(name, file, offset, length);
    try {
      return answered(call.get());
    } finally {
      leaveCallback();
    }
  }

  private Call innermost() {
    return Objects.requireNonNull(inside, "expected to be inside a callback");
  }

  /**
   * Whether this thread is inside a callback, of any host.
   *
   * @return the answer
   */
  public static boolean isInside() {
    return CURRENT.get().inside != null;
  }

  /**
   * The callback that this thread is inside.
   *
   * @return the innermost one in words; null if it is in none
   */
  public static @Nullable String inside() {
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

  /** Notes as the reason that the JVM has no memory for what an operation needs. */
  static void outOfMemory(OutOfMemoryError e) {
    CURRENT.get().reason = new Reason(Errno.ENOMEM, "", 0, 0, e);
  }

  /** Forgets the reason: what begins now may be refused for another one. */
  static void forgetReason() {
    CURRENT.get().reason = null;
  }

  /** The reason for what has just been answered; null if the errno says it all. */
  static @Nullable Reason reason(Errno errno) {
    Reason why = CURRENT.get().reason;
    return why != null && why.errno == errno ? why : null;
  }

  // ---- operations ----

  /**
   * Enters an operation. Until it is left, the thread may hold busy bits, locks or references, and
   * work that comes up is put off.
   */
  public static void enterOperation() {
    CallbackContext current = CURRENT.get();
    if (!current.isInTheMiddle()) {
      current.reason = null;
    }
    current.operations++;
  }

  /** Leaves an operation, which has given back what it held. */
  public static void leaveOperation() {
    CallbackContext current = CURRENT.get();
    current.operations--;
    current.runWayOutIfOut();
  }

  /**
   * Whether this thread is inside an operation or a callback.
   *
   * @return the answer
   */
  public static boolean isInTheMiddleOfAny() {
    return CURRENT.get().isInTheMiddle();
  }

  private boolean isInTheMiddle() {
    return inside != null || operations != 0;
  }

  /**
   * Refuses an operation that may wait.
   *
   * @param operation what it is
   * @throws GuestMemfdException EDEADLK inside a callback
   */
  public static void forbid(String operation) {
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

  /** Runs a step once this thread has left every operation and callback: now, if it is in none. */
  static void whenOut(Runnable step) {
    CallbackContext current = CURRENT.get();
    current.wayOut.add(step);
    current.runWayOutIfOut();
  }

  /**
   * Completes a future whose outcome is decided, once this thread has left every operation and
   * callback.
   */
  static void complete(WayOut.Completable completable) {
    CallbackContext current = CURRENT.get();
    current.wayOut.add(completable);
    current.runWayOutIfOut();
  }

  /**
   * Does the work that was put off, if this thread is in no operation or callback. For callbacks
   * that are not part of an operation, which call this when they are over.
   */
  static void runIfOut() {
    CURRENT.get().runWayOutIfOut();
  }

  private void runWayOutIfOut() {
    if (!wayOut.isEmpty()) {
      Reason own = reason; // of the operation that is over, not of the work that follows
      wayOut.go();
      reason = own;
    }
  }
}
