package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.spi.Wait;
import org.jspecify.annotations.Nullable;

/**
 * The refusals of calls: errnos as exceptions, with the reasons that an errno alone does not give.
 */
public final class Refusals {
  private Refusals() {}

  /**
   * An exception for an errno.
   *
   * @param errno the errno
   * @param what what was called, and what is wrong
   * @return the exception
   */
  public static GuestMemfdException exception(Errno errno, String what) {
    return new GuestMemfdException(errno, what);
  }

  /**
   * An exception for an errno that this thread has just been answered with, after its arguments
   * were found good.
   *
   * @param errno the answer
   * @param call what was called, with its arguments
   * @param host the host of the file that answered
   * @return the exception
   */
  public static GuestMemfdException refused(Errno errno, String call, Host host) {
    return refused(errno, call, host, null);
  }

  /**
   * As {@link #refused(Errno, String, Host)}, for a call with errnos of its own.
   *
   * @param errno the answer
   * @param call what was called, with its arguments
   * @param host the host of the file that answered
   * @param own what the errno means to the call, if no callback has answered it; null if nothing of
   *     its own
   * @return the exception
   */
  public static GuestMemfdException refused(
      Errno errno, String call, Host host, @Nullable String own) {
    CallbackContext.Reason reason = CallbackContext.reason(errno);
    String why = own == null || reason != null ? why(errno, host) : own;
    GuestMemfdException e = exception(errno, call + ": " + why);
    if (reason != null && reason.noMemory() != null) {
      e.initCause(reason.noMemory());
    }
    return e;
  }

  /**
   * Why this thread has just been answered with an errno.
   *
   * @param errno the answer
   * @param host the host of the file that answered
   * @return the reason in words
   */
  public static String why(Errno errno, Host host) {
    if (errno == Errno.EDEADLK && CallbackContext.isInside()) {
      return CallbackContext.deadlock();
    }
    CallbackContext.Reason reason = CallbackContext.reason(errno);
    if (reason != null) {
      return reason.text();
    }
    return switch (errno) {
      case EAGAIN -> "a conversion of the page is pending";
      case EBADF -> "the file is gone";
      case EDEADLK -> CallbackContext.deadlock();
      case EFAULT -> "the page is inaccessible";
      case EHWPOISON -> "the memory of the page has failed";
      case EINTR -> "the thread was interrupted";
      case ENOMEM -> "expected more free memory in " + host;
      default -> "refused";
    };
  }

  /**
   * The errno to answer with after a wait that ended early. If an interrupt has ended it, the
   * thread's interrupt status is set again.
   *
   * @param e what the wait threw
   * @return EINTR, or EDEADLK for a wait that could have been for the thread itself
   */
  public static Errno ended(InterruptedException e) {
    CallbackContext.forgetReason(); // this is the reason
    Wait.restore(e);
    return Wait.isDeadlock(e) ? Errno.EDEADLK : Errno.EINTR;
  }

  /**
   * As {@link #ended}, as an exception.
   *
   * @param e what the wait threw
   * @param what what was called
   * @return the exception
   */
  public static GuestMemfdException interrupted(InterruptedException e, String what) {
    Errno errno = ended(e);
    return exception(
        errno,
        what
            + ": "
            + (errno == Errno.EINTR ? "the thread was interrupted" : CallbackContext.deadlock()));
  }
}
