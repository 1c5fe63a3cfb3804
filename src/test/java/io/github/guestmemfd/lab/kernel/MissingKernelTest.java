package io.github.guestmemfd.lab.kernel;

import static org.assertj.core.api.Assertions.assertThat;
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

  /** Another error does not say that there is no guest_memfd: it fails what asked. */
  @Test
  void anotherErrorIsAFailure() {
    assertThatThrownBy(() -> new KernelExecutor("/dev"))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("/dev cannot be opened: EISDIR");
    assertThatThrownBy(() -> new KernelExecutor("/dev/null/kvm"))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("/dev/null/kvm cannot be opened: ENOTDIR");
    assertThatThrownBy(
            () -> KernelExecutor.missing("KVM_CREATE_VM", Libc.ENOMEM, KernelExecutor.NO_KVM))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("KVM_CREATE_VM: ENOMEM");
    assertThat(KernelExecutor.missing("KVM_CREATE_VM", 16, KernelExecutor.NO_KVM))
        .hasMessage("no guest_memfd here: KVM_CREATE_VM: EBUSY");
  }

  @Test
  void otherPages() throws Exception {
    KernelExecutor.requirePageSize(4096);
    assertThatThrownBy(() -> KernelExecutor.requirePageSize(16384))
        .isInstanceOf(NoGuestMemfdException.class)
        .hasMessage("no guest_memfd here: expected pages of 4096 bytes, actual 16384");
  }

  /** What populate answers tells the signals apart, but for a lack of memory. */
  @Test
  void populateSaysWhichSignal() {
    assertThat(KernelExecutor.signal(Libc.EFAULT, true)).isEqualTo("SIGBUS");
    assertThat(KernelExecutor.signal(22, true)).isEqualTo("SIGSEGV");
    assertThat(KernelExecutor.signal(Libc.ENOMEM, false)).isEqualTo("SIGSEGV");
    assertThat(KernelExecutor.signal(Libc.ENOMEM, true)).isEqualTo("ENOMEM");
  }
}
