package io.github.guestmemfd.platform;

import io.github.guestmemfd.kvm.KernelProfile;

/** As later kernels have it. */
class TdxWithoutReferencesRacesTest extends TdxRacesTest {
  @Override
  KernelProfile kernel() {
    return KernelProfile.LINUX_7_2;
  }
}
