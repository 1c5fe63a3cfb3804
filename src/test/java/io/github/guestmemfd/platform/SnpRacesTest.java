package io.github.guestmemfd.platform;

import io.github.guestmemfd.abi.Errno;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

class SnpRacesTest extends PlatformRaces {
  private final Map<PlatformGuest, Rmp> tables = new ConcurrentHashMap<>();

  @Override
  PlatformGuest guest() {
    Rmp rmp = new Rmp();
    PlatformGuest guest = new SnpGuest(rmp);
    tables.put(guest, rmp);
    return guest;
  }

  @Override
  void failNowAndThen(PlatformGuest guest) {
    tables.get(guest).faults().failEvery(Rmp.Call.LOOKUP, Errno.ENOENT, 11);
    tables.get(guest).faults().failEvery(Rmp.Call.MAKE_PRIVATE, Errno.EINVAL, 5);
    tables.get(guest).faults().failEvery(Rmp.Call.MAKE_SHARED, Errno.EINVAL, 7);
  }

  @Override
  long owned(PlatformGuest guest) {
    return tables.get(guest).assigned();
  }
}
