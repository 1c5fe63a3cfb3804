package io.github.guestmemfd.conversion;

import java.time.Duration;
import java.util.concurrent.TimeUnit;

/**
 * How long a conversion keeps trying when a folio has a holder it did not expect.
 *
 * <p>Speculative references (lookups that are about to find out that they came too late) go away by
 * themselves and quickly; others may not. While a conversion tries, all pages of its range are
 * busy.
 *
 * @param spins how often to look again at each folio that is in the way, idling in between, before
 *     waiting for it; at least 0
 * @param waitNanos how long to wait after that, in nanoseconds and for the whole range, woken
 *     whenever a reference is dropped; at least 0
 * @param completesLater whether a conversion that still is refused after that may be left pending,
 *     to be completed when the last holder lets go ({@code GuestMemfd.makeInaccessibleLater})
 */
public record RetryPolicy(int spins, long waitNanos, boolean completesLater) {

  /**
   * Checks the values.
   *
   * @param spins as above
   * @param waitNanos as above
   * @param completesLater as above
   * @throws IllegalArgumentException if one is negative
   */
  public RetryPolicy {
    if (spins < 0 || waitNanos < 0) {
      throw new IllegalArgumentException(
          "expected spins >= 0 and waitNanos >= 0, actual " + spins + " and " + waitNanos);
    }
  }

  /**
   * Refuses at the first mismatch, as the kernel's in-place conversion does.
   *
   * @return the policy
   */
  public static RetryPolicy failAtOnce() {
    return new RetryPolicy(0, 0, false);
  }

  /**
   * Looks again a number of times, then refuses.
   *
   * @param spins how often, for each folio that is in the way
   * @return the policy
   * @throws IllegalArgumentException if it is negative
   */
  public static RetryPolicy spin(int spins) {
    return new RetryPolicy(spins, 0, false);
  }

  /**
   * Looks again a number of times, then waits for holders to let go, then refuses.
   *
   * @param spins how often to look, for each folio that is in the way
   * @param wait how long to wait, for the whole range; what is longer than 2^63 - 1 nanoseconds
   *     (292 years) counts as that
   * @return the policy
   * @throws IllegalArgumentException if one is negative
   */
  public static RetryPolicy spinThenWait(int spins, Duration wait) {
    return new RetryPolicy(
        spins, wait.isNegative() ? -1 : TimeUnit.NANOSECONDS.convert(wait), false);
  }

  /**
   * Refuses at the first mismatch or, where the caller can be told later, completes when the last
   * holder has let go.
   *
   * @return the policy
   */
  public static RetryPolicy completeLater() {
    return new RetryPolicy(0, 0, true);
  }
}
