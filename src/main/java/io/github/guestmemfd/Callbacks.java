package io.github.guestmemfd;

import org.jspecify.annotations.Nullable;

/**
 * Knows whether this thread is inside a callback of {@link GuestMemfdOps}, where it holds busy bits
 * or a folio lock, and so must not wait for any.
 */
final class Callbacks {
  private static final ThreadLocal<@Nullable HostMemory> INSIDE = new ThreadLocal<>();

  private Callbacks() {}

  /** Enters a callback; the result is for {@link #leave}. */
  static @Nullable HostMemory enter(HostMemory host) {
    HostMemory outer = INSIDE.get();
    INSIDE.set(host);
    return outer;
  }

  static void leave(@Nullable HostMemory outer) {
    if (outer == null) {
      INSIDE.remove();
    } else {
      INSIDE.set(outer);
    }
  }

  /** Refuses an operation that may wait, if this thread is inside a callback of the same host. */
  static void forbid(HostMemory host, String operation) {
    if (INSIDE.get() == host) {
      throw new GuestMemfdException(
          Errno.EDEADLK, operation + " from inside a callback would wait for its own thread");
    }
  }
}
