package io.github.guestmemfd.testing;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;

/** A client that counts its callbacks, and refuses one when asked to. */
final class RefusingClient implements GuestMemfdOps {
  private final RefuseOnce answers = new RefuseOnce();
  private int begins;
  private int ends;

  /** See {@link RefuseOnce#refuse}. */
  void refuse(int after, boolean thrown) {
    answers.refuse(after, thrown);
  }

  @Override
  public Errno invalidateBegin(long offset, long length) {
    Errno errno = answers.answer();
    if (errno == Errno.OK) {
      begins++;
    }
    return errno;
  }

  @Override
  public void invalidateEnd(long offset, long length) {
    ends++;
    if (answers.isThrowing()) {
      answers.answer();
    }
  }

  @Override
  public Errno prepareInaccessible(Folio folio) {
    return answers.answer();
  }

  void assertPaired(String story) {
    Rule.ALL_OR_NOTHING.check(
        begins == ends,
        story + ": " + begins + " invalidateBegin that agreed and " + ends + " invalidateEnd");
  }
}
