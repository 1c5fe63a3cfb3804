package io.github.guestmemfd.kvm;

import io.github.guestmemfd.CreateFlag;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HolderKind;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.memory.Frames;
import java.nio.ByteBuffer;
import java.util.Objects;

/** A virtual machine with one shared page, for a state. */
final class Machine {
  static final int PAGE = HostMemory.PAGE_SIZE;

  /** Of all states: a host for each would be made too slowly. */
  private static final HostMemory HOST = HostMemory.metadataOnly(1L << 36);

  final VirtualMachine vm = new VirtualMachine();
  final GuestMemfd memfd =
      vm.createGuestMemfd(
          GuestMemfd.builder(HOST)
              .size(PAGE)
              .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
              .retryPolicy(RetryPolicy.failAtOnce()));
  final BoundSlot slot;
  final Vcpu vcpu = vm.createVcpu();

  Machine() {
    vm.bind(0, 0, PAGE, memfd, 0);
    slot = Objects.requireNonNull(vm.find(0));
    memfd.put(memfd.tryGrab(0, HolderKind.SAFE), HolderKind.SAFE); // first use
  }

  /** Whether the guest has the page mapped. */
  boolean isMapped() {
    return slot.table.get(0) != null;
  }

  /** Broken: enters a shared page without a look at what came in between. */
  void faultBlindly() {
    if (memfd.isAccessible(0)) {
      int pfn = memfd.tryGrab(0, HolderKind.SAFE);
      Frames.gap();
      slot.table.put(0, new TdpEntry(ByteBuffer.allocate(0), MemoryAttribute.SHARED, null, pfn));
      memfd.put(pfn, HolderKind.SAFE);
    }
  }

  void close() {
    memfd.close();
  }
}
