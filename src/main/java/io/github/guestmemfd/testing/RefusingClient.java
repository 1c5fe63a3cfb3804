package io.github.guestmemfd.testing;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;

/** A client that counts its callbacks, and refuses one when asked to. */
final class RefusingClient implements GuestMemfdOps {
  private int countdown = -1;
  private boolean throwing;
  private int begins;
  private int ends;

  /** Makes it agree {@code after} times, refuse once, and then agree again. */
  void refuse(int after, boolean thrown) {
    countdown = after;
    throwing = thrown;
  }

  private Errno answer() {
    if (countdown < 0 || countdown-- != 0) {
      return Errno.OK;
    }
    if (throwing) {
      throw new GuestMemfdException(Errno.ENOMEM, "on purpose");
    }
    return Errno.ENOMEM;
  }

  @Override
  public Errno invalidateBegin(long offset, long length) {
    Errno errno = answer();
    if (errno == Errno.OK) {
      begins++;
    }
    return errno;
  }

  @Override
  public void invalidateEnd(long offset, long length) {
    ends++;
    if (throwing) {
      answer();
    }
  }

  @Override
  public Errno prepareInaccessible(Folio folio) {
    return answer();
  }

  void assertPaired(String story) {
    Rule.ALL_OR_NOTHING.check(
        begins == ends,
        story + ": " + begins + " invalidateBegin that agreed and " + ends + " invalidateEnd");
  }
}
