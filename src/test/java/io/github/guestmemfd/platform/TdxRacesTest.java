package io.github.guestmemfd.platform;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.kvm.VirtualMachine;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** With references, as Linux 6.18 has them. */
class TdxRacesTest extends PlatformRaces {
  private final Map<PlatformGuest, TdxModule> modules = new ConcurrentHashMap<>();

  KernelProfile kernel() {
    return KernelProfile.LINUX_6_18;
  }

  @Override
  PlatformGuest guest() {
    TdxModule module = new TdxModule();
    PlatformGuest guest =
        new TdxGuest(module, VirtualMachine.builder().kernelProfile(kernel()).build());
    modules.put(guest, module);
    return guest;
  }

  /** Busy now and then; and once, after a while, a failure. */
  @Override
  void failNowAndThen(PlatformGuest guest) {
    for (TdxModule.Call call : TdxModule.Call.values()) {
      modules.get(guest).faults().failEvery(call, Errno.EBUSY, 5);
    }
    modules.get(guest).faults().failEvery(TdxModule.Call.REMOVE, Errno.EIO, 300);
  }

  @Override
  long owned(PlatformGuest guest) {
    return modules.get(guest).owned();
  }

  @Override
  long giveBackKept(PlatformGuest guest) {
    long kept = ((TdxGuest) guest).leakedPages();
    ((TdxGuest) guest).putLeakedPages();
    return kept;
  }
}
