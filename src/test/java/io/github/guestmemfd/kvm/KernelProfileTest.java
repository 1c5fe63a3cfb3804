package io.github.guestmemfd.kvm;

import static io.github.guestmemfd.abi.Protection.READ;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileTrait;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.MemoryPolicy;
import io.github.guestmemfd.platform.TdxGuest;
import io.github.guestmemfd.platform.TdxModule;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Where kernels differ, each row of docs/kernel-versions.md. */
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
  @CsvSource({
    "6.18, EINVAL",
    "6.19, EINVAL",
    "7.2, EEXIST",
    "7.2+no-direct-map-v12, EEXIST",
    "7.4, EEXIST"
  })
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
  @CsvSource({
    "6.18, OK",
    "6.19, OK",
    "7.2, EINVAL",
    "7.2+no-direct-map-v12, EINVAL",
    "7.4, EINVAL"
  })
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
    "6.19, LINUX_6_19",
    "6.19.3, LINUX_6_19",
    "7.1, LINUX_6_19",
    "7.2, LINUX_7_2",
    "7.2.1, LINUX_7_2",
    "7.2+, LINUX_7_2",
    "7.2+no-direct-map-v12, NO_DIRECT_MAP_V12",
    "7.2+no-direct-map-v13, LINUX_7_2",
    "7.2.1+no-direct-map-v12, LINUX_7_2",
    "7.3, LINUX_7_2",
    "7.4, IN_PLACE",
    "7.10, IN_PLACE",
    "10.0, IN_PLACE",
  })
  void aKernelBetweenTwoAnswersAsTheEarlier(String release, KernelProfile expected) {
    assertThat(KernelProfile.of(release)).contains(expected);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"", "7", "6.2", "6.17.99", "5.19", "latest", "v7.2", "7.99999999999", "+"})
  void whatIsTooOldOrNoRelease(String release) {
    assertThat(KernelProfile.of(release)).isEmpty();
  }

  /** Kernels above all that are named answer as the last released one. */
  @Test
  void aSeriesIsNotTheKernelOfLaterReleases() {
    assertThat(KernelProfile.of("99.1").orElseThrow().release()).doesNotContain("+");
  }

  /** Mappings share the policy from 6.19 on; before, each has its own. */
  @ParameterizedTest
  @CsvSource({"6.18, DEFAULT", "6.19, BIND", "7.2, BIND", "7.2+no-direct-map-v12, BIND"})
  void theFileKeepsNumaPolicies(String release, MemoryPolicy.Mode expected) {
    KernelProfile profile = KernelProfile.of(release).orElseThrow();
    VirtualMachine vm = VirtualMachine.builder().kernelProfile(profile).build();
    assertThat(vm.kernelProfile()).isEqualTo(profile);
    try (HostMemory host = HostMemory.ofBytes(1 << 20);
        GuestMemfd memfd = vm.createGuestMemfd(GuestMemfd.builder(host).size(8 * PAGE).flags(3))) {
      assertThat(memfd.traits()).isEqualTo(profile.fileTraits());
      try (HostMapping window = memfd.mmap(0, 8 * PAGE, READ);
          HostMapping other = memfd.mmap(PAGE, PAGE)) {
        window.mbind(0, 8 * PAGE, new MemoryPolicy(MemoryPolicy.Mode.BIND, 1));
        assertThat(other.getMempolicy(0).mode()).isEqualTo(expected);
      }
      try (HostMapping again = memfd.mmap(0, PAGE)) {
        assertThat(again.getMempolicy(0).mode()).isEqualTo(expected);
      }
    }
  }

  /** A file made elsewhere must be one of the machine's kernel. */
  @Test
  void aFileOfAnotherKernelIsNotAdopted() {
    VirtualMachine vm = VirtualMachine.builder().kernelProfile(KernelProfile.LINUX_6_19).build();
    GuestMemfdOps ops = vm.ops(GuestMemfdOps.NONE);
    try (HostMemory host = HostMemory.ofBytes(1 << 20);
        GuestMemfd old = GuestMemfd.builder(host).size(PAGE).ops(ops).build()) {
      GuestMemfdException refused =
          catchThrowableOfType(GuestMemfdException.class, () -> vm.adopt(old, ops));
      assertThat(refused.errno()).isEqualTo(Errno.EINVAL);
      assertThat(refused)
          .hasMessageContaining(
              "file of a machine of Linux 6.19: expected traits [SHARED_POLICY], actual []");
      GuestMemfdOps next = vm.ops(GuestMemfdOps.NONE);
      try (GuestMemfd memfd =
          GuestMemfd.builder(host)
              .size(PAGE)
              .ops(next)
              .traits(Set.of(FileTrait.SHARED_POLICY))
              .build()) {
        vm.adopt(memfd, next);
      }
    }
  }

  /** The platform follows its machine. */
  @ParameterizedTest
  @CsvSource({"6.18, 1", "6.19, 0", "7.2, 0"})
  void tdxHoldsAReferenceOnAMappedPage(String release, int safe) {
    KernelProfile profile = KernelProfile.of(release).orElseThrow();
    VirtualMachine vm = VirtualMachine.builder().kernelProfile(profile).build();
    TdxGuest guest = new TdxGuest(new TdxModule(), vm);
    guest.finishLaunch();
    try (HostMemory host = HostMemory.ofBytes(1 << 20);
        GuestMemfd memfd = vm.createGuestMemfd(GuestMemfd.builder(host).size(PAGE), guest)) {
      assertThat(guest.use(memfd, 0)).isEqualTo(Errno.OK);
      assertThat(memfd.holders(0).safe()).isEqualTo(safe);
    }
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
