package io.github.guestmemfd.kvm;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.abi.Hex;

/**
 * Where the conversion of a range of guest addresses stopped, and which holders blocked it.
 *
 * <p>A mutable result, which hot loops reuse from call to call; not safe for use by several threads
 * at once.
 */
public final class BusyGuestPage {
  private static final BusyFolio NONE = new BusyFolio();

  private final BusyFolio folio = new BusyFolio();
  private boolean isBusy;
  private long gpa;
  private long convertedUpTo;

  /** Creates a result. */
  public BusyGuestPage() {}

  /** Sets where the conversion stopped, without a busy page. */
  void set(long first) {
    gpa = first;
    convertedUpTo = first;
    isBusy = false;
  }

  /** Sets where the conversion stopped, and the busy page. */
  void set(long culprit, long upTo, boolean busy) {
    gpa = culprit;
    convertedUpTo = upTo;
    isBusy = busy;
  }

  /** The holders, to be filled in by a conversion. */
  BusyFolio holders() {
    return folio;
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

  /**
   * Returns the holders of the busy page.
   *
   * @return the holders, overwritten by the next call; its offset is -1 if no page was busy
   */
  public BusyFolio folio() {
    return isBusy ? folio : NONE;
  }

  @Override
  public String toString() {
    return "gpa " + Hex.of(gpa) + ": " + folio();
  }
}
