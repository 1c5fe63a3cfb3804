package io.github.guestmemfd.testing;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;

/** The answers of a client that refuses once when asked to. */
final class RefuseOnce {
  private int countdown = -1;
  private boolean throwing;
  private int refusals;

  /** Makes it agree {@code after} times, refuse once, and then agree again; negative for never. */
  void refuse(int after, boolean thrown) {
    countdown = after;
    throwing = thrown;
  }

  /** Whether it refuses by an exception. */
  boolean isThrowing() {
    return throwing;
  }

  /** How often it has refused. */
  int refusals() {
    return refusals;
  }

  Errno answer() {
    if (countdown < 0 || countdown-- != 0) {
      return Errno.OK;
    }
    refusals++;
    if (throwing) {
      throw new GuestMemfdException(Errno.ENOMEM, "on purpose");
    }
    return Errno.ENOMEM;
  }
}
