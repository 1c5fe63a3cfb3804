package io.github.guestmemfd.platform;

import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.kvm.VirtualMachine;

/** A trust domain with references, which are given back when a page is removed. */
class TdxWithReferencesContractTest extends PlatformContract {
  @Override
  PlatformGuest guest() {
    return new TdxGuest(
        new TdxModule(), VirtualMachine.builder().kernelProfile(KernelProfile.LINUX_6_18).build());
  }
}
