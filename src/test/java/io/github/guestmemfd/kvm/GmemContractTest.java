package io.github.guestmemfd.kvm;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.testing.GuestMemfdOpsContract;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** The virtual machine is a client like any other, and owes what they all do. */
class GmemContractTest extends GuestMemfdOpsContract {
  private final Map<GuestMemfdOps, VirtualMachine> machines = new ConcurrentHashMap<>();

  VirtualMachine machine() {
    return new VirtualMachine();
  }

  @Override
  protected GuestMemfdOps ops() {
    VirtualMachine vm = machine();
    GuestMemfdOps ops = vm.ops(GuestMemfdOps.NONE);
    machines.put(ops, vm);
    return ops;
  }

  @Override
  protected void use(GuestMemfdOps client, GuestMemfd memfd, long offset) {
    VirtualMachine vm = machines.get(client);
    synchronized (vm) {
      if (vm.memslotAt(0).isEmpty()) {
        vm.adopt(memfd, client);
        vm.bind(0, 0, memfd.size(), memfd, 0);
      }
    }
    vm.preFault(offset, 4096);
  }
}
