package io.github.guestmemfd.platform;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.testing.GuestMemfdOpsContract;
import java.util.OptionalLong;
import java.util.function.LongUnaryOperator;

/** The contract of clients, run on a platform's guest; its hardware does not fail. */
abstract class PlatformContract extends GuestMemfdOpsContract {

  /** A guest that has not been launched. */
  abstract PlatformGuest guest();

  @Override
  protected GuestMemfdOps ops() {
    PlatformGuest guest = guest();
    guest.finishLaunch();
    return guest;
  }

  private static PlatformGuest of(GuestMemfdOps client) {
    return (PlatformGuest) client;
  }

  @Override
  protected void use(GuestMemfdOps client, GuestMemfd memfd, long offset) {
    Errno errno = of(client).use(memfd, offset);
    if (errno != Errno.OK && errno != Errno.EFAULT) { // EFAULT: a shared page
      throw new GuestMemfdException(errno, "use of a page");
    }
  }

  @Override
  protected boolean access(
      GuestMemfdOps client, GuestMemfd memfd, long offset, LongUnaryOperator number) {
    for (; ; ) {
      OptionalLong old = of(client).read(offset);
      if (old.isEmpty()) {
        return false;
      }
      long to = number.applyAsLong(old.getAsLong());
      OptionalLong met = of(client).compareAndExchange(offset, old.getAsLong(), to);
      if (met.isEmpty()) {
        return false;
      }
      if (met.getAsLong() == old.getAsLong()) {
        return true;
      }
    }
  }

  @Override
  protected boolean announcesItsSteps() {
    return true;
  }
}
