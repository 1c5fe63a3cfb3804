package io.github.guestmemfd;

import org.jspecify.annotations.Nullable;

/**
 * Knows whether this thread is inside a callback of {@link GuestMemfdOps}, where it holds busy bits
 * or a folio lock of the host, and so must not wait for any.
 */
final class Callbacks {
  private static final ThreadLocal<@Nullable Callbacks> INNERMOST = new ThreadLocal<>();

  private final HostMemory host;
  private final @Nullable Callbacks outer;

  private Callbacks(HostMemory host, @Nullable Callbacks outer) {
    this.host = host;
    this.outer = outer;
  }

  /** Enters a callback, perhaps from inside one of another host. */
  static void enter(HostMemory host) {
    INNERMOST.set(new Callbacks(host, INNERMOST.get()));
  }

  /** Leaves the callback that was entered last. */
  static void leave() {
    Callbacks left = INNERMOST.get();
    if (left == null || left.outer == null) {
      INNERMOST.remove();
    } else {
      INNERMOST.set(left.outer);
    }
  }

  static boolean isInside(HostMemory host) {
    for (Callbacks c = INNERMOST.get(); c != null; c = c.outer) {
      if (c.host == host) {
        return true;
      }
    }
    return false;
  }

  /** Refuses an operation that may wait. */
  static void forbid(HostMemory host, String operation) {
    if (isInside(host)) {
      throw new GuestMemfdException(
          Errno.EDEADLK, operation + " from inside a callback could wait for its own thread");
    }
  }
}
