package io.github.guestmemfd.policy;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.kvm.HostRam;
import io.github.guestmemfd.kvm.MemoryUse;
import io.github.guestmemfd.kvm.Memslot;
import io.github.guestmemfd.kvm.MemslotFlag;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.kvm.VmType;
import org.junit.jupiter.api.Test;

/** The example of docs/guide.md. */
class TwoMemoriesExampleTest {
  private static final long SIZE = 1 << 20;

  @Test
  void aMonitorWithTwoMemories() {
    try (HostMemory host = HostMemory.ofBytes(2 * SIZE)) {
      VirtualMachine vm = VirtualMachine.builder().type(VmType.SNP).build();
      try (HostRam ram = vm.mapHostRam(host, SIZE);
          GuestMemfd memfd = vm.createGuestMemfd(GuestMemfd.builder(host).size(SIZE));
          PinnedSharedMemory device = new PinnedSharedMemory(vm, SIZE)) {
        int flags = MemslotFlag.bits(MemslotFlag.GUEST_MEMFD);
        vm.setUserMemoryRegion2(new Memslot(0, flags, 0, SIZE, ram.userAddress(), memfd, 0));
        ConversionHandler handler =
            ConversionHandler.builder(vm, ConversionPolicy.onFault())
                .onShared(PrivatePages.DISCARD) // the private page is given back
                .onPrivate(SharedPages.KEEP) // the shared one is not
                .listener(device) // it pins what is shared
                .build();
        vm.createVcpu()
            .run(
                guest -> {
                  guest.write(0, 8, 1, SHARED); // to ram
                  guest.write(0, 8, 2, PRIVATE); // exits, is converted, and goes to memfd
                },
                handler);
        assertThat(vm.memoryUse()).isEqualTo(new MemoryUse(4096, 4096, 4096));
      }
    }
  }
}
