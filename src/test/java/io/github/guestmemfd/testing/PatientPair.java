package io.github.guestmemfd.testing;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import java.time.Duration;

/** A ninth protocol: the atomic pair, with punches that wait for the guest's holders to go. */
public final class PatientPair implements ConversionProtocol {

  /** Made by the service loader. */
  public PatientPair() {}

  @Override
  public String id() {
    return "patient-pair";
  }

  @Override
  public boolean mayTurnInaccessible(int refs, int safe) {
    return refs == safe + 1; // but for the page cache's, every reference is a safe one
  }

  @Override
  public boolean mayPunch(int refs, int safe) {
    return safe == 0;
  }

  @Override
  public RetryPolicy retryPolicy() {
    return RetryPolicy.spinThenWait(1000, Duration.ofMillis(50));
  }
}
