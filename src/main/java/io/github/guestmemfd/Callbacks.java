package io.github.guestmemfd;

/**
 * Knows whether this thread is inside a callback of {@link GuestMemfdOps}, where it holds busy bits
 * or a folio lock, and so must not wait for any: not even for those of another host, whose
 * callbacks may want ours.
 */
final class Callbacks {
  private static final ThreadLocal<int[]> DEPTH = ThreadLocal.withInitial(() -> new int[1]);

  private Callbacks() {}

  /** Enters a callback, perhaps from inside another. */
  static void enter() {
    DEPTH.get()[0]++;
  }

  /** Leaves the callback that was entered last. */
  static void leave() {
    DEPTH.get()[0]--;
  }

  static boolean isInside() {
    return DEPTH.get()[0] != 0;
  }

  /** Refuses an operation that may wait. */
  static void forbid(String operation) {
    if (isInside()) {
      throw new GuestMemfdException(
          Errno.EDEADLK, operation + " from inside a callback could wait for its own thread");
    }
  }
}
