package io.github.guestmemfd.platform;

/**
 * A realm owes what all clients do, and what it had is gone from pages that are shared or freed.
 */
class CcaContractTest extends PlatformContract {
  @Override
  PlatformGuest guest() {
    return new CcaGuest(new Rmm());
  }
}
