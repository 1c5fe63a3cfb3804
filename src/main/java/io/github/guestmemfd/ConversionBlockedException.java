package io.github.guestmemfd;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;

/**
 * A range could not become inaccessible because a holder of one of its folios is in the way: {@link
 * Errno#EAGAIN}. No page of the range has changed; its mappings have to fault again.
 */
public final class ConversionBlockedException extends GuestMemfdException {
  private static final long serialVersionUID = 1L;

  /** The first folio in the way. */
  private final BusyFolio busy;

  ConversionBlockedException(BusyFolio busy) {
    super(Errno.EAGAIN, "busy folio at " + busy);
    this.busy = busy;
  }

  /**
   * The first folio in the way, and its holders.
   *
   * @return the folio; not to be passed to other calls
   */
  public BusyFolio busyFolio() {
    return busy;
  }
}
