package io.github.guestmemfd.policy;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VirtualMachine;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class PolicyExampleTest {
  static final class Quads implements ConversionPolicy {
    @Override
    public String id() {
      return "quads";
    }

    @Override
    public Optional<GpaRange> onMemoryFault(GpaRange pages, MemoryAttribute attribute) {
      return Optional.of(attribute == SHARED ? pages : new GpaRange(pages.gpa() & -16384, 16384));
    }

    @Override
    public Optional<GpaRange> onHypercall(GpaRange range, MemoryAttribute attribute) {
      return Optional.of(range);
    }
  }

  @Test
  void aPinnedPageKeepsItsNeighboursShared() {
    VirtualMachine vm = new VirtualMachine();
    GuestMemfd.Builder file = GuestMemfd.builder(HostMemory.ofBytes(1 << 20)).size(16384);
    file.flags(MMAP, INIT_SHARED).retryPolicy(RetryPolicy.failAtOnce());
    try (GuestMemfd memfd = vm.createGuestMemfd(file);
        HostMapping window = memfd.mmap(0, 16384, READ, WRITE)) {
      vm.bind(0, 0, 16384, memfd, 0);
      Vcpu vcpu = vm.createVcpu();
      ConversionHandler handler = ConversionHandler.builder(vm, new Quads()).build();
      try (HostReference pin = window.pin(4096, 4096)) {
        assertTrue(pin.isPinned()); // as for DMA, next to what the guest uses
        vcpu.run(guest -> guest.write(0, 8, 42, PRIVATE), handler);
        assertEquals(Optional.of(PRIVATE), vm.memoryAttribute(0));
        assertEquals(Optional.of(SHARED), vm.memoryAttribute(12288));
      }
      vcpu.run(guest -> guest.write(8192, 8, 43, PRIVATE), handler);
      assertEquals(Optional.of(PRIVATE), vm.memoryAttribute(12288));
    }
  }
}
