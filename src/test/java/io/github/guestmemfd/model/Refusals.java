package io.github.guestmemfd.model;

import io.github.guestmemfd.abi.Errno;
import java.util.List;

/**
 * Which callbacks refuse and which throw. Callbacks are counted from 0 over all files of a host, by
 * the library and by the model each for itself.
 */
record Refusals(List<Refusal> list) {

  /** What one callback does; it throws if the errno is OK, or if it has no result. */
  record Refusal(int callback, Errno errno) {
    @Override
    public String toString() {
      return "callback " + callback + (errno == Errno.OK ? " throws" : " answers " + errno);
    }
  }

  static final Refusals NONE = new Refusals(List.of());

  /** What a callback that has a result does: null to agree. */
  Outcome answer(int callback) {
    for (Refusal refusal : list) {
      if (refusal.callback == callback) {
        return refusal.errno == Errno.OK
            ? new Outcome.CallbackThrew(callback)
            : new Outcome.Refused(refusal.errno);
      }
    }
    return null;
  }

  /** Whether a callback without a result throws. */
  boolean throwsAt(int callback) {
    return answer(callback) != null;
  }
}
