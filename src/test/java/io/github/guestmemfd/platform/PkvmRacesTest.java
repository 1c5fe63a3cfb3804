package io.github.guestmemfd.platform;

import static io.github.guestmemfd.platform.PlatformWorld.PAGE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.platform.PkvmGuest.Hypercall;
import io.github.guestmemfd.testing.Interleavings;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.junit.jupiter.api.Test;

class PkvmRacesTest extends PlatformRaces {
  private final Map<PlatformGuest, PkvmHypervisor> hypervisors = new ConcurrentHashMap<>();

  @Override
  PlatformGuest guest() {
    PkvmHypervisor hypervisor = new PkvmHypervisor();
    PlatformGuest guest = new PkvmGuest(hypervisor);
    hypervisors.put(guest, hypervisor);
    return guest;
  }

  @Override
  void failNowAndThen(PlatformGuest guest) {
    hypervisors.get(guest).faults().failEvery(PkvmHypervisor.Call.DONATE, Errno.ENOMEM, 5);
    hypervisors.get(guest).faults().failEvery(PkvmHypervisor.Call.RECLAIM, Errno.EBUSY, 90);
  }

  @Override
  long owned(PlatformGuest guest) {
    return hypervisors.get(guest).ownedByGuests();
  }

  /** The guest has not shared it. */
  @Override
  boolean conversionGivesBack() {
    return false;
  }

  /** A guest's own page, and what two threads do with it. */
  private static final class World {
    final PkvmHypervisor hypervisor = new PkvmHypervisor();
    final PlatformWorld<PkvmGuest> w = new PlatformWorld<>(new PkvmGuest(hypervisor));

    final GuestMemfd other = GuestMemfd.builder(w.host).size(PAGE).build();
    Folio reused;
    boolean shared;
    boolean reclaimed;

    World() {
      w.guest.finishLaunch();
      w.memfd.makeInaccessible(0, PAGE);
      w.put(0, 42);
    }

    void end() {
      assertEquals(List.of(), w.host.violations());
      other.close();
      w.close();
      assertEquals(0, hypervisor.ownedByGuests());
    }
  }

  /** The guest shares its page while the monitor converts it: it is shared, or an abort. */
  @Test
  void aShareAndAConversionInEveryOrder() {
    Interleavings.Report report =
        Interleavings.of(World::new)
            .thread(
                "guest",
                x -> assertThat(x.w.guest.share(0, 0, 0)).isNotEqualTo(Hypercall.INVALID_PARAMETER))
            .thread("monitor", x -> assertEquals(Errno.OK, x.w.memfd.tryMakeAccessible(0, PAGE)))
            .atEnd(World::end)
            .explore();
    assertThat(report.complete()).isTrue();
  }

  /** The host touches the page while the guest shares it: reclaimed, or shared, and not both. */
  @Test
  void aShareAndAForcedReclaimInEveryOrder() {
    Interleavings.of(World::new)
        .thread("guest", x -> x.shared = x.w.guest.share(0, 0, 0) == Hypercall.SUCCESS)
        .thread(
            "host",
            x -> {
              boolean reclaimed = x.w.guest.hostTouches(x.w.memfd, 0);
              x.reclaimed = reclaimed;
              int pfn = x.w.pfn(0);
              assertEquals(
                  reclaimed,
                  x.hypervisor.hostState(pfn) == PkvmHypervisor.HostState.OWNED,
                  () -> "reclaimed: " + reclaimed);
            })
        .atEnd(
            x -> {
              assertFalse(x.shared && x.reclaimed);
              x.end();
            })
        .maxPreemptions(2)
        .explore();
  }

  /** A page is punched and its frame another's, while the host touches it: reclaimed once. */
  @Test
  void aPunchAndAForcedReclaimInEveryOrder() {
    Interleavings.of(World::new)
        .thread(
            "monitor",
            x -> {
              x.w.memfd.punchHole(0, PAGE);
              x.reused = x.other.grab(0);
              x.reused.buffer().putLong(0, 99);
            })
        .thread("host", x -> x.w.guest.hostTouches(x.w.memfd, 0))
        .atEnd(
            x -> {
              assertEquals(99, x.reused.buffer().getLong(0), "the frame is another's");
              x.reused.close();
              x.end();
            })
        .maxPreemptions(2)
        .maxOrders(6_000)
        .explore();
  }
}
