package io.github.guestmemfd.kvm;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.memory.Frames;
import java.util.Objects;

/** A virtual machine with one shared page, for a state. */
final class Machine {
  static final int PAGE = HostMemory.PAGE_SIZE;

  /** Of all states: a host for each would be made too slowly. */
  private static final HostMemory HOST = HostMemory.metadataOnly(1L << 36);

  final VirtualMachine vm;
  final GuestMemfd memfd;
  final BoundSlot slot;
  final Vcpu vcpu;

  Machine() {
    this(new VirtualMachine());
  }

  Machine(VirtualMachine vm) {
    this.vm = vm;
    memfd =
        vm.createGuestMemfd(
            GuestMemfd.builder(HOST)
                .size(PAGE)
                .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
                .retryPolicy(RetryPolicy.failAtOnce()));
    vcpu = vm.createVcpu();
    vm.bind(0, 0, PAGE, memfd, 0);
    slot = Objects.requireNonNull(vm.regions.memslots().find(0));
    memfd.put(memfd.tryGrab(0, HolderKind.SAFE), HolderKind.SAFE); // first use
  }

  /** With the page mapped for the guest. */
  static Machine mapped() {
    Machine machine = new Machine();
    machine.vcpu.tryTouch(0, Access.READ, MemoryAttribute.SHARED);
    return machine;
  }

  /** Whether the guest has the page mapped. */
  boolean isMapped() {
    return TdpEntry.pfn(slot.table.get(0)) != 0;
  }

  /** Broken: enters a shared page without a look at what came in between. */
  void faultBlindly() {
    if (memfd.isAccessible(0)) {
      int pfn = memfd.tryGrab(0, HolderKind.SAFE);
      Frames.gap();
      slot.table.put(
          0,
          TdpEntry.mapped(
              slot.table.get(0), TdpEntry.ofFile(pfn, MemoryAttribute.SHARED, false), true));
      memfd.put(pfn, HolderKind.SAFE);
    }
  }

  void close() {
    memfd.close();
  }
}
