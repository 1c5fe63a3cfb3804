package io.github.guestmemfd.platform;

import static io.github.guestmemfd.platform.PlatformWorld.PAGE;
import static io.github.guestmemfd.platform.PlatformWorld.SIZE;
import static io.github.guestmemfd.platform.PlatformWorld.at;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.platform.CcaGuest.Ripas;
import io.github.guestmemfd.platform.Rmm.Call;
import java.nio.ByteBuffer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The rows of CCA in docs/conformance.md. */
class CcaGuestTest {
  private final Rmm rmm = new Rmm();

  private PlatformWorld<CcaGuest> world() {
    return new PlatformWorld<>(new CcaGuest(rmm));
  }

  private static Populated populate(PlatformWorld<CcaGuest> w, int page, ByteBuffer source) {
    return w.guest.populate(w.memfd, at(page), source.remaining(), source, true);
  }

  // ---- populate ----

  @Test
  void populateFillsPrivatePagesAndMeasuresThem() {
    try (PlatformWorld<CcaGuest> w = world()) {
      w.memfd.makeInaccessible(0, SIZE);
      ByteBuffer source = PlatformWorld.pages(2, 100);
      assertEquals(new Populated(2 * PAGE, Errno.OK, Errno.OK), populate(w, 1, source));
      assertEquals(0, source.remaining());
      assertEquals(2, w.guest.measuredPages());
      ByteBuffer more = PlatformWorld.pages(1, 7);
      assertEquals(PAGE, w.guest.populate(w.memfd, 0, PAGE, more, false).done());
      assertEquals(2, w.guest.measuredPages(), "only what is to be");
      w.guest.finishLaunch();
      assertThat(w.guest.read(at(1))).as("accepted from the start").hasValue(100);
      assertEquals(101, w.get(2));
      assertEquals(7, w.get(0));
    }
    assertEquals(0, rmm.delegated());
  }

  @Test
  void populateSaysHowFarItHasCome() {
    try (PlatformWorld<CcaGuest> w = world()) {
      w.memfd.makeInaccessible(0, SIZE);
      rmm.faults().failEvery(Call.DATA_CREATE, Errno.EIO, 3);
      ByteBuffer source = PlatformWorld.pages(4, 10);
      assertEquals(new Populated(2 * PAGE, Errno.OK, Errno.EIO), populate(w, 0, source));
      assertEquals(2 * PAGE, source.remaining());
      assertEquals(2, rmm.delegated(), "the page that was refused is the host's again");
      rmm.faults().stop(Call.DATA_CREATE);
      assertEquals(new Populated(2 * PAGE, Errno.OK, Errno.OK), populate(w, 2, source));
      w.guest.finishLaunch();
      assertEquals(13, w.get(3));
    }
  }

  @Test
  void anErrorIsAnsweredIfNothingHasBeenDone() {
    try (PlatformWorld<CcaGuest> w = world()) {
      w.memfd.makeInaccessible(0, SIZE);
      rmm.faults().fail(Call.DATA_CREATE);
      ByteBuffer page = PlatformWorld.pages(1, 1);
      assertEquals(new Populated(0, Errno.EIO, Errno.EIO), populate(w, 0, page));
      assertEquals(PAGE, populate(w, 0, page.duplicate()).done());
      assertEquals(Errno.EEXIST, populate(w, 0, page).errno());
      Thread.currentThread().interrupt();
      assertEquals(Errno.EINTR, populate(w, 1, page).errno());
      assertTrue(Thread.interrupted());
    }
  }

  /** It needs attributes that the file has: a page that is private in it. */
  @Test
  void aSharedPageIsNotPopulated() {
    try (PlatformWorld<CcaGuest> w = world()) {
      assertEquals(Errno.EINVAL, populate(w, 0, PlatformWorld.pages(1, 1)).errno());
      assertEquals(0, rmm.delegated());
    }
  }

  @Test
  void wrongArgumentsOfPopulateAreEinval() {
    try (PlatformWorld<CcaGuest> w = world()) {
      w.memfd.makeInaccessible(0, SIZE);
      ByteBuffer page = PlatformWorld.pages(1, 1);
      assertEquals(Errno.EINVAL, w.guest.populate(w.memfd, 0, 0, page, true).errno());
      assertEquals(Errno.EINVAL, w.guest.populate(w.memfd, 8, PAGE, page, true).errno());
      assertEquals(Errno.EINVAL, w.guest.populate(w.memfd, 0, 2 * PAGE, page, true).errno());
      rmm.faults().fail(Call.ACTIVATE);
      assertEquals(Errno.EIO, w.guest.finishLaunch());
      assertEquals(Errno.OK, w.guest.finishLaunch());
      assertEquals(Errno.EINVAL, populate(w, 0, page).errno(), "it runs");
    }
  }

  // ---- destroyed content ----

  @Test
  void whatTheRealmAcceptsIsZero() {
    try (PlatformWorld<CcaGuest> w = world()) {
      w.guest.finishLaunch();
      w.window.putLong(0, 42);
      w.memfd.makeInaccessible(0, PAGE);
      assertEquals(Errno.OK, w.guest.map(w.memfd, 0));
      assertEquals(Ripas.EMPTY, w.guest.ripas(0));
      assertThat(w.guest.read(0)).as("not accepted").isEmpty();
      assertEquals(Errno.OK, w.guest.accept(8));
      assertEquals(Ripas.RAM, w.guest.ripas(8));
      assertThat(w.guest.read(0)).hasValue(0);
    }
  }

  @Test
  void unmappingDestroysTheContentAndTheRealmKnows() {
    try (PlatformWorld<CcaGuest> w = world().running()) {
      assertEquals(PlatformGuest.Content.DESTROYED, w.guest.content());
      w.put(0, 42);
      w.put(1, 43);
      w.memfd.makeAccessible(0, PAGE);
      assertEquals(0, w.window.getLong(0));
      assertEquals(Ripas.DESTROYED, w.guest.ripas(0));
      assertEquals(Ripas.RAM, w.guest.ripas(at(1)));
      w.memfd.makeInaccessible(0, PAGE);
      assertEquals(Errno.OK, w.guest.map(w.memfd, 0));
      assertThat(w.guest.read(0)).as("it has to be accepted again").isEmpty();
      assertEquals(Errno.OK, w.guest.accept(0));
      assertThat(w.guest.read(0)).hasValue(0);
      assertEquals(43, w.get(1));
    }
  }

  @Test
  void aMappedPageHasNoReference() {
    try (PlatformWorld<CcaGuest> w = world().running()) {
      w.put(0, 1);
      assertEquals(0, w.memfd.holders(0).safe());
    }
  }

  // ---- the monitor refuses ----

  @ParameterizedTest
  @EnumSource(
      value = Call.class,
      names = {"DELEGATE", "DATA_CREATE_UNKNOWN"})
  void aFaultThatTheMonitorRefusesLeavesTheGranuleToTheHost(Call call) {
    try (PlatformWorld<CcaGuest> w = world().running()) {
      rmm.faults().fail(call);
      assertEquals(Errno.EIO, w.guest.map(w.memfd, 0));
      assertFalse(w.guest.isMapped(0));
      assertEquals(0, rmm.delegated());
      w.put(0, 1);
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = Call.class,
      names = {"DATA_DESTROY", "UNDELEGATE"})
  void aGranuleThatIsNotGivenBackIsLost(Call call) {
    try (PlatformWorld<CcaGuest> w = world().running()) {
      w.put(0, 1);
      rmm.faults().fail(call);
      w.memfd.punchHole(0, PAGE);
      assertEquals(0, w.host.used());
      assertEquals(1, rmm.delegated());
      assertEquals(1, w.guest.lostFrames());
      CcaGuest other = new CcaGuest(rmm);
      other.finishLaunch();
      try (GuestMemfd memfd = w.describe().flags(0).size(16 * PAGE).ops(other).build()) {
        memfd.makeInaccessible(0, 16 * PAGE);
        int refused = 0;
        for (int i = 0; i < 16; i++) {
          refused += other.map(memfd, at(i)) == Errno.EIO ? 1 : 0;
        }
        assertEquals(1, refused, "it cannot be delegated twice");
      }
    }
  }
}
