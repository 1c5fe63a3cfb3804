package io.github.guestmemfd.platform;

/** A protected guest owes what all clients do, and scrubs what is freed. */
class PkvmContractTest extends PlatformContract {
  @Override
  PlatformGuest guest() {
    return new PkvmGuest(new PkvmHypervisor());
  }

  @Override
  protected boolean scrubsFreedFrames() {
    return true;
  }
}
