package io.github.guestmemfd.platform;

import io.github.guestmemfd.kvm.KernelProfile;

/** A trust domain without references owes what all clients do. */
class TdxContractTest extends PlatformContract {
  @Override
  PlatformGuest guest() {
    return new TdxGuest(new TdxModule(), KernelProfile.LINUX_7_2);
  }
}
