package io.github.guestmemfd.faults;

import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.kvm.HostRam;
import io.github.guestmemfd.kvm.VirtualMachine;
import java.util.BitSet;
import java.util.Optional;

/** What can be asked of a virtual machine that has no memslot, and memory of the host for none. */
final class EmptyMachine extends Scenario {
  private VirtualMachine vm;

  EmptyMachine(Bench bench) {
    super(bench);
    whole(
        "create",
        () -> {
          vm = VirtualMachine.builder().raceHook(bench.injector).build();
          bench.vms.add(new Bench.Vm(vm, false));
          return OK;
        });
    some("type", () -> same(Optional.empty(), vm.type()));
    some("one memory", () -> same(false, vm.hasTwoMemories()));
    some("nothing is used twice", () -> same(0L, vm.memoryUse().doubled()));
    some("memory of the host", this::memoryOfTheHost);
    some("no dirty log", () -> refused(() -> vm.getDirtyLog(2)));
    some("no dirty log to clear", () -> refused(() -> vm.clearDirtyLog(2, new BitSet())));
  }

  private String memoryOfTheHost() {
    try (HostRam ram = vm.mapHostRam(bench.host, PAGE)) {
      vm.discardHostMemory(0, PAGE); // where there is no memslot, nothing
      return same((long) PAGE, ram.size());
    }
  }

  private static String refused(Scenarios.Supply<?> call) {
    try {
      return "expected ENOENT, actual " + call.get();
    } catch (GuestMemfdException e) {
      return e.errno().name().equals("ENOENT") ? OK : e.errno().name();
    }
  }
}
