package io.github.guestmemfd.platform;

import io.github.guestmemfd.abi.Errno;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

class CcaRacesTest extends PlatformRaces {
  private final Map<PlatformGuest, Rmm> monitors = new ConcurrentHashMap<>();

  @Override
  PlatformGuest guest() {
    Rmm rmm = new Rmm();
    PlatformGuest guest = new CcaGuest(rmm);
    monitors.put(guest, rmm);
    return guest;
  }

  @Override
  void failNowAndThen(PlatformGuest guest) {
    monitors.get(guest).faults().failEvery(Rmm.Call.DELEGATE, Errno.EIO, 5);
    monitors.get(guest).faults().failEvery(Rmm.Call.DATA_CREATE_UNKNOWN, Errno.EIO, 7);
    monitors.get(guest).faults().failEvery(Rmm.Call.UNDELEGATE, Errno.EIO, 90);
  }

  @Override
  long owned(PlatformGuest guest) {
    return monitors.get(guest).delegated();
  }
}
