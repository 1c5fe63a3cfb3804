package io.github.guestmemfd;

/**
 * What this thread is in the middle of, on any host.
 *
 * <p>Inside a callback of {@link GuestMemfdOps} it holds busy bits or a folio lock, and so must not
 * wait for any: not even for those of another host, whose callbacks may want ours. Inside a range
 * operation it holds busy bits, and must not begin another one on the side.
 */
final class Callbacks {

  private static final class Depth {
    int callbacks;
    int operations;
  }

  private static final ThreadLocal<Depth> DEPTH = ThreadLocal.withInitial(Depth::new);

  private Callbacks() {}

  /** Enters a callback, perhaps from inside another. */
  static void enter() {
    DEPTH.get().callbacks++;
  }

  /** Leaves the callback that was entered last. */
  static void leave() {
    DEPTH.get().callbacks--;
  }

  static boolean isInside() {
    return DEPTH.get().callbacks != 0;
  }

  /** Enters a range operation, whose pages this thread now holds. */
  static void enterOperation() {
    DEPTH.get().operations++;
  }

  /** Leaves a range operation, whose pages have been let go. */
  static void leaveOperation() {
    DEPTH.get().operations--;
  }

  static boolean holdsPages() {
    Depth depth = DEPTH.get();
    return depth.callbacks != 0 || depth.operations != 0;
  }

  /** Refuses an operation that may wait. */
  static void forbid(String operation) {
    if (isInside()) {
      throw new GuestMemfdException(
          Errno.EDEADLK, operation + " from inside a callback could wait for its own thread");
    }
  }
}
