package io.github.guestmemfd.abi;

import java.util.Objects;

/**
 * An access through a mapping met a page that the host may not touch: it is inaccessible, past the
 * end of the file, or its memory has failed. The kernel sends SIGBUS with this address, and with a
 * {@linkplain #code code} that tells failed memory from the rest.
 */
public final class SigBusException extends GuestMemfdException {
  private static final long serialVersionUID = 1L;

  /** The {@code si_code} of the signal, as {@code sigaction(2)} names it. */
  public enum Code {
    /** The page cannot be touched: it is inaccessible, or past the end of the file. */
    BUS_ADRERR(2),
    /**
     * The memory of the page has failed, and the thread that gets the signal was about to use it:
     * action required.
     */
    BUS_MCEERR_AR(4);

    private final int value;

    Code(int value) {
      this.value = value;
    }

    /**
     * The kernel's number.
     *
     * @return the number
     */
    public int value() {
      return value;
    }
  }

  /** Offset in the mapping in bytes. */
  private final long offset;

  /** Which kind of SIGBUS. */
  private final Code code;

  /**
   * An access that got the signal.
   *
   * @param offset where in the mapping, in bytes
   * @param code why, as a number
   * @param why why, in words
   */
  public SigBusException(long offset, Code code, String why) {
    super(
        Errno.EFAULT,
        "SIGBUS at offset "
            + Hex.of(offset)
            + " of the mapping: "
            + Objects.requireNonNull(why, "why"));
    this.offset = offset;
    this.code = Objects.requireNonNull(code, "code");
  }

  /**
   * Where the access failed.
   *
   * @return the offset of the first byte that could not be accessed, in bytes from the start of the
   *     mapping
   */
  public long offset() {
    return offset;
  }

  /**
   * What kind of SIGBUS it is: {@code si_code}.
   *
   * @return {@link Code#BUS_MCEERR_AR} if the memory has failed
   */
  public Code code() {
    return code;
  }
}
