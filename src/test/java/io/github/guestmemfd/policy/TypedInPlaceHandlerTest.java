package io.github.guestmemfd.policy;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.fixtures.VmFixture;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VcpuExit;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.kvm.VmType;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** A monitor of a machine with a type whose kernel converts in place: it has one memory. */
class TypedInPlaceHandlerTest extends VmFixture {
  private static final int PAGES = 4;

  private Vcpu vcpu;
  private GuestMemfd first;
  private GuestMemfd second;

  private ConversionHandler.Builder handler(VmType type) {
    vm =
        VirtualMachine.builder()
            .kernelProfile(KernelProfile.IN_PLACE)
            .type(type)
            .idleStrategy(probe)
            .build();
    vcpu = vm.createVcpu();
    first = bound(0, page(0));
    second = bound(1, page(PAGES));
    return ConversionHandler.builder(vm, ConversionPolicy.onFault()).idleStrategy(probe).retries(0);
  }

  private GuestMemfd bound(int slot, long gpa) {
    GuestMemfd memfd = file(PAGES);
    vm.bind(slot, gpa, memfd.size(), memfd, 0);
    return memfd;
  }

  private static long page(int number) {
    return GPA + (long) number * PAGE;
  }

  private void write(ConversionHandler handler, int page, long number, MemoryAttribute attribute) {
    assertThat(vcpu.run(v -> v.write(page(page), 8, number, attribute), handler)).isEmpty();
  }

  @ParameterizedTest
  @EnumSource(names = {"SW_PROTECTED", "SNP", "TDX"})
  void aFaultIsConvertedInPlace(VmType type) {
    ConversionHandler handler = handler(type).build();
    write(handler, 1, 1, SHARED);
    write(handler, 1, 2, PRIVATE);
    assertFalse(first.isAccessible(PAGE));
    assertTrue(first.isAccessible(0));
    write(handler, 1, 3, SHARED);
    assertTrue(first.isAccessible(PAGE));
    assertEquals(PAGE, host.used(), "one memory");
  }

  @Test
  void aHypercallSpansFiles() {
    handler(VmType.SNP);
    ConversionHandler handler =
        ConversionHandler.builder(vm, ConversionPolicy.byId("hypercall").orElseThrow()).build();
    Errno[] answer = new Errno[1];
    assertThat(vcpu.run(v -> answer[0] = v.mapGpaRange(page(3), 2, PRIVATE), handler)).isEmpty();
    assertEquals(Errno.OK, answer[0]);
    assertFalse(first.isAccessible(3L * PAGE));
    assertFalse(second.isAccessible(0));
    assertTrue(second.isAccessible(PAGE));
  }

  /** What blocks it is told as in a machine without a type. */
  @Test
  void aHolderBlocksIt() {
    ConversionHandler handler = handler(VmType.SNP).build();
    try (HostReference held = vm.pin(page(1), PAGE)) {
      VcpuExit.MemoryFault fault =
          (VcpuExit.MemoryFault)
              vcpu.run(v -> v.write(page(1), 8, 1, PRIVATE), handler).orElseThrow();
      assertEquals(Errno.EAGAIN, fault.errno());
      assertEquals(PAGE, Objects.requireNonNull(fault.busy()).folio().offset());
      assertEquals(PAGE, held.length());
    }
    write(handler, 1, 1, PRIVATE);
  }

  @Test
  void privatePagesAreDiscarded() {
    ConversionHandler handler = handler(VmType.TDX).onShared(PrivatePages.DISCARD).build();
    write(handler, 0, 7, PRIVATE);
    assertThat(vcpu.run(v -> assertEquals(0, v.read(page(0), 8, SHARED), "discarded"), handler))
        .isEmpty();
  }

  @Test
  void whatNeedsTwoMemoriesIsRefused() {
    ConversionHandler.Builder builder = handler(VmType.SNP).onPrivate(SharedPages.DISCARD);
    assertThatThrownBy(builder::build)
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageStartingWith("expected a virtual machine with two memories");
  }

  // ---- the call that it makes ----

  @Test
  void itsErrors() {
    handler(VmType.SNP);
    BusyGuestPage busy = new BusyGuestPage();
    assertEquals(Errno.EINVAL, vm.tryConvertInPlace(page(0), 0, PRIVATE, busy));
    assertEquals(Errno.ENOENT, vm.tryConvertInPlace(page(0), 9L * PAGE, PRIVATE, busy));
    assertEquals(page(2 * PAGES), busy.gpa());
    assertTrue(first.isAccessible(0));

    handler(VmType.SEV);
    assertEquals(Errno.EINVAL, vm.tryConvertInPlace(page(0), PAGE, PRIVATE, busy));
    assertEquals(Errno.EINVAL, vm.tryConvertInPlace(page(0), PAGE, SHARED, busy), "as the kernel");

    VirtualMachine two = VirtualMachine.builder().type(VmType.SNP).build();
    assertTrue(two.hasTwoMemories());
    assertEquals(Errno.ENOTTY, two.tryConvertInPlace(page(0), PAGE, PRIVATE, busy));
    assertFalse(new VirtualMachine().hasTwoMemories());
  }
}
