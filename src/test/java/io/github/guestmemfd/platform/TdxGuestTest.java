package io.github.guestmemfd.platform;

import static io.github.guestmemfd.platform.PlatformWorld.PAGE;
import static io.github.guestmemfd.platform.PlatformWorld.SIZE;
import static io.github.guestmemfd.platform.PlatformWorld.at;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.FrameAccess;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.platform.TdxModule.Call;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.nio.ByteBuffer;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The rows of TDX in docs/conformance.md. */
class TdxGuestTest {
  private final TdxModule module = new TdxModule();

  private PlatformWorld<TdxGuest> world() {
    return world(KernelProfile.LINUX_7_2);
  }

  private static VirtualMachine machine(KernelProfile kernel) {
    return VirtualMachine.builder().kernelProfile(kernel).build();
  }

  private PlatformWorld<TdxGuest> world(KernelProfile kernel) {
    return new PlatformWorld<>(new TdxGuest(module, machine(kernel)));
  }

  // ---- mapping ----

  @Test
  void aFaultGivesThePageToTheDomain() {
    try (PlatformWorld<TdxGuest> w = world().running()) {
      assertEquals(Errno.OK, w.guest.map(w.memfd, 0));
      assertTrue(module.isOwned(w.pfn(0)));
      assertEquals(1, module.faults().calls(Call.AUG));
      assertEquals(Errno.OK, w.guest.map(w.memfd, 0));
      assertEquals(1, module.faults().calls(Call.AUG), "once");
    }
    assertEquals(0, module.owned());
  }

  @Test
  void aBusyModuleHasTheFaultBeginOnceMore() {
    try (PlatformWorld<TdxGuest> w = world().running()) {
      module.faults().fail(Call.AUG, Errno.EBUSY, 3);
      w.put(0, 1);
      assertEquals(4, module.faults().calls(Call.AUG));
      assertThat(w.guest.death()).isEmpty();
    }
  }

  @Test
  void anInterruptEndsAFaultOnABusyModule() throws Exception {
    try (PlatformWorld<TdxGuest> w = world().running()) {
      module.faults().failEvery(Call.AUG, Errno.EBUSY, 1);
      Worker<Errno> fault = Worker.start(() -> w.guest.map(w.memfd, 0));
      while (module.faults().calls(Call.AUG) < 3) {
        Thread.onSpinWait();
      }
      fault.interrupt();
      assertEquals(Errno.EINTR, fault.result());
      assertEquals(0, module.owned());
    }
  }

  @Test
  void anyOtherFailureToMapKillsTheDomain() {
    try (PlatformWorld<TdxGuest> w = world().running()) {
      w.put(1, 1);
      module.faults().fail(Call.AUG);
      assertEquals(Errno.EIO, w.guest.map(w.memfd, 0));
      assertThat(w.guest.death()).contains("AUG of the page at offset 0x0 has failed");
      assertThat(w.guest.read(at(1))).as("it runs no more").isEmpty();
      assertEquals(Errno.EIO, w.guest.map(w.memfd, 0));
      assertEquals(Errno.EIO, w.guest.accept(at(1)));
      assertThat(w.guest)
          .hasToString(
              "TdxGuest[domain=1, launched, dead: AUG of the page at offset 0x0 has failed]");
    }
    assertEquals(0, module.owned(), "and its pages go back");
  }

  @Test
  void whatTheGuestHasNotAcceptedItMustNotTouch() {
    try (PlatformWorld<TdxGuest> w = world().running()) {
      assertEquals(Errno.OK, w.guest.map(w.memfd, 0));
      assertThat(w.guest.read(0)).isEmpty();
      assertThat(w.guest.death())
          .contains("the page at offset 0x0 was touched before it was accepted");
      assertEquals(Errno.EIO, w.guest.map(w.memfd, at(1)));
    }
  }

  @Test
  void whatTheGuestAcceptsIsZero() {
    try (PlatformWorld<TdxGuest> w = world()) {
      w.guest.finishLaunch();
      w.window.putLong(0, 42);
      w.memfd.makeInaccessible(0, PAGE);
      assertEquals(Errno.OK, w.guest.map(w.memfd, 0));
      assertEquals(Errno.OK, w.guest.accept(0));
      assertThat(w.guest.read(0)).hasValue(0);
    }
  }

  // ---- removing ----

  @Test
  void anInvalidationBlocksTracksAndRemoves() {
    try (PlatformWorld<TdxGuest> w = world().running()) {
      w.put(0, 1);
      w.put(1, 1);
      w.put(3, 1);
      w.memfd.makeAccessible(0, 2 * PAGE);
      assertEquals(2, module.faults().calls(Call.BLOCK));
      assertEquals(1, module.faults().calls(Call.TRACK), "once for all of them");
      assertEquals(2, module.faults().calls(Call.REMOVE));
      assertEquals(2, module.faults().calls(Call.WBINVD));
      assertEquals(1, w.guest.kicks(), "all vCPUs leave the guest once");
      assertEquals(1, module.owned());
      assertEquals(1, w.get(3));
    }
  }

  /** Between the track and the removal the vCPUs have left the guest. */
  @Test
  void aPageIsNotRemovedUnderAnAccess() throws Exception {
    try (PlatformWorld<TdxGuest> w = world().running()) {
      w.put(0, 1);
      FrameAccess frames = w.memfd.frameAccess();
      long access = frames.begin(w.pfn(0));
      Worker<Errno> conversion = Worker.start(() -> w.memfd.tryMakeAccessible(0, PAGE));
      while (module.faults().calls(Call.TRACK) == 0) {
        Thread.onSpinWait();
      }
      Thread.sleep(20);
      assertEquals(0, module.faults().calls(Call.REMOVE));
      frames.end(access);
      assertEquals(Errno.OK, conversion.result());
      assertEquals(1, module.faults().calls(Call.REMOVE));
    }
  }

  @Test
  void unmappingDestroysTheContent() {
    try (PlatformWorld<TdxGuest> w = world().running()) {
      assertEquals(PlatformGuest.Content.DESTROYED, w.guest.content());
      w.put(0, 42);
      w.memfd.makeAccessible(0, PAGE);
      assertEquals(0, w.window.getLong(0));
      w.memfd.makeInaccessible(0, PAGE);
      assertEquals(0, w.get(0));
    }
  }

  /** Also where the operation comes to nothing: nothing brings the content back. */
  @Test
  void anInvalidationThatIsUndoneHasDestroyedTheContent() {
    TdxGuest guest = new TdxGuest(module, machine(KernelProfile.LINUX_7_2));
    AtomicReference<Errno> answer = new AtomicReference<>(Errno.OK);
    GuestMemfdOps refusing =
        new GuestMemfdOps() {
          @Override
          public Errno invalidateBegin(long offset, long length) {
            return guest.invalidateBegin(offset, length);
          }

          @Override
          public void invalidateEnd(long offset, long length) {
            guest.invalidateEnd(offset, length);
          }

          @Override
          public Errno prepareAccessible(Folio folio) {
            return answer.get();
          }

          @Override
          public void release() {
            guest.release();
          }
        };
    try (PlatformWorld<TdxGuest> w = new PlatformWorld<>(guest, refusing).running()) {
      w.put(0, 42);
      answer.set(Errno.EBUSY);
      assertEquals(Errno.EBUSY, w.memfd.tryMakeAccessible(0, PAGE));
      assertFalse(w.memfd.isAccessible(0));
      assertEquals(0, w.get(0));
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = Call.class,
      names = {"BLOCK", "TRACK", "REMOVE", "WBINVD"})
  void aBusyModuleIsAskedOnceMoreWithoutVcpus(Call call) {
    try (PlatformWorld<TdxGuest> w = world().running()) {
      w.put(0, 1);
      module.faults().fail(call, Errno.EBUSY, 1);
      assertEquals(Errno.OK, w.memfd.tryMakeAccessible(0, PAGE));
      assertThat(w.guest.death()).isEmpty();
      assertEquals(2, module.faults().calls(call));
      assertEquals(2, w.guest.kicks());
      assertEquals(0, module.owned());
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = Call.class,
      names = {"BLOCK", "TRACK", "REMOVE", "WBINVD"})
  void aModuleThatIsBusyTwiceKillsTheDomain(Call call) {
    try (PlatformWorld<TdxGuest> w = world().running()) {
      w.put(0, 1);
      module.faults().fail(call, Errno.EBUSY, 2);
      assertEquals(Errno.OK, w.memfd.tryMakeAccessible(0, PAGE), "it cannot refuse");
      assertThat(w.guest.death().orElseThrow()).startsWith(call.name()).endsWith("EBUSY");
    }
  }

  /** The caller cannot undo: the page is the host's, and the module's. */
  @ParameterizedTest
  @EnumSource(
      value = Call.class,
      names = {"BLOCK", "TRACK", "REMOVE"})
  void aFailureToRemoveKillsTheDomainAndThePageStaysTheModules(Call call) {
    try (PlatformWorld<TdxGuest> w = world().running()) {
      w.put(0, 1);
      w.put(1, 1);
      module.faults().fail(call);
      assertEquals(Errno.OK, w.memfd.tryMakeAccessible(0, PAGE));
      assertTrue(w.memfd.isAccessible(0));
      assertFalse(w.guest.isMapped(0));
      assertThat(w.guest.death().orElseThrow()).startsWith(call.name());
      assertTrue(module.isOwned(w.pfn(0)));
      assertEquals(1, w.guest.lostFrames());
      if (call != Call.TRACK) { // without that the module removes nothing any more
        w.memfd.makeAccessible(at(1), PAGE);
        assertEquals(1, module.owned(), "others can still be removed");
      }
    }
  }

  // ---- references ----

  @Test
  void linux618HoldsAReferenceOnAMappedPage() {
    try (PlatformWorld<TdxGuest> w = world(KernelProfile.LINUX_6_18).running()) {
      w.put(0, 1);
      assertEquals(1, w.memfd.holders(0).safe());
      w.memfd.punchHole(0, PAGE);
      assertEquals(0, w.host.used(), "it is dropped when the page has been removed");
      w.put(0, 1);
      w.memfd.makeAccessible(0, PAGE);
      assertEquals(0, w.memfd.holders(0).safe());
    }
  }

  @Test
  void laterKernelsHoldNone() {
    try (PlatformWorld<TdxGuest> w = world(KernelProfile.LINUX_7_2).running()) {
      w.put(0, 1);
      assertEquals(0, w.memfd.holders(0).safe());
    }
  }

  /** A page that the module keeps is not freed: its reference is not dropped, on purpose. */
  @Test
  void linux618LeaksAPageThatIsNotRemoved() {
    try (PlatformWorld<TdxGuest> w = world(KernelProfile.LINUX_6_18).running()) {
      w.put(0, 1);
      w.put(1, 1);
      module.faults().fail(Call.REMOVE);
      w.memfd.punchHole(0, PAGE);
      assertEquals(1, w.guest.leakedPages());
      w.end(1);
      w.guest.putLeakedPages();
      assertEquals(0, w.host.used());
      assertEquals(1, module.owned());
    }
  }

  @Test
  void laterKernelsFreeAPageThatIsTheModules() {
    try (PlatformWorld<TdxGuest> w = world(KernelProfile.LINUX_7_2).running()) {
      w.put(0, 1);
      module.faults().fail(Call.REMOVE);
      w.memfd.punchHole(0, PAGE);
      assertEquals(0, w.host.used(), "free");
      assertEquals(1, module.owned(), "and the module's");
      assertEquals(0, w.guest.leakedPages());
      TdxGuest next = new TdxGuest(module, machine(KernelProfile.LINUX_7_2));
      next.finishLaunch();
      try (GuestMemfd memfd = w.describe().flags(0).size(16 * PAGE).ops(next).build()) {
        memfd.makeInaccessible(0, 16 * PAGE);
        int page = 0;
        while (next.use(memfd, at(page)) == Errno.OK) {
          page++;
        }
        assertThat(next.death()).as("it is given the frame, and dies").isPresent();
      }
    }
  }

  // ---- the launch ----

  private static Populated add(PlatformWorld<TdxGuest> w, int page, ByteBuffer source) {
    return w.guest.initMemRegion(w.memfd, at(page), source.remaining(), source);
  }

  @Test
  void aLaunchAddsPagesWithContent() {
    try (PlatformWorld<TdxGuest> w = world()) {
      w.memfd.makeInaccessible(0, SIZE);
      ByteBuffer source = PlatformWorld.pages(2, 100);
      assertEquals(new Populated(2 * PAGE, Errno.OK, Errno.OK), add(w, 1, source));
      assertEquals(2, module.faults().calls(Call.ADD));
      assertTrue(w.guest.isMapped(at(1)), "it is mapped from then on");
      assertThat(w.guest.read(at(1))).as("the domain does not run yet").isEmpty();
      w.guest.finishLaunch();
      assertThat(w.guest.read(at(1))).hasValue(100);
      assertEquals(101, w.get(2));
      assertEquals(0, module.faults().calls(Call.AUG));
    }
  }

  @Test
  void aPageWithoutSourceIsNotAdded() {
    try (PlatformWorld<TdxGuest> w = world()) {
      w.memfd.makeInaccessible(0, SIZE);
      assertEquals(Errno.EOPNOTSUPP, w.guest.initMemRegion(w.memfd, 0, PAGE, null).errno());
      assertEquals(0, module.owned());
    }
  }

  @Test
  void wrongArgumentsOfALaunchAreEinval() {
    try (PlatformWorld<TdxGuest> w = world()) {
      ByteBuffer page = PlatformWorld.pages(1, 1);
      assertEquals(Errno.EINVAL, w.guest.initMemRegion(w.memfd, 0, 0, page).errno());
      assertEquals(Errno.EINVAL, w.guest.initMemRegion(w.memfd, 8, PAGE, page).errno());
      assertEquals(Errno.EINVAL, add(w, 0, page).errno(), "shared");
      w.memfd.makeInaccessible(0, SIZE);
      assertEquals(PAGE, add(w, 0, page.duplicate()).done());
      assertEquals(Errno.EEXIST, add(w, 0, page.duplicate()).errno());
      w.guest.finishLaunch();
      assertEquals(Errno.EINVAL, add(w, 1, page).errno(), "it runs");
    }
  }

  /** The second comes while the first waits for its page. */
  @Test
  void twoLaunchesAtOnceKillTheDomain() throws Exception {
    try (RacePoints races = new RacePoints();
        PlatformWorld<TdxGuest> w =
            new PlatformWorld<>(new TdxGuest(module, machine(KernelProfile.LINUX_7_2)), races)) {
      w.memfd.makeInaccessible(0, SIZE);
      races.at(
          RacePoint.BEFORE_SLOT_FILL,
          () -> assertEquals(Errno.EIO, add(w, 1, PlatformWorld.pages(1, 2)).errno()));
      assertEquals(Errno.EIO, add(w, 0, PlatformWorld.pages(1, 1)).errno());
      assertThat(w.guest.death()).contains("a page is being added while another is");
    }
  }

  @Test
  void aLaunchOnABusyModuleIsMadeAgain() {
    try (PlatformWorld<TdxGuest> w = world()) {
      w.memfd.makeInaccessible(0, SIZE);
      module.faults().fail(Call.ADD, Errno.EBUSY, 1);
      ByteBuffer source = PlatformWorld.pages(1, 9);
      assertEquals(new Populated(0, Errno.EBUSY, Errno.EBUSY), add(w, 0, source));
      assertEquals(PAGE, add(w, 0, source).done());
      module.faults().fail(Call.ADD);
      assertEquals(Errno.EIO, add(w, 1, PlatformWorld.pages(1, 9)).errno());
    }
  }

  @Test
  void aFaultBeforeTheMeasurementIsCompleteIsRefused() {
    try (PlatformWorld<TdxGuest> w = world()) {
      w.memfd.makeInaccessible(0, SIZE);
      assertEquals(Errno.EOPNOTSUPP, w.guest.map(w.memfd, 0));
      module.faults().fail(Call.FINALIZE);
      assertEquals(Errno.EIO, w.guest.finishLaunch());
      assertEquals(Errno.EOPNOTSUPP, w.guest.map(w.memfd, 0));
      assertEquals(Errno.OK, w.guest.finishLaunch());
      assertEquals(Errno.OK, w.guest.map(w.memfd, 0));
    }
  }
}
