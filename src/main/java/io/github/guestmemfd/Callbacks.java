package io.github.guestmemfd;

/**
 * Knows whether this thread is inside a callback of {@link GuestMemfdOps}, where it holds busy bits
 * or a folio lock, and so must not wait for any.
 */
final class Callbacks {
  private static final ThreadLocal<Boolean> INSIDE = new ThreadLocal<>();

  private Callbacks() {}

  /** Enters a callback; the result is for {@link #leave}. */
  static boolean enter() {
    boolean outer = isInside();
    INSIDE.set(true);
    return outer;
  }

  static void leave(boolean outer) {
    if (!outer) {
      INSIDE.remove();
    }
  }

  static boolean isInside() {
    return INSIDE.get() != null;
  }

  /** Refuses an operation that may wait. */
  static void forbid(String operation) {
    if (isInside()) {
      throw new GuestMemfdException(
          Errno.EDEADLK, operation + " from inside a callback could wait for its own thread");
    }
  }
}
