package io.github.guestmemfd.lab.kernel;

import static org.junit.jupiter.api.Assumptions.abort;

/**
 * The kernel that runs here, for tests, which are skipped where it has no guest_memfd. {@code
 * -Dkvm.device=/dev/null} shows what they do there.
 */
final class RealKernel {
  private RealKernel() {}

  /** Skips the calling test, by name, if there is nothing to ask. */
  static void required() {
    try {
      new KernelExecutor(System.getProperty("kvm.device", "/dev/kvm")).close();
    } catch (NoGuestMemfdException e) {
      abort(e.getMessage());
    }
  }
}
