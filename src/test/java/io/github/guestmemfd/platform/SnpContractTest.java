package io.github.guestmemfd.platform;

/** A guest of SEV-SNP owes what all clients do. */
class SnpContractTest extends PlatformContract {
  @Override
  PlatformGuest guest() {
    return new SnpGuest(new Rmp());
  }
}
