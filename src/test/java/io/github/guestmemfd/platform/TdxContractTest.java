package io.github.guestmemfd.platform;

import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.kvm.VirtualMachine;

/** A trust domain without references owes what all clients do. */
class TdxContractTest extends PlatformContract {
  @Override
  PlatformGuest guest() {
    return new TdxGuest(
        new TdxModule(), VirtualMachine.builder().kernelProfile(KernelProfile.LINUX_7_2).build());
  }
}
