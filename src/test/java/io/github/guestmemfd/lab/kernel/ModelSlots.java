package io.github.guestmemfd.lab.kernel;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.kvm.Memslot;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.kvm.VmType;
import java.util.BitSet;
import java.util.HashMap;
import java.util.Map;

/** Memslots of the model: of a machine of the type that every kernel has. */
final class ModelSlots implements SlotCalls {
  private final HostMemory host = HostMemory.ofBytes(1 << 20);
  private final VirtualMachine vm;
  private final Map<Integer, GuestMemfd> files = new HashMap<>();

  ModelSlots(KernelProfile profile) {
    vm = VirtualMachine.builder().kernelProfile(profile).type(VmType.DEFAULT).build();
  }

  private static String answer(Runnable call) {
    try {
      call.run();
      return "ok";
    } catch (GuestMemfdException e) {
      return e.errno().name();
    }
  }

  @Override
  public String set(Region r) {
    GuestMemfd file = files.get(r.file());
    return answer(
        () ->
            vm.setUserMemoryRegion2(
                new Memslot(r.slot(), r.flags(), r.gpa(), r.size(), r.user(), file, r.offset())));
  }

  @Override
  public String dirtyLog(int slot) {
    return answer(() -> vm.getDirtyLog(slot));
  }

  @Override
  public String clearDirtyLog(int slot, int pages) {
    BitSet all = new BitSet();
    all.set(0, pages);
    return answer(() -> vm.clearDirtyLog(slot, all));
  }

  @Override
  public String create(int file, long size, long flags) {
    close(file);
    return answer(
        () ->
            files.put(file, vm.createGuestMemfd(GuestMemfd.builder(host).size(size).flags(flags))));
  }

  @Override
  public void close(int file) {
    GuestMemfd old = files.remove(file);
    if (old != null) {
      old.close();
    }
  }

  @Override
  public void close() {
    files.values().forEach(GuestMemfd::close);
    host.close();
  }
}
