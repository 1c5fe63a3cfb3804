package io.github.guestmemfd.lab.kernel;

import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;

/** What is missing is named. */
@EnabledOnOs(value = OS.LINUX, disabledReason = "no guest_memfd: this is not Linux")
class MissingKernelTest {

  @Test
  void aDeviceThatIsNotThere() {
    assertThatThrownBy(() -> new KernelExecutor("/dev/none/such"))
        .isInstanceOf(NoGuestMemfdException.class)
        .hasMessage("no guest_memfd here: /dev/none/such cannot be opened: ENOENT");
  }

  @Test
  void aDeviceThatIsNotKvm() {
    assertThatThrownBy(() -> new KernelExecutor("/dev/null"))
        .isInstanceOf(NoGuestMemfdException.class)
        .hasMessage("no guest_memfd here: KVM_CREATE_VM: ENOTTY");
  }
}
