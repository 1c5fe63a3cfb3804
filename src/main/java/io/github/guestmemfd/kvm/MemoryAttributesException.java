package io.github.guestmemfd.kvm;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;

/** A range of guest addresses could not be converted, from some address on. */
public final class MemoryAttributesException extends GuestMemfdException {
  private static final long serialVersionUID = 1L;

  /** See {@link #gpa}. */
  private final long gpa;

  /** See {@link #convertedUpTo}. */
  private final long convertedUpTo;

  MemoryAttributesException(Errno errno, String message, long gpa, long convertedUpTo) {
    super(errno, message);
    this.gpa = gpa;
    this.convertedUpTo = convertedUpTo;
  }

  /**
   * Returns the address of the busy page.
   *
   * @return the guest physical address of the first busy page; if none was busy, the first address
   *     that was not converted
   */
  public long gpa() {
    return gpa;
  }

  /**
   * Returns how far the range has been converted.
   *
   * @return the first guest physical address that was not converted
   */
  public long convertedUpTo() {
    return convertedUpTo;
  }
}
