package io.github.guestmemfd.kvm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import java.util.EnumSet;
import java.util.Optional;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** What each type of virtual machine supports. */
class VmTypeTest {
  private static final long PAGE = 4096;
  private static final long USER = 0x1_0000_0000L;

  private static Errno errno(ThrowingCallable call) {
    GuestMemfdException e = catchThrowableOfType(GuestMemfdException.class, call);
    return e == null ? Errno.OK : e.errno();
  }

  private static Errno set(VirtualMachine vm, int slot, int flags, long gpa, GuestMemfd memfd) {
    return errno(
        () -> vm.setUserMemoryRegion2(new Memslot(slot, flags, gpa, PAGE, USER, memfd, 0)));
  }

  @ParameterizedTest
  @CsvSource({
    // type, number, private memory, READONLY, flags of files: 0, 1 MMAP, 2 INIT_SHARED, 3
    "DEFAULT, 0, false, OK, OK, OK, OK, OK",
    "SW_PROTECTED, 1, true, OK, OK, OK, EINVAL, EINVAL",
    "SEV, 2, false, OK, OK, OK, OK, OK",
    "SEV_ES, 3, false, EINVAL, OK, OK, OK, OK",
    "SNP, 4, true, EINVAL, OK, OK, EINVAL, EINVAL",
    "TDX, 5, true, EINVAL, OK, OK, EINVAL, EINVAL",
  })
  void whatItSupports(
      VmType type,
      int number,
      boolean privateMemory,
      Errno readOnly,
      Errno none,
      Errno mmap,
      Errno initShared,
      Errno both) {
    assertThat(type.number()).isEqualTo(number);
    assertThat(type.hasPrivateMemory()).isEqualTo(privateMemory);
    assertThat(type.canHaveReadOnlyMemslots()).isEqualTo(readOnly == Errno.OK);
    // With in-place conversion attributes are files': SetMemoryAttributes2Test.
    for (KernelProfile profile : EnumSet.complementOf(EnumSet.of(KernelProfile.IN_PLACE))) {
      VirtualMachine vm = VirtualMachine.builder().kernelProfile(profile).type(type).build();
      assertThat(vm.type()).contains(type);
      assertThat(set(vm, 0, MemslotFlag.bits(MemslotFlag.READONLY), 0, null)).isEqualTo(readOnly);
      assertThat(set(vm, 1, MemslotFlag.bits(MemslotFlag.LOG_DIRTY_PAGES), 0x10000, null))
          .isEqualTo(Errno.OK);
      assertThat(errno(() -> vm.setMemoryAttributes(0, PAGE, MemoryAttribute.PRIVATE)))
          .isEqualTo(privateMemory ? Errno.OK : Errno.EINVAL);
      assertThat(errno(() -> vm.setMemoryAttributes(0, PAGE, MemoryAttribute.SHARED)))
          .isEqualTo(Errno.OK);
      try (HostMemory host = HostMemory.ofBytes(1 << 20)) {
        Errno[] answers = {none, mmap, initShared, both};
        for (int flags = 0; flags < 4; flags++) {
          GuestMemfd.Builder file = GuestMemfd.builder(host).size(PAGE).flags(flags);
          assertThat(errno(() -> vm.createGuestMemfd(file).close()))
              .as("flags %d", flags)
              .isEqualTo(answers[flags]);
        }
      } // none is left open
    }
  }

  @Test
  void aMachineWithoutATypeConvertsInPlaceAndTakesWhatTheDefaultDoes() {
    VirtualMachine vm = new VirtualMachine();
    assertThat(vm.type()).isEqualTo(Optional.empty());
    assertThat(set(vm, 0, MemslotFlag.bits(MemslotFlag.READONLY), 0, null)).isEqualTo(Errno.OK);
    assertThat(vm.memoryAttribute(0)).contains(MemoryAttribute.SHARED);
    assertThat(vm.memoryAttribute(PAGE)).isEmpty();
    assertThat(errno(() -> vm.setMemoryAttributes(0, PAGE, MemoryAttribute.SHARED)))
        .isEqualTo(Errno.OK);
    assertThat(errno(() -> vm.setMemoryAttributes(0, PAGE, MemoryAttribute.PRIVATE)))
        .isEqualTo(Errno.EBADF);
    assertThat(vm.memoryAttributes(0, 2 * PAGE))
        .containsExactly(new MemoryAttributeRange(0, PAGE, MemoryAttribute.SHARED));
  }

  /** Flags that no released kernel has are refused, alone and with others. */
  @ParameterizedTest
  @EnumSource(VmType.class)
  void flagsThatAreNotThere(VmType type) {
    VirtualMachine vm = VirtualMachine.builder().type(type).build();
    GuestMemfdException e =
        catchThrowableOfType(
            GuestMemfdException.class,
            () ->
                vm.setUserMemoryRegion2(
                    new Memslot(
                        0, MemslotFlag.bits(MemslotFlag.USERFAULT) | 32, 0, PAGE, USER, null, 0)));
    assertThat(e)
        .hasMessage(
            "EINVAL: memslot 0: flags USERFAULT|0x20: USERFAULT|0x20 is not supported by a machine"
                + " of type "
                + type);
  }

  @Test
  void aMemslotSaysWhatItIs() {
    VirtualMachine vm = new VirtualMachine();
    Memslot wanted =
        new Memslot(
            3,
            MemslotFlag.bits(MemslotFlag.READONLY, MemslotFlag.LOG_DIRTY_PAGES),
            0x10000,
            PAGE,
            USER,
            null,
            77);
    vm.setUserMemoryRegion2(wanted);
    Memslot slot = vm.memslotAt(0x10fff).orElseThrow();
    assertThat(slot)
        .hasToString(
            "Memslot[slot=3, gpa=0x10000, size=4096, flags=LOG_DIRTY_PAGES|READONLY, user"
                + " address=0x100000000]");
    assertThat(slot.offset()).as("what is ignored is not kept").isZero();
    assertThat(slot.openFile()).isEmpty();
    assertThat(slot.has(MemslotFlag.READONLY)).isTrue();
    assertThat(slot.has(MemslotFlag.GUEST_MEMFD)).isFalse();
  }

  /** Moved and logged it is the same memslot: it counts on. */
  @Test
  void aChangedMemslotGoesOnCounting() {
    VirtualMachine vm = VirtualMachine.builder().type(VmType.DEFAULT).build();
    try (HostMemory host = HostMemory.ofBytes(1 << 20);
        HostRam ram = vm.mapHostRam(host, PAGE)) {
      Memslot slot = new Memslot(0, 0, 0, PAGE, ram.userAddress(), null, 0);
      vm.setUserMemoryRegion2(slot);
      assertThat(vm.createVcpu().tryWrite(0, 8, 1, MemoryAttribute.SHARED)).isTrue();
      vm.setUserMemoryRegion2(new Memslot(0, 1, 0, PAGE, ram.userAddress(), null, 0));
      vm.setUserMemoryRegion2(new Memslot(0, 1, 0x10000, PAGE, ram.userAddress(), null, 0));
      assertThat(vm.createVcpu().read(0x10000, 8, MemoryAttribute.SHARED)).isEqualTo(1);
      assertThat(vm.metrics(0).faults()).isEqualTo(2);
      assertThat(vm.metrics(0).zaps()).isEqualTo(1);
      assertThat(vm.memslotAt(0)).isEmpty();
    }
  }
}
