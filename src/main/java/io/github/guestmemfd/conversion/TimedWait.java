package io.github.guestmemfd.conversion;

import java.time.Duration;
import java.util.List;

/**
 * {@code timed-wait}: RFC v2 of August 2024. A grab looks the folio up, waits for the folio lock
 * with that reference in hand, and under the lock raises the safe count. A conversion locks the
 * folio and waits, with the lock held, up to 10 ms for every reference to be a safe one; while a
 * user has the folio counted as accessible it does not wait, but is refused at once.
 *
 * <p><b>Assumptions.</b> The holders that the conversion waits for need nothing that it holds.
 *
 * <p><b>Guarantees.</b> Sound, for the same reason as {@code both-counters}.
 *
 * <p><b>Progress.</b> The assumption is wrong for a second vCPU that faults on the same folio: it
 * waits for the very lock, and its reference counts as unsafe until it gets it. The conversion
 * waits the full 10 ms and is refused.
 */
public final class TimedWait extends Shipped {
  static final TimedWait INSTANCE = new TimedWait();

  private static final RetryPolicy TEN_MILLIS = RetryPolicy.spinThenWait(0, Duration.ofMillis(10));

  private TimedWait() {
    super(
        "timed-wait",
        "to study RFC v2: a holder that needs the folio lock waits for the conversion that waits.");
  }

  @Override
  public List<Step> guestTakes() {
    return List.of(Step.REF, Step.LOCK, Step.SAFE, Step.UNLOCK);
  }

  @Override
  public boolean mayTurnInaccessible(int refs, int safe) {
    return refs == safe + 1;
  }

  /** A user that wants the folio accessible does not go away within milliseconds. */
  @Override
  public boolean isWorthWaiting(int refs, int safe, int accessible) {
    return accessible == 0;
  }

  @Override
  public boolean waitsWithFolioLock() {
    return true;
  }

  @Override
  public RetryPolicy retryPolicy() {
    return TEN_MILLIS;
  }
}
