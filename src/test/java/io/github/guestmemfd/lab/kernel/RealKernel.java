package io.github.guestmemfd.lab.kernel;

import static org.junit.jupiter.api.Assumptions.abort;

import io.github.guestmemfd.kvm.KernelProfile;

/**
 * The kernel that runs here, for tests, which are skipped where it has no guest_memfd. {@code
 * -Dkvm.device=/dev/null} shows what they do there.
 */
final class RealKernel {
  private RealKernel() {}

  /** The profile of the model that answers as this kernel, or as the first that can be asked. */
  static KernelProfile profile() {
    return KernelProfile.of(System.getProperty("os.version")).orElse(KernelProfile.LINUX_6_18);
  }

  /** Skips the calling test, by name, if there is nothing to ask. */
  static void required() {
    try {
      new KernelExecutor(System.getProperty("kvm.device", "/dev/kvm")).close();
    } catch (NoGuestMemfdException e) {
      abort(e.getMessage());
    }
  }
}
