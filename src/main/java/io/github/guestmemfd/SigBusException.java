package io.github.guestmemfd;

import io.github.guestmemfd.spi.Hex;

/**
 * An access through a mapping met a page that the host may not touch: it is inaccessible, past the
 * end of the file, or its memory has failed. The kernel sends SIGBUS with this address.
 */
public final class SigBusException extends GuestMemfdException {
  private static final long serialVersionUID = 1L;

  /** Offset in the mapping in bytes. */
  private final long offset;

  SigBusException(long offset, String why) {
    super(Errno.EFAULT, "SIGBUS at offset " + Hex.of(offset) + " of the mapping: " + why);
    this.offset = offset;
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
}
