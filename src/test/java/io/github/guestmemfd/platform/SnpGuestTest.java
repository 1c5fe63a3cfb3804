package io.github.guestmemfd.platform;

import static io.github.guestmemfd.platform.PlatformWorld.PAGE;
import static io.github.guestmemfd.platform.PlatformWorld.SIZE;
import static io.github.guestmemfd.platform.PlatformWorld.at;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.platform.SnpGuest.LaunchPage;
import java.nio.ByteBuffer;
import java.nio.ReadOnlyBufferException;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** The rows of SEV-SNP in docs/conformance.md. */
class SnpGuestTest {
  private final Rmp rmp = new Rmp();

  private PlatformWorld<SnpGuest> world() {
    return new PlatformWorld<>(new SnpGuest(rmp));
  }

  // ---- make_private ----

  @Test
  void aPrivateFaultAssignsTheFrame() {
    try (PlatformWorld<SnpGuest> w = world().running()) {
      assertEquals(0, rmp.assigned(), "a conversion assigns nothing");
      w.put(1, 42);
      assertTrue(rmp.isAssigned(w.pfn(1)));
      assertEquals(1, rmp.assigned());
      assertEquals(42, w.get(1));
    }
    assertEquals(0, rmp.assigned());
  }

  @Test
  void anEntryThatCannotBeLookedUpIsEnoent() {
    try (PlatformWorld<SnpGuest> w = world().running()) {
      rmp.faults().fail(Rmp.Call.LOOKUP);
      assertEquals(Errno.ENOENT, w.guest.use(w.memfd, 0));
      assertFalse(w.guest.isMapped(0));
      w.put(0, 1);
    }
  }

  @Test
  void anEntryThatCannotBeChangedIsEinval() {
    try (PlatformWorld<SnpGuest> w = world().running()) {
      rmp.faults().fail(Rmp.Call.MAKE_PRIVATE);
      assertEquals(Errno.EINVAL, w.guest.use(w.memfd, 0));
      assertEquals(0, rmp.assigned());
      w.put(0, 1);
    }
  }

  /** Invalidated and faulted in again: the entry is there, and no update is made. */
  @Test
  void whatIsAssignedIsLeftAsItIs() throws Exception {
    try (PlatformWorld<SnpGuest> w = world().running()) {
      w.put(0, 42);
      assertEquals(Errno.OK, w.guest.invalidateBegin(0, PAGE));
      w.guest.invalidateEnd(0, PAGE);
      assertFalse(w.guest.isMapped(0));
      assertTrue(rmp.isAssigned(w.pfn(0)), "unmapping assigns nothing back");
      assertEquals(42, w.get(0), "and content stays");
      assertEquals(1, rmp.faults().calls(Rmp.Call.MAKE_PRIVATE));
    }
  }

  // ---- make_shared ----

  @Test
  void aConversionToSharedAssignsBackItsRangeAlone() {
    try (PlatformWorld<SnpGuest> w = world().running()) {
      for (int i = 0; i < 4; i++) {
        w.put(i, i);
      }
      int pfn = w.pfn(1);
      w.memfd.makeAccessible(at(1), 2 * PAGE);
      assertEquals(2, rmp.assigned());
      assertFalse(rmp.isAssigned(pfn));
      assertEquals(pfn, w.pfn(1), "the page stays in the file");
      assertEquals(3, w.get(3));
    }
  }

  @Test
  void aFailureToAssignBackIsNoRefusal() {
    try (PlatformWorld<SnpGuest> w = world().running()) {
      w.put(0, 1);
      rmp.faults().fail(Rmp.Call.MAKE_SHARED);
      assertEquals(Errno.OK, w.memfd.tryMakeAccessible(0, PAGE));
      assertTrue(rmp.isAssigned(w.pfn(0)), "and the host may not write to it");
      assertEquals(1, w.guest.lostFrames());
    }
  }

  @Test
  void neitherSideReadsWhatTheOtherHasWritten() {
    try (PlatformWorld<SnpGuest> w = world().running()) {
      assertEquals(PlatformGuest.Content.ENCRYPTED, w.guest.content());
      w.put(0, 42);
      w.memfd.makeAccessible(0, PAGE);
      assertNotEquals(42, w.window.getLong(0), "ciphertext");
      w.memfd.makeInaccessible(0, PAGE);
      assertEquals(42, w.get(0), "the guest's key still fits");
      w.memfd.makeAccessible(0, PAGE);
      w.window.putLong(0, 7);
      w.memfd.makeInaccessible(0, PAGE);
      assertNotEquals(7, w.get(0), "plaintext is decrypted");
    }
  }

  // ---- reclaim ----

  @Test
  void aFrameThatIsFreedIsAssignedBack() {
    try (PlatformWorld<SnpGuest> w = world().running()) {
      w.put(0, 1);
      w.put(1, 1);
      w.memfd.punchHole(0, PAGE);
      assertEquals(1, rmp.assigned());
    }
    assertEquals(0, rmp.assigned(), "also at the end of the file");
  }

  @Test
  void whatIsNotAssignedIsSkipped() {
    try (PlatformWorld<SnpGuest> w = world()) {
      w.window.putLong(0, 1);
      w.memfd.punchHole(0, PAGE);
      assertEquals(0, rmp.faults().calls(Rmp.Call.MAKE_SHARED));
    }
  }

  @Test
  void aLookupThatFailsSkipsTheFrame() {
    try (PlatformWorld<SnpGuest> w = world().running()) {
      w.put(0, 1);
      rmp.faults().fail(Rmp.Call.LOOKUP);
      w.memfd.punchHole(0, PAGE);
      assertEquals(0, rmp.faults().calls(Rmp.Call.MAKE_SHARED));
      assertEquals(1, rmp.assigned());
      assertEquals(0, w.host.used());
    }
  }

  @Test
  void aFailureToReclaimOnlyWarnsAndFrees() {
    try (PlatformWorld<SnpGuest> w = world().running()) {
      w.put(0, 1);
      rmp.faults().fail(Rmp.Call.MAKE_SHARED);
      w.memfd.punchHole(0, PAGE);
      assertEquals(0, w.host.used(), "the frame is free");
      assertEquals(1, rmp.assigned(), "and still the guest's");
      assertEquals(1, w.guest.lostFrames());
    }
  }

  /** "Assigned already" does not look at whom to: the next guest has a page that it cannot use. */
  @Test
  void aFrameThatWasLostPassesForAssigned() {
    try (PlatformWorld<SnpGuest> w = world().running()) {
      w.put(0, 1);
      int lost = w.pfn(0);
      rmp.faults().fail(Rmp.Call.MAKE_SHARED);
      w.memfd.punchHole(0, PAGE);
      SnpGuest other = new SnpGuest(rmp);
      other.finishLaunch();
      try (GuestMemfd memfd = w.describe().flags(0).size(16 * PAGE).ops(other).build()) {
        memfd.makeInaccessible(0, 16 * PAGE);
        List<Errno> answers = new ArrayList<>();
        for (int i = 0; i < 16; i++) {
          answers.add(other.use(memfd, at(i)));
        }
        assertThat(answers).containsOnlyOnce(Errno.EFAULT).contains(Errno.OK);
        assertTrue(rmp.isAssigned(lost));
      }
    }
  }

  // ---- invalidate_range ----

  @Test
  void aPageWithTheStateOfAvCpuKicksIt() {
    try (PlatformWorld<SnpGuest> w = world().running()) {
      w.guest.addVmsa(at(1) + 8);
      w.put(0, 1);
      w.memfd.punchHole(0, PAGE);
      assertEquals(0, w.guest.kicks());
      w.memfd.punchHole(0, SIZE);
      assertEquals(1, w.guest.kicks(), "also where nothing is mapped");
      w.memfd.makeAccessible(at(1), PAGE);
      assertEquals(2, w.guest.kicks());
    }
  }

  // ---- the launch ----

  private static Populated update(PlatformWorld<SnpGuest> w, int page, ByteBuffer source) {
    return w.guest.launchUpdate(w.memfd, at(page), source.remaining(), source, LaunchPage.NORMAL);
  }

  @Test
  void aLaunchCopiesAssignsAndMeasures() {
    try (PlatformWorld<SnpGuest> w = world()) {
      w.memfd.makeInaccessible(0, SIZE);
      ByteBuffer source = PlatformWorld.pages(2, 100);
      assertEquals(new Populated(2 * PAGE, Errno.OK, Errno.OK), update(w, 1, source));
      assertEquals(0, source.remaining());
      assertEquals(2, rmp.assigned());
      Populated zero = w.guest.launchUpdate(w.memfd, 0, PAGE, null, LaunchPage.ZERO);
      assertEquals(PAGE, zero.done());
      assertEquals(Errno.OK, w.guest.finishLaunch());
      assertEquals(100, w.get(1));
      assertEquals(101, w.get(2));
      assertEquals(0, w.get(0));
      assertEquals(3, rmp.faults().calls(Rmp.Call.MAKE_PRIVATE), "a fault leaves them assigned");
    }
  }

  @Test
  void wrongArgumentsOfALaunchAreEinval() {
    try (PlatformWorld<SnpGuest> w = world()) {
      w.memfd.makeInaccessible(0, SIZE);
      ByteBuffer page = PlatformWorld.pages(1, 1);
      for (long[] range : new long[][] {{0, 0}, {1, PAGE}, {0, 5}, {SIZE, PAGE}, {-PAGE, PAGE}}) {
        Populated wrong =
            w.guest.launchUpdate(w.memfd, range[0], range[1], page, LaunchPage.NORMAL);
        assertEquals(new Populated(0, Errno.EINVAL, Errno.EINVAL), wrong);
      }
      assertEquals(
          Errno.EINVAL,
          w.guest.launchUpdate(w.memfd, 0, 2 * PAGE, page, LaunchPage.NORMAL).errno(),
          "a source that is too short");
      assertEquals(
          Errno.EINVAL, w.guest.launchUpdate(w.memfd, 0, PAGE, null, LaunchPage.NORMAL).errno());
      assertEquals(
          Errno.EINVAL, w.guest.launchUpdate(w.memfd, 0, PAGE, page, LaunchPage.ZERO).errno());
      assertThatThrownBy(
              () ->
                  w.guest.launchUpdate(w.memfd, 0, PAGE, page.asReadOnlyBuffer(), LaunchPage.CPUID))
          .isInstanceOf(ReadOnlyBufferException.class);
      w.guest.finishLaunch();
      assertEquals(Errno.EINVAL, update(w, 0, page).errno(), "it has been launched");
      assertEquals(0, rmp.assigned());
    }
  }

  @Test
  void aSharedPageIsNotLaunched() {
    try (PlatformWorld<SnpGuest> w = world()) {
      Populated refused = update(w, 0, PlatformWorld.pages(1, 1));
      assertEquals(new Populated(0, Errno.EIO, Errno.EINVAL), refused);
    }
  }

  @Test
  void anEntryThatCannotBeLookedUpIsEinvalInALaunch() {
    try (PlatformWorld<SnpGuest> w = world()) {
      w.memfd.makeInaccessible(0, SIZE);
      rmp.faults().fail(Rmp.Call.LOOKUP);
      assertEquals(
          new Populated(0, Errno.EIO, Errno.EINVAL), update(w, 0, PlatformWorld.pages(1, 1)));
      rmp.faults().fail(Rmp.Call.MAKE_PRIVATE);
      assertEquals(
          new Populated(0, Errno.EIO, Errno.EINVAL), update(w, 0, PlatformWorld.pages(1, 1)));
    }
  }

  @Test
  void aPageIsLaunchedOnce() {
    try (PlatformWorld<SnpGuest> w = world()) {
      w.memfd.makeInaccessible(0, SIZE);
      assertEquals(PAGE, update(w, 0, PlatformWorld.pages(1, 1)).done());
      assertEquals(
          new Populated(0, Errno.EIO, Errno.EEXIST), update(w, 0, PlatformWorld.pages(1, 2)));
      w.guest.finishLaunch();
      assertEquals(1, w.get(0), "its content is the first");
    }
  }

  /** The content is there before the assignment, and stays when the page is assigned back. */
  @Test
  void aPageThatTheFirmwareRefusesIsAssignedBackWithItsContent() {
    try (PlatformWorld<SnpGuest> w = world()) {
      w.memfd.makeInaccessible(0, SIZE);
      rmp.faults().fail(Rmp.Call.LAUNCH_UPDATE);
      ByteBuffer source = PlatformWorld.pages(1, 55);
      assertEquals(new Populated(0, Errno.EIO, Errno.EIO), update(w, 0, source));
      assertEquals(PAGE, source.remaining(), "nothing of it is done");
      assertEquals(0, rmp.assigned());
      w.memfd.makeAccessible(0, PAGE);
      assertEquals(55, w.window.getLong(0));
      w.memfd.makeInaccessible(0, PAGE);
      assertEquals(PAGE, update(w, 0, source).done(), "and it can be launched once more");
    }
  }

  @Test
  void aLaunchComesAsFarAsItCan() {
    try (PlatformWorld<SnpGuest> w = world()) {
      w.memfd.makeInaccessible(0, SIZE);
      rmp.faults().failEvery(Rmp.Call.LAUNCH_UPDATE, Errno.EIO, 3);
      ByteBuffer source = PlatformWorld.pages(4, 10);
      Populated first = update(w, 0, source);
      assertEquals(new Populated(2 * PAGE, Errno.OK, Errno.EIO), first);
      assertEquals(2 * PAGE, source.remaining());
      rmp.faults().stop(Rmp.Call.LAUNCH_UPDATE);
      assertEquals(new Populated(2 * PAGE, Errno.OK, Errno.OK), update(w, 2, source));
      w.guest.finishLaunch();
      assertEquals(13, w.get(3));
    }
  }

  @Test
  void aCpuidPageThatIsRefusedComesBackCorrected() {
    try (PlatformWorld<SnpGuest> w = world()) {
      w.memfd.makeInaccessible(0, SIZE);
      rmp.faults().fail(Rmp.Call.LAUNCH_UPDATE);
      ByteBuffer source = PlatformWorld.pages(1, 55);
      assertEquals(
          Errno.EIO, w.guest.launchUpdate(w.memfd, 0, PAGE, source, LaunchPage.CPUID).errno());
      assertEquals(0, source.getLong(0), "corrected");
      assertEquals(PAGE, w.guest.launchUpdate(w.memfd, 0, PAGE, source, LaunchPage.CPUID).done());
    }
  }

  @Test
  void anInterruptEndsALaunch() {
    try (PlatformWorld<SnpGuest> w = world()) {
      w.memfd.makeInaccessible(0, SIZE);
      Thread.currentThread().interrupt();
      assertEquals(
          new Populated(0, Errno.EIO, Errno.EINTR), update(w, 0, PlatformWorld.pages(1, 1)));
      assertTrue(Thread.interrupted());
      assertEquals(PAGE, update(w, 0, PlatformWorld.pages(1, 1)).done());
    }
  }

  /** Faults, and so pre-faults too, are allowed when the firmware has ended the launch. */
  @Test
  void theEndOfTheLaunchAllowsFaults() {
    try (PlatformWorld<SnpGuest> w = world()) {
      w.memfd.makeInaccessible(0, SIZE);
      rmp.faults().fail(Rmp.Call.LAUNCH_FINISH);
      assertEquals(Errno.EIO, w.guest.finishLaunch());
      assertEquals(Errno.EOPNOTSUPP, w.guest.map(w.memfd, 0));
      assertEquals(Errno.OK, w.guest.finishLaunch());
      assertEquals(Errno.OK, w.guest.map(w.memfd, 0));
      assertThat(w.guest.read(0)).as("not validated").isEmpty();
      assertEquals(Errno.OK, w.guest.accept(0));
      assertThat(w.guest.read(0)).isPresent();
    }
  }
}
