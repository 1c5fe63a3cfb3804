package io.github.guestmemfd.abi;

import org.jspecify.annotations.Nullable;

/** The answers of a system call, by the kernel's names. */
public enum Errno {
  /** No error. */
  OK(0),
  /** Operation not permitted. */
  EPERM(1),
  /** There is nothing there. */
  ENOENT(2),
  /** Interrupted while waiting; what was done is kept, and the call can be repeated. */
  EINTR(4),
  /** Input/output error: a memslot and its file do not belong together. */
  EIO(5),
  /** Bad descriptor: it is closed. */
  EBADF(9),
  /** Try again: a holder of a folio is in the way. */
  EAGAIN(11),
  /** Out of memory. */
  ENOMEM(12),
  /** Permission denied. */
  EACCES(13),
  /** Bad address: the memory there cannot be used in this way. */
  EFAULT(14),
  /** Busy. */
  EBUSY(16),
  /** Something else is there already. */
  EEXIST(17),
  /** The file does not support this. */
  ENODEV(19),
  /** Invalid argument. */
  EINVAL(22),
  /** The file has no such ioctl. */
  ENOTTY(25),
  /** The file would be too large. */
  EFBIG(27),
  /** Cannot seek. */
  ESPIPE(29),
  /** The call would wait for its own thread. */
  EDEADLK(35),
  /** Value too large. */
  EOVERFLOW(75),
  /** Operation not supported. */
  EOPNOTSUPP(95),
  /** Undone before it was complete. */
  ECANCELED(125),
  /** The memory of the page has failed. */
  EHWPOISON(133);

  private static final @Nullable Errno[] BY_CODE = new @Nullable Errno[134];

  static {
    for (Errno errno : values()) {
      BY_CODE[errno.code] = errno;
    }
  }

  private final int code;

  Errno(int code) {
    this.code = code;
  }

  /**
   * The number that Linux on x86-64 gives this error.
   *
   * @return the number, 0 for {@link #OK}
   */
  public int code() {
    return code;
  }

  /**
   * The errno of a result that is one: a negated code, as the kernel's own functions return it, and
   * as {@link io.github.guestmemfd.GuestMemfd#tryGrab} does.
   *
   * @param result the result, at most 0
   * @return the errno
   * @throws IllegalArgumentException if it is not the negated code of an errno named here
   */
  public static Errno ofResult(int result) {
    Errno errno = result <= 0 && result > -BY_CODE.length ? BY_CODE[-result] : null;
    if (errno == null) {
      throw new IllegalArgumentException("expected a negated errno, actual " + result);
    }
    return errno;
  }
}
