package io.github.guestmemfd.kvm;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.spi.Exploration;
import io.github.guestmemfd.testing.GuestMemfdOpsContract;
import io.github.guestmemfd.testing.GuestSlot;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.LongUnaryOperator;

/** The virtual machine is a client like any other, and owes what they all do. */
class GmemContractTest extends GuestMemfdOpsContract {
  private static final GuestSlot WHOLE_FILE = new GuestSlot(0, 0, 1L << 50);

  private record Machine(VirtualMachine vm, GuestSlot slot) {}

  private final Map<GuestMemfdOps, Machine> machines = new ConcurrentHashMap<>();

  VirtualMachine machine() {
    return new VirtualMachine();
  }

  @Override
  protected GuestMemfdOps ops() {
    return ops(WHOLE_FILE);
  }

  @Override
  protected GuestMemfdOps ops(GuestSlot slot) {
    return ops(slot, GuestMemfdOps.NONE);
  }

  private GuestMemfdOps ops(GuestSlot slot, GuestMemfdOps next) {
    VirtualMachine vm = machine();
    GuestMemfdOps ops = vm.ops(next);
    machines.put(ops, new Machine(vm, slot));
    return ops;
  }

  @Override
  protected Optional<GuestMemfdOps> passingOn(GuestSlot slot, List<GuestMemfdOps> next) {
    return next.size() == 1 ? Optional.of(ops(slot, next.get(0))) : Optional.empty();
  }

  private Machine bound(GuestMemfdOps client, GuestMemfd memfd) {
    Machine machine = machines.get(client);
    synchronized (machine) { // no step of its own: an explored thread must not stop with a monitor
      Exploration.by(null, () -> bind(machine, memfd, client));
    }
    return machine;
  }

  private static void bind(Machine machine, GuestMemfd memfd, GuestMemfdOps client) {
    GuestSlot slot = machine.slot;
    if (machine.vm.memslotAt(slot.guestAddress()).isEmpty()) {
      machine.vm.adopt(memfd, client);
      long length = Math.min(slot.length(), memfd.size());
      machine.vm.bind(0, slot.guestAddress(), length, memfd, slot.offset());
    }
  }

  @Override
  protected void use(GuestMemfdOps client, GuestMemfd memfd, long offset) {
    Machine machine = bound(client, memfd);
    machine.vm.preFault(machine.slot.addressOf(offset), 4096);
  }

  @Override
  protected boolean access(
      GuestMemfdOps client, GuestMemfd memfd, long offset, LongUnaryOperator number) {
    Machine machine = bound(client, memfd);
    Vcpu vcpu = machine.vm.createVcpu();
    long address = machine.slot.addressOf(offset);
    MemoryAttribute attribute =
        memfd.isAccessible(offset) ? MemoryAttribute.SHARED : MemoryAttribute.PRIVATE;
    while (vcpu.tryRead(address, Long.BYTES, attribute)) {
      long old = vcpu.value();
      if (!vcpu.tryCompareAndSet(address, Long.BYTES, old, number.applyAsLong(old), attribute)) {
        return false;
      }
      if (vcpu.value() == old) {
        return true;
      }
    }
    return false;
  }

  @Override
  protected boolean announcesItsSteps() {
    return true;
  }
}
