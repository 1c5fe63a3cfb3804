package io.github.guestmemfd.testing;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import org.jspecify.annotations.Nullable;

/**
 * The state of a race: a guest-side holder takes the folio of a page while the page is punched. It
 * gets the old folio, which then is an orphan unless the punch was refused, or the new one in its
 * place.
 *
 * <p>Use it like {@link ReferenceVersusConversion}. The protocol must not be one whose holders keep
 * the folio lock: the punch would wait for the arbiter.
 */
public final class PunchVersusGrab {
  /** The punch was refused: the folio is in its place. */
  public static final int REFUSED = 1;

  /** The grab came first: its folio is an orphan, and the page a hole. */
  public static final int ORPHAN = 2;

  /** The punch came first: the folio is a new one, in its place. */
  public static final int NEW = 3;

  private final Rivalry file;
  private final int old;
  private @Nullable Folio folio;
  private boolean punched;

  /**
   * Creates a state.
   *
   * @param protocol the protocol under test
   * @param ops the client under test
   */
  public PunchVersusGrab(ConversionProtocol protocol, GuestMemfdOps ops) {
    file = new Rivalry(protocol, ops, RetryPolicy.failAtOnce());
    try (Folio first = file.memfd.grab(0)) {
      old = first.pfn();
    }
  }

  /** Takes the folio. */
  public void actor1() {
    folio = file.memfd.grab(0);
  }

  /** Punches the page. */
  public void actor2() {
    try {
      file.memfd.punchHole(0, Rivalry.PAGE);
      punched = true;
    } catch (GuestMemfdException e) {
      if (e.errno() != Errno.EBUSY) {
        throw e;
      }
    }
  }

  /**
   * Returns which folio was taken, drops it, and closes the file.
   *
   * @return {@link #REFUSED}, {@link #ORPHAN} or {@link #NEW}; 0 if it is none of them
   */
  public int outcome() {
    Folio held = folio;
    if (held == null) {
      file.end();
      return 0;
    }
    boolean orphan = held.isOrphan();
    boolean same = held.pfn() == old;
    boolean present = file.memfd.cachedPages() == 1;
    held.close();
    file.end();
    if (!punched) {
      return same && !orphan && present ? REFUSED : 0;
    }
    if (orphan) {
      return same && !present ? ORPHAN : 0;
    }
    return present ? NEW : 0; // it may be the same frame, used again
  }

  /**
   * Returns whether a protocol may show an outcome.
   *
   * @param outcome what {@link #outcome} returned
   * @return false for 0
   */
  public static boolean isAllowed(int outcome) {
    return outcome != 0;
  }
}
