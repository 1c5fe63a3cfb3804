package io.github.guestmemfd.kvm;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.abi.Hex;

/**
 * Where the conversion of a range of guest addresses stopped, and who was in the way.
 *
 * <p>A plain holder for results, reused from call to call by hot loops; not safe for use by several
 * threads at once.
 */
public final class BusyGuestPage {
  private static final BusyFolio NOBODY = new BusyFolio();

  private final BusyFolio folio = new BusyFolio();
  private boolean isBusy;
  private long gpa;
  private long convertedUpTo;

  /** Makes a result. */
  public BusyGuestPage() {}

  /** Says where it stopped, without anybody being in the way. */
  void set(long first) {
    gpa = first;
    convertedUpTo = first;
    isBusy = false;
  }

  /** Says where it stopped, and which page was in the way. */
  void set(long culprit, long upTo, boolean busy) {
    gpa = culprit;
    convertedUpTo = upTo;
    isBusy = busy;
  }

  /** To be filled in by a conversion. */
  BusyFolio holders() {
    return folio;
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

  /**
   * Who was in the way.
   *
   * @return the holders, overwritten by the next call; its offset is -1 if no page was busy
   */
  public BusyFolio folio() {
    return isBusy ? folio : NOBODY;
  }

  @Override
  public String toString() {
    return "gpa " + Hex.of(gpa) + ": " + folio();
  }
}
