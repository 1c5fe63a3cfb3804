package io.github.guestmemfd.platform;

import static io.github.guestmemfd.platform.PlatformWorld.PAGE;
import static io.github.guestmemfd.platform.PlatformWorld.SIZE;
import static io.github.guestmemfd.platform.PlatformWorld.at;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.FrameAccess;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.platform.PkvmGuest.Hypercall;
import io.github.guestmemfd.platform.PkvmHypervisor.Call;
import io.github.guestmemfd.platform.PkvmHypervisor.HostState;
import org.junit.jupiter.api.Test;

/** The rows of pKVM in docs/conformance.md. */
class PkvmGuestTest {
  private final PkvmHypervisor hypervisor = new PkvmHypervisor();

  private PlatformWorld<PkvmGuest> world() {
    return new PlatformWorld<>(new PkvmGuest(hypervisor)).running();
  }

  private HostState state(PlatformWorld<PkvmGuest> w, int page) {
    return hypervisor.hostState(w.pfn(page));
  }

  /** What is at the start of a frame, free or not. */
  private static long content(PlatformWorld<PkvmGuest> w, int pfn) {
    return w.host.frameAccess().buffer(pfn).getLong(FrameAccess.base(pfn));
  }

  // ---- donate ----

  @Test
  void aFaultDonatesThePage() {
    try (PlatformWorld<PkvmGuest> w = world()) {
      assertEquals(HostState.OWNED, state(w, 0));
      assertThat(w.guest.read(0)).as("an abort to the host").isEmpty();
      assertEquals(Errno.OK, w.guest.map(w.memfd, 0));
      assertEquals(HostState.NO_PAGE, state(w, 0));
      assertThat(w.guest.read(0)).as("the guest accepts nothing").hasValue(0);
      assertEquals(1, hypervisor.ownedByGuests());
    }
    assertEquals(0, hypervisor.ownedByGuests());
  }

  @Test
  void aDonationThatFailsMapsNothing() {
    try (PlatformWorld<PkvmGuest> w = world()) {
      hypervisor.faults().fail(Call.DONATE);
      assertEquals(Errno.ENOMEM, w.guest.map(w.memfd, 0));
      assertFalse(w.guest.isMapped(0));
      assertEquals(0, hypervisor.ownedByGuests());
      w.put(0, 1);
    }
  }

  @Test
  void aPageThatTheHostUsesIsNotDonated() {
    try (PlatformWorld<PkvmGuest> w = world()) {
      w.memfd.makeAccessible(0, PAGE);
      assertEquals(Errno.EFAULT, w.guest.map(w.memfd, 0));
      assertEquals(0, hypervisor.ownedByGuests());
    }
  }

  // ---- share and unshare ----

  @Test
  void theGuestSharesAPageAndTakesItBack() {
    try (PlatformWorld<PkvmGuest> w = world()) {
      w.put(0, 42);
      w.put(1, 1);
      assertEquals(Hypercall.SUCCESS, w.guest.share(0, 0, 0));
      assertEquals(HostState.SHARED_BORROWED, state(w, 0));
      assertEquals(HostState.NO_PAGE, state(w, 1), "page by page");
      assertThat(w.guest.read(0)).as("it is the guest's too").hasValue(42);
      assertEquals(Hypercall.SUCCESS, w.guest.unshare(0, 0, 0));
      assertEquals(HostState.NO_PAGE, state(w, 0));
    }
  }

  @Test
  void theOtherArgumentsMustBeZero() {
    try (PlatformWorld<PkvmGuest> w = world()) {
      w.put(0, 1);
      assertEquals(Hypercall.INVALID_PARAMETER, w.guest.share(0, 1, 0));
      assertEquals(Hypercall.INVALID_PARAMETER, w.guest.share(0, 0, 1));
      assertEquals(Hypercall.INVALID_PARAMETER, w.guest.share(8, 0, 0));
      assertEquals(Hypercall.INVALID_PARAMETER, w.guest.unshare(0, 0, -1));
      assertEquals(HostState.NO_PAGE, state(w, 0));
    }
  }

  @Test
  void anAddressThatIsNotMappedIsAnAbortToTheHost() {
    try (PlatformWorld<PkvmGuest> w = world()) {
      assertEquals(Hypercall.ABORT, w.guest.share(0, 0, 0));
      assertEquals(Errno.OK, w.guest.map(w.memfd, 0), "the host donates");
      assertEquals(Hypercall.SUCCESS, w.guest.share(0, 0, 0), "and the guest tries again");
      assertEquals(Hypercall.ABORT, w.guest.unshare(at(1), 0, 0));
    }
  }

  @Test
  void anyOtherErrorIsAnInvalidParameter() {
    try (PlatformWorld<PkvmGuest> w = world()) {
      w.put(0, 1);
      assertEquals(Hypercall.INVALID_PARAMETER, w.guest.unshare(0, 0, 0), "not shared");
      hypervisor.faults().fail(Call.SHARE);
      assertEquals(Hypercall.INVALID_PARAMETER, w.guest.share(0, 0, 0));
      assertEquals(HostState.NO_PAGE, state(w, 0));
      assertEquals(Hypercall.SUCCESS, w.guest.share(0, 0, 0));
      assertEquals(Hypercall.INVALID_PARAMETER, w.guest.share(0, 0, 0), "shared already");
      hypervisor.faults().fail(Call.UNSHARE);
      assertEquals(Hypercall.INVALID_PARAMETER, w.guest.unshare(0, 0, 0));
      assertEquals(HostState.SHARED_BORROWED, state(w, 0));
    }
  }

  // ---- conversions ----

  @Test
  void contentIsKeptOnConversionBothWays() {
    try (PlatformWorld<PkvmGuest> w = world()) {
      assertEquals(PlatformGuest.Content.KEPT, w.guest.content());
      w.put(0, 42);
      assertEquals(Hypercall.SUCCESS, w.guest.share(0, 0, 0));
      w.memfd.makeAccessible(0, PAGE);
      assertEquals(42, w.window.getLong(0));
      w.window.putLong(0, 43);
      assertEquals(43, w.get(0), "the guest goes on using what it shares");
      assertEquals(Hypercall.SUCCESS, w.guest.unshare(0, 0, 0));
      w.memfd.makeInaccessible(0, PAGE);
      assertEquals(43, w.get(0));
    }
  }

  @Test
  void whatTheGuestHasNotSharedStaysItsOwn() {
    try (PlatformWorld<PkvmGuest> w = world()) {
      w.put(0, 42);
      w.memfd.makeAccessible(0, PAGE);
      assertEquals(HostState.NO_PAGE, state(w, 0), "an access of the host would be an abort");
      assertEquals(Errno.EFAULT, w.guest.map(w.memfd, 0));
      assertEquals(Hypercall.ABORT, w.guest.share(0, 0, 0), "too late");
      w.memfd.makeInaccessible(0, PAGE);
      assertEquals(42, w.get(0));
    }
  }

  @Test
  void theFileMayBeConvertedBeforeTheGuestTakesAPageBack() {
    try (PlatformWorld<PkvmGuest> w = world()) {
      w.put(0, 42);
      assertEquals(Hypercall.SUCCESS, w.guest.share(0, 0, 0));
      w.memfd.makeAccessible(0, PAGE);
      w.memfd.makeInaccessible(0, PAGE);
      assertEquals(Hypercall.ABORT, w.guest.unshare(0, 0, 0));
      assertEquals(42, w.get(0));
      assertEquals(Hypercall.SUCCESS, w.guest.unshare(0, 0, 0));
      assertEquals(HostState.NO_PAGE, state(w, 0));
    }
  }

  // ---- reclaim ----

  @Test
  void aPageIsWipedBeforeItIsReclaimed() {
    try (PlatformWorld<PkvmGuest> w = world()) {
      w.put(0, 42);
      int pfn = w.pfn(0);
      w.memfd.punchHole(0, PAGE);
      assertEquals(HostState.OWNED, hypervisor.hostState(pfn));
      assertEquals(0, content(w, pfn));
    }
  }

  @Test
  void theHostReclaimsEverythingAtTheEnd() {
    try (PlatformWorld<PkvmGuest> w = world()) {
      for (int i = 0; i < 4; i++) {
        w.put(i, 7);
      }
      w.guest.share(0, 0, 0);
      w.end(0);
      assertEquals(0, hypervisor.ownedByGuests());
      assertEquals(4, hypervisor.faults().calls(Call.RECLAIM));
      for (int pfn = 1; pfn <= 4; pfn++) {
        assertEquals(0, content(w, pfn));
      }
    }
  }

  @Test
  void aReclaimThatFailsLosesTheFrame() {
    try (PlatformWorld<PkvmGuest> w = world()) {
      w.put(0, 1);
      hypervisor.faults().fail(Call.RECLAIM);
      w.memfd.punchHole(0, PAGE);
      assertEquals(0, w.host.used());
      assertEquals(1, hypervisor.ownedByGuests());
      assertEquals(1, w.guest.lostFrames());
      PkvmGuest other = new PkvmGuest(hypervisor);
      other.finishLaunch();
      try (GuestMemfd memfd = w.describe().flags(0).size(16 * PAGE).ops(other).build()) {
        memfd.makeInaccessible(0, 16 * PAGE);
        int refused = 0;
        for (int i = 0; i < 16; i++) {
          refused += other.map(memfd, at(i)) == Errno.EPERM ? 1 : 0;
        }
        assertEquals(1, refused, "the host does not own what it would donate");
      }
    }
  }

  @Test
  void aForcedReclaimPoisonsThePage() {
    try (PlatformWorld<PkvmGuest> w = world()) {
      w.put(0, 42);
      w.put(1, 43);
      assertTrue(w.guest.hostTouches(w.memfd, 8));
      assertEquals(HostState.OWNED, state(w, 0));
      assertThat(w.guest.read(0)).isEmpty();
      assertEquals(Errno.EHWPOISON, w.guest.map(w.memfd, 0));
      assertEquals(43, w.get(1), "others go on");
      assertEquals(0, content(w, w.pfn(0)), "its content is gone");
      assertFalse(w.guest.hostTouches(w.memfd, 0), "it is the host's now");
    }
  }

  /** A page of another guest is none of this one's, which has its own at that offset. */
  @Test
  void aPageOfAnotherGuestIsNotTouchedByThisOne() {
    PkvmGuest other = new PkvmGuest(hypervisor);
    other.finishLaunch();
    try (PlatformWorld<PkvmGuest> w = world();
        GuestMemfd theirs = w.describe().flags(0).ops(other).build()) {
      w.put(0, 42);
      theirs.makeInaccessible(0, PAGE);
      assertEquals(Errno.OK, other.use(theirs, 0));
      assertFalse(w.guest.hostTouches(theirs, 0));
      assertTrue(w.guest.isMapped(0));
      assertTrue(other.isMapped(0));
    }
  }

  @Test
  void whatIsTheHostsOrSharedIsNotReclaimedByForce() {
    try (PlatformWorld<PkvmGuest> w = world()) {
      assertFalse(w.guest.hostTouches(w.memfd, 0), "not the guest's");
      assertTrue(w.memfd.holders(0).isHole(), "nothing is there, and nothing is made");
      assertFalse(w.guest.hostTouches(w.memfd, -1));
      assertFalse(w.guest.hostTouches(w.memfd, SIZE));
      w.put(0, 42);
      w.guest.share(0, 0, 0);
      assertFalse(w.guest.hostTouches(w.memfd, 0));
      w.guest.unshare(0, 0, 0);
      hypervisor.faults().fail(Call.RECLAIM);
      assertFalse(w.guest.hostTouches(w.memfd, 0));
      assertEquals(42, w.get(0));
    }
  }
}
