package io.github.guestmemfd.abi;

import java.util.Objects;

/** An access that the protection of its mapping forbids. The kernel sends SIGSEGV. */
public final class SigSegvException extends GuestMemfdException {
  private static final long serialVersionUID = 1L;

  /** Offset in the mapping in bytes. */
  private final long offset;

  /**
   * An access that got the signal.
   *
   * @param offset where in the mapping, in bytes
   * @param why why
   */
  public SigSegvException(long offset, String why) {
    super(
        Errno.EFAULT,
        "SIGSEGV at offset "
            + Hex.of(offset)
            + " of the mapping: "
            + Objects.requireNonNull(why, "why"));
    this.offset = offset;
  }

  /**
   * Where the access failed.
   *
   * @return the offset in bytes from the start of the mapping
   */
  public long offset() {
    return offset;
  }
}
