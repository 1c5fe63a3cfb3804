package io.github.guestmemfd.abi;

import java.util.Objects;

/**
 * A call was refused. Unless the errno says otherwise ({@link Errno#EINTR}) nothing has changed.
 */
public class GuestMemfdException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** What the kernel would answer. */
  private final Errno errno;

  /**
   * Makes an exception.
   *
   * @param errno what the kernel would answer
   * @param message what was expected and what was met
   */
  public GuestMemfdException(Errno errno, String message) {
    super(
        Objects.requireNonNull(errno, "errno") + ": " + Objects.requireNonNull(message, "message"));
    this.errno = errno;
  }

  /**
   * What the kernel would answer.
   *
   * @return the errno, never {@link Errno#OK}
   */
  public final Errno errno() {
    return errno;
  }
}
