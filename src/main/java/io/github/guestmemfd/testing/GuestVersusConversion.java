package io.github.guestmemfd.testing;

import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.ConversionProtocol;

/**
 * The state of a race: a guest-side holder takes the folio and drops it while the page is made
 * inaccessible. Both succeed, within the protocol's own retry policy.
 *
 * <p>Use it like {@link ReferenceVersusConversion}.
 */
public final class GuestVersusConversion {
  /** The guest-side holder has had the folio. */
  public static final int HELD = 1;

  /** The page was converted. */
  public static final int CONVERTED = 2;

  private final Rivalry file;
  private boolean held;
  private boolean converted;

  /**
   * Creates a state.
   *
   * @param protocol the protocol under test
   */
  public GuestVersusConversion(ConversionProtocol protocol) {
    file = new Rivalry(protocol, GuestMemfdOps.NONE, protocol.retryPolicy());
  }

  /** Takes the folio and drops it. */
  public void actor1() {
    int pfn = file.memfd.tryGrab(0, HolderKind.SAFE);
    if (pfn > 0) {
      file.memfd.put(pfn, HolderKind.SAFE);
      held = true;
    }
  }

  /** Converts the page. */
  public void actor2() {
    converted = file.memfd.tryMakeInaccessible(0, Rivalry.PAGE) == Errno.OK;
  }

  /**
   * Returns what has become of both, and closes the file.
   *
   * @return the sum of {@link #HELD} and {@link #CONVERTED}, as far as they apply
   */
  public int outcome() {
    boolean quiet =
        file.memfd.tryMakeAccessible(0, Rivalry.PAGE) == Errno.OK
            && file.memfd.tryMakeInaccessible(0, Rivalry.PAGE) == Errno.OK;
    file.end();
    return quiet ? (held ? HELD : 0) + (converted ? CONVERTED : 0) : 0;
  }

  /**
   * Returns whether a complete protocol may show an outcome.
   *
   * @param outcome what {@link #outcome} returned
   * @return false if one of the two was refused, or if a conversion is refused when the guest has
   *     gone (then the outcome is 0). A protocol that does not wait may be refused; for such a
   *     protocol accept {@link #HELD} alone as well
   */
  public static boolean isAllowed(int outcome) {
    return outcome == HELD + CONVERTED;
  }
}
