package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.HolderKind.SAFE;
import static io.github.guestmemfd.abi.HolderKind.UNSAFE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.ConversionBlockedException;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** References in the way of a conversion, which looks again as its retry policy says. */
class RefCheckTest extends RaceFixture {

  @Nested
  class SpeculativeReference {

    private Worker<Integer> heldLookup(GuestMemfd memfd, HolderKind kind, RacePoints.Gate gate)
        throws InterruptedException {
      Worker<Integer> lookup =
          Worker.start(
              () -> {
                int pfn = memfd.tryGrab(0, kind);
                if (pfn > 0) {
                  memfd.put(pfn, kind);
                }
                return pfn;
              });
      gate.awaitReached();
      return lookup;
    }

    @Test
    void isWaitedForByAPatientConversion() throws Exception {
      GuestMemfd memfd = file(1, PATIENT);
      map(memfd).putLong(0, 1);
      RacePoints.Gate gate = races.hold(RacePoint.BEFORE_SLOT_RELOAD);
      Worker<Integer> lookup = heldLookup(memfd, UNSAFE, gate);
      Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
      probe.awaitWaiting(conversion);
      assertFalse(conversion.isDone());
      gate.release();
      assertEquals(Errno.OK, conversion.result());
      assertEquals(-Errno.EFAULT.code(), lookup.result());
      assertQuiet(memfd);
    }

    @Test
    void isRefusedAtOnceByTheKernelsPolicy() throws Exception {
      GuestMemfd memfd = file(1, AT_ONCE);
      map(memfd).putLong(0, 1);
      RacePoints.Gate gate = races.hold(RacePoint.BEFORE_SLOT_RELOAD);
      Worker<Integer> lookup = heldLookup(memfd, UNSAFE, gate);
      BusyFolio busy = new BusyFolio();
      assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, PAGE, busy));
      assertEquals(1, busy.unsafeHolders());
      assertEquals(0, busy.offset());
      assertTrue(memfd.isAccessible(0));
      gate.release();
      assertTrue(lookup.result() > 0, "the page is accessible as before");
      assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE));
      assertQuiet(memfd);
    }

    @ParameterizedTest
    @EnumSource(
        value = RacePoint.class,
        names = {"BEFORE_SLOT_RELOAD", "AFTER_LOOKUP"})
    void isNoneWhenItIsSafe(RacePoint point) throws Exception {
      GuestMemfd memfd = file(1, AT_ONCE);
      map(memfd).putLong(0, 1);
      RacePoints.Gate gate = races.hold(point);
      Worker<Integer> lookup = heldLookup(memfd, SAFE, gate);
      assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE));
      gate.release();
      assertTrue(lookup.result() > 0);
      assertQuiet(memfd);
    }

    /** The policy looks again as often as it says, and only then gives up. */
    @Test
    void isGoneWhenAConversionThatSpinsLooksAgain() throws Exception {
      GuestMemfd memfd = file(1, RetryPolicy.spin(1));
      map(memfd).putLong(0, 1);
      RacePoints.Gate gate = races.hold(RacePoint.BEFORE_SLOT_RELOAD);
      Worker<Integer> lookup = heldLookup(memfd, UNSAFE, gate);
      RacePoints.Gate busyWait = races.hold(RacePoint.ON_MISMATCH);
      Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
      busyWait.awaitReached();
      gate.release();
      probe.awaitWaiting(lookup); // it has dropped its reference, and waits for the page
      busyWait.release();
      assertEquals(Errno.OK, conversion.result());
      assertEquals(-Errno.EFAULT.code(), lookup.result());
      assertQuiet(memfd);
    }
  }

  @Nested
  class Reference {

    @Test
    void thatIsKeptIsReportedByPlaceAndKind() throws Exception {
      GuestMemfd memfd = file(4, RetryPolicy.spinThenWait(4, Duration.ofMillis(1)));
      HostMapping window = map(memfd);
      window.putLong(3L * PAGE, 1);
      HostReference plain1 = window.getUserPages(2L * PAGE, PAGE);
      HostReference plain2 = window.getUserPages(2L * PAGE + 5, 1);
      HostReference pin = window.pin(2L * PAGE, 2L * PAGE);
      Folio safe = memfd.grab(2L * PAGE);
      BusyFolio busy = new BusyFolio();
      assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, 4L * PAGE, busy));
      assertEquals(2L * PAGE, busy.offset());
      assertEquals(2, busy.unsafeHolders());
      assertEquals(1, busy.pinnedHolders());
      assertEquals(1, busy.safeHolders());
      for (int i = 0; i < 4; i++) {
        assertTrue(memfd.isAccessible((long) i * PAGE), "page " + i);
      }
      plain1.close();
      plain2.close();
      ConversionBlockedException e =
          assertThrows(
              ConversionBlockedException.class, () -> memfd.makeInaccessible(PAGE, 3L * PAGE));
      assertEquals(2L * PAGE, e.busyFolio().offset());
      assertEquals(0, e.busyFolio().unsafeHolders());
      assertEquals(1, e.busyFolio().pinnedHolders());
      assertEquals(1, e.busyFolio().safeHolders());
      pin.close();
      assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, 4L * PAGE, busy));
      assertEquals(-1, busy.offset(), "an old result must not stay");
      safe.close();
      assertQuiet(memfd);
    }

    @Test
    void isWaitedForAndItsReleaseWakes() throws Exception {
      GuestMemfd memfd = file(1, PATIENT);
      HostReference pin = map(memfd).pin(0, PAGE);
      Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
      probe.awaitWaiting(conversion);
      assertFalse(conversion.isDone());
      pin.buffer().putLong(0, 9);
      pin.close();
      assertEquals(Errno.OK, conversion.result());
      assertEquals(9, guestSees(memfd, 0));
      assertQuiet(memfd);
    }
  }

  /** A page that is let go of at once takes no time from what is left for the next. */
  @Test
  void theSecondPageIsWaitedFor() throws Exception {
    GuestMemfd memfd = file(2, PATIENT);
    write(memfd, 0, 1);
    Folio folio = memfd.grab(PAGE, HolderKind.UNSAFE);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, 2L * PAGE));
    probe.awaitWaiting(conversion);
    assertFalse(conversion.isDone());
    folio.close();
    assertEquals(Errno.OK, conversion.result());
    assertQuiet(memfd);
  }

  static List<Arguments> policies() {
    return List.of(
        Arguments.of(RetryPolicy.spin(Integer.MAX_VALUE)),
        Arguments.of(RetryPolicy.spinThenWait(Integer.MAX_VALUE, Duration.ofHours(1))),
        Arguments.of(RetryPolicy.spinThenWait(0, Duration.ofHours(1))));
  }

  @ParameterizedTest
  @MethodSource("policies")
  void anInterruptEndsTheRetry(RetryPolicy policy) throws Exception {
    GuestMemfd memfd = file(2, b -> b.retryPolicy(policy));
    write(memfd, 0, SECRET);
    try (Folio folio = memfd.grab(PAGE, HolderKind.UNSAFE)) {
      Worker<Boolean> conversion =
          Worker.start(
              () -> {
                assertEquals(Errno.EINTR, memfd.tryMakeInaccessible(0, 2L * PAGE));
                return Thread.currentThread().isInterrupted();
              });
      probe.awaitWaiting(conversion);
      assertFalse(conversion.isDone());
      conversion.interrupt();
      assertTrue(conversion.result(), "the interrupt status is gone");
      assertTrue(memfd.isAccessible(0));
      assertTrue(memfd.isAccessible(folio.offset()));
    }
    assertEquals(SECRET, read(memfd, 0));
    assertQuiet(memfd);
  }
}
