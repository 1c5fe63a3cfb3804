package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Faults against range operations: a late one is waited for, or its entry taken back. */
class HostFaultTest extends RaceFixture {
  private Worker<Class<?>> write(HostMapping window, long value) {
    return Worker.start(
        () -> {
          try {
            window.putLong(0, value);
            return null;
          } catch (RuntimeException e) {
            return e.getClass();
          }
        });
  }

  @Test
  void isWaitedForByAPatientConversionAndThenGetsSigbus() throws Exception {
    GuestMemfd memfd = file(1, PATIENT);
    HostMapping window = map(memfd);
    memfd.allocate(0, PAGE);
    RacePoints.Gate install = races.hold(RacePoint.BEFORE_PTE_INSTALL);
    Worker<Class<?>> fault = write(window, 7);
    install.awaitReached();
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    probe.awaitWaiting(conversion);
    assertFalse(conversion.isDone(), "the fault holds the folio");
    install.release();
    assertEquals(Errno.OK, conversion.result());
    assertEquals(SigBusException.class, fault.result());
    assertEquals(0, guestSees(memfd, 0), "the write must not have happened");
    assertQuiet(memfd);
  }

  @Test
  void makesAnImpatientConversionFailAndThenSucceeds() throws Exception {
    GuestMemfd memfd = file(1, AT_ONCE);
    HostMapping window = map(memfd);
    RacePoints.Gate install = races.hold(RacePoint.BEFORE_PTE_INSTALL);
    Worker<Class<?>> fault = write(window, 7);
    install.awaitReached();
    BusyFolio busy = new BusyFolio();
    assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, PAGE, busy));
    assertEquals(1, busy.unsafeHolders());
    install.release();
    assertNull(fault.result());
    assertEquals(7, guestSees(memfd, 0));
    assertQuiet(memfd);
  }

  /** The entry goes in after the conversion has looked for entries, and before it counts. */
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void isCaughtByTheCountsWhenItsEntryComesAfterTheUnmapping(boolean patient) throws Exception {
    GuestMemfd memfd = file(1, patient ? PATIENT : AT_ONCE);
    HostMapping window = map(memfd);
    RacePoints.Gate before = races.hold(RacePoint.BEFORE_PTE_INSTALL);
    Worker<Class<?>> fault = write(window, 7);
    before.awaitReached();
    RacePoints.Gate unmapped = races.hold(RacePoint.AFTER_UNMAP);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    unmapped.awaitReached();
    RacePoints.Gate after = races.hold(RacePoint.AFTER_PTE_INSTALL);
    before.release();
    after.awaitReached(); // now the page is mapped, and the conversion does not know it
    unmapped.release();
    if (patient) {
      probe.awaitWaiting(conversion);
      assertFalse(conversion.isDone(), "a mapped page must not turn inaccessible");
      after.release();
      assertEquals(Errno.OK, conversion.result());
      assertEquals(SigBusException.class, fault.result());
      assertThrows(SigBusException.class, () -> window.getLong(0));
    } else {
      assertEquals(Errno.EAGAIN, conversion.result());
      after.release();
      assertNull(fault.result());
    }
    assertQuiet(memfd);
  }

  @Test
  void losesTheEntryThatTheConversionStillSaw() throws Exception {
    GuestMemfd memfd = file(1, AT_ONCE);
    HostMapping window = map(memfd);
    RacePoints.Gate after = races.hold(RacePoint.AFTER_PTE_INSTALL);
    Worker<Class<?>> fault = write(window, 7);
    after.awaitReached();
    assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE));
    after.release();
    assertEquals(SigBusException.class, fault.result());
    assertQuiet(memfd);
  }

  @Test
  void neverReachesAFolioThatWasPunchedMeanwhile() throws Exception {
    GuestMemfd memfd = file(2, AT_ONCE);
    HostMapping window = map(memfd);
    RacePoints.Gate install = races.hold(RacePoint.BEFORE_PTE_INSTALL);
    Worker<Class<?>> fault = write(window, 7);
    install.awaitReached();
    memfd.punchHole(0, PAGE); // does not wait for holders
    install.release();
    assertNull(fault.result());
    assertEquals(7, guestSees(memfd, 0), "the write went to the frame that is gone");
    assertEquals(PAGE, host.used(), "the old frame is free");
    assertQuiet(memfd);
  }

  @Test
  void isTakenBackWhileThePunchIsUnderWay() throws Exception {
    GuestMemfd memfd = file(2, AT_ONCE);
    HostMapping window = map(memfd);
    RacePoints.Gate install = races.hold(RacePoint.BEFORE_PTE_INSTALL);
    Worker<Class<?>> fault = write(window, 7);
    install.awaitReached();
    RacePoints.Gate unmapped = races.hold(RacePoint.AFTER_UNMAP);
    Worker<?> punch =
        Worker.start(
            () -> {
              memfd.punchHole(0, PAGE);
              return null;
            });
    unmapped.awaitReached();
    install.release();
    probe.awaitWaiting(fault); // it has seen the busy bit, and waits for the punch to end
    unmapped.release();
    punch.result();
    assertNull(fault.result());
    assertEquals(7, guestSees(memfd, 0));
    assertQuiet(memfd);
  }

  @Test
  void leavesNoEntryInAMappingThatWasClosedMeanwhile() throws Exception {
    GuestMemfd memfd = file(1, AT_ONCE);
    HostMapping window = map(memfd);
    RacePoints.Gate install = races.hold(RacePoint.BEFORE_PTE_INSTALL);
    Worker<Class<?>> fault = write(window, 7);
    install.awaitReached();
    window.close();
    install.release();
    assertEquals(IllegalStateException.class, fault.result());
    assertQuiet(memfd);
  }

  @Test
  void keepsTheEntryOfTheThreadThatWasFirst() throws Exception {
    GuestMemfd memfd = file(1, AT_ONCE);
    HostMapping window = map(memfd);
    races.at(RacePoint.BEFORE_PTE_INSTALL, () -> window.putLong(0, 3));
    assertEquals(3, window.getLong(0));
    assertQuiet(memfd);
  }

  @Test
  void ofAWriteAloneChangesTheTime() {
    GuestMemfd memfd = file(2);
    HostMapping window = map(memfd);
    long created = memfd.stat().mtimeNanos();
    awaitNextMillisecond(created);
    assertEquals(0, window.getLong(0));
    assertEquals(created, memfd.stat().mtimeNanos());
    window.putLong(PAGE, 1);
    assertNotEquals(created, memfd.stat().mtimeNanos());
  }

  private static void awaitNextMillisecond(long nanos) {
    while (System.currentTimeMillis() * 1_000_000 == nanos) {
      Thread.onSpinWait();
    }
  }
}
