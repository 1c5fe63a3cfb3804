package io.github.guestmemfd.testing;

import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import org.jspecify.annotations.Nullable;

/**
 * The state of a race: the host takes a plain reference (GUP) while the page is made inaccessible.
 * With a sound protocol exactly one of the two succeeds.
 *
 * <p>Made for jcstress, which this library does not depend on: a test class has this as a field,
 * calls {@link #actor1} and {@link #actor2} from its actors, each once, and then {@link #outcome},
 * once, from its arbiter. Each object is a separate state.
 */
public final class ReferenceVersusConversion {
  /** The reference was taken; the conversion was refused. */
  public static final int REFERENCED = 1;

  /** The page was converted; the reference was refused. */
  public static final int CONVERTED = 2;

  private final Rivalry file;
  private @Nullable HostReference reference;
  private boolean converted;

  /**
   * Creates a state.
   *
   * @param protocol the protocol under test
   */
  public ReferenceVersusConversion(ConversionProtocol protocol) {
    file = new Rivalry(protocol, GuestMemfdOps.NONE, RetryPolicy.failAtOnce());
  }

  /** Takes the reference. */
  public void actor1() {
    try {
      reference = file.window.getUserPages(0, 1);
    } catch (GuestMemfdException e) {
      if (e.errno() != Errno.EFAULT) {
        throw e;
      }
    }
  }

  /** Converts the page. */
  public void actor2() {
    converted = file.memfd.tryMakeInaccessible(0, Rivalry.PAGE) == Errno.OK;
  }

  /**
   * Returns what has become of both, and closes the file.
   *
   * @return the sum of {@link #REFERENCED} and {@link #CONVERTED}, as far as they apply
   */
  public int outcome() {
    HostReference taken = reference;
    if (taken != null) {
      taken.close();
    }
    file.end();
    return (taken == null ? 0 : REFERENCED) + (converted ? CONVERTED : 0);
  }

  /**
   * Returns whether a sound protocol may show an outcome.
   *
   * @param outcome what {@link #outcome} returned
   * @return false for a reference on an inaccessible page, and if neither succeeded
   */
  public static boolean isAllowed(int outcome) {
    return outcome == REFERENCED || outcome == CONVERTED;
  }
}
