package io.github.guestmemfd.kvm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Where released kernels differ, each row of docs/kernel-versions.md. */
class KernelProfileTest {
  private static final long PAGE = 4096;
  private static final long LARGEST = 0x7ffffffffffff000L;

  private static Errno bind(VirtualMachine vm, int slot, long gpa, GuestMemfd file, long offset) {
    GuestMemfdException e =
        catchThrowableOfType(
            GuestMemfdException.class, () -> vm.bind(slot, gpa, 2 * PAGE, file, offset));
    return e == null ? Errno.OK : e.errno();
  }

  @ParameterizedTest
  @CsvSource({"6.18, EINVAL", "7.2, EEXIST", "7.4, EEXIST"})
  void aRangeOfAFileThatIsBoundAlready(String release, Errno expected) {
    KernelProfile profile = KernelProfile.of(release).orElseThrow();
    VirtualMachine vm = VirtualMachine.builder().kernelProfile(profile).build();
    try (HostMemory host = HostMemory.ofBytes(1 << 20);
        GuestMemfd memfd = GuestMemfd.builder(host).size(8 * PAGE).flags(3).build()) {
      assertThat(bind(vm, 0, 0, memfd, 0)).isEqualTo(Errno.OK);
      assertThat(bind(vm, 1, 0x10000, memfd, PAGE)).isEqualTo(expected);
      assertThat(bind(vm, 1, PAGE, memfd, 4 * PAGE)).isEqualTo(Errno.EEXIST); // guest addresses
      assertThat(bind(vm, 1, 0x10000, memfd, 2 * PAGE)).isEqualTo(Errno.OK);
    }
  }

  @ParameterizedTest
  @CsvSource({"6.18, OK", "7.2, EINVAL", "7.4, EINVAL"})
  void aRangeWhoseEndIsNoSignedNumber(String release, Errno expected) {
    KernelProfile profile = KernelProfile.of(release).orElseThrow();
    VirtualMachine vm = VirtualMachine.builder().kernelProfile(profile).build();
    try (HostMemory host = HostMemory.ofBytes(1 << 20);
        GuestMemfd memfd = GuestMemfd.builder(host).size(8 * PAGE).flags(3).build()) {
      assertThat(bind(vm, 0, 0, memfd, LARGEST)).isEqualTo(expected);
      assertThat(bind(vm, 1, 0x10000, memfd, -4 * PAGE)).isEqualTo(Errno.EINVAL);
      assertThat(bind(vm, 1, 0x10000, memfd, 7 * PAGE)).isEqualTo(Errno.EINVAL);
      assertThat(bind(vm, 1, 0x10000, memfd, 6 * PAGE)).isEqualTo(Errno.OK);
    }
  }

  @ParameterizedTest
  @CsvSource({
    "6.18, LINUX_6_18",
    "6.18.44-custom, LINUX_6_18",
    "6.18-rc1+, LINUX_6_18",
    "6.19.1, LINUX_6_18",
    "7.1, LINUX_6_18",
    "7.2, LINUX_7_2",
    "7.2.1, LINUX_7_2",
    "7.3, LINUX_7_2",
    "7.4, IN_PLACE",
    "7.10, IN_PLACE",
    "10.0, IN_PLACE",
  })
  void aKernelBetweenTwoAnswersAsTheEarlier(String release, KernelProfile expected) {
    assertThat(KernelProfile.of(release)).contains(expected);
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "7", "6.2", "6.17.99", "5.19", "latest", "v7.2", "7.99999999999"})
  void whatIsTooOldOrNoRelease(String release) {
    assertThat(KernelProfile.of(release)).isEmpty();
  }

  @Test
  void theDefaultIsTheKernelThatWasRecorded() {
    assertThat(KernelProfile.of("6.18")).contains(KernelProfile.LINUX_6_18);
    try (HostMemory host = HostMemory.ofBytes(1 << 20);
        GuestMemfd memfd = GuestMemfd.builder(host).size(8 * PAGE).flags(3).build()) {
      VirtualMachine vm = new VirtualMachine();
      assertThat(bind(vm, 0, 0, memfd, 0)).isEqualTo(Errno.OK);
      assertThat(bind(vm, 1, 0x10000, memfd, 0)).isEqualTo(Errno.EINVAL);
    }
  }
}
