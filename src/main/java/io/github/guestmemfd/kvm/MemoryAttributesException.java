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
   * The page that was in the way.
   *
   * @return the guest physical address of the first busy page; if none was busy, of the first
   *     address that was not converted
   */
  public long gpa() {
    return gpa;
  }

  /**
   * Up to where the range has been converted.
   *
   * @return the first guest physical address that was not converted
   */
  public long convertedUpTo() {
    return convertedUpTo;
  }
}
