package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.fixtures.HostFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import org.junit.jupiter.api.Test;

/**
 * A fault looks a page up in time, but enters its page table entry only after the page has been
 * punched, and perhaps converted, or the mapping closed. Those who did that have been told that it
 * is done, so no thread may reach the old folio through the late entry, not even in the moment
 * before the fault takes it back.
 */
class LateFaultTest extends HostFixture {
  private RacePoints.Gate beforeEntry;
  private RacePoints.Gate afterEntry;

  /** Reads a word, in a thread that has looked the page up and not yet entered it. */
  private Worker<Long> lateRead(HostMapping window) throws Exception {
    beforeEntry = races.hold(RacePoint.BEFORE_PTE_INSTALL);
    afterEntry = races.hold(RacePoint.AFTER_PTE_INSTALL);
    Worker<Long> fault = Worker.start(() -> window.getLong(0));
    beforeEntry.awaitReached();
    return fault;
  }

  /** Lets the late thread enter the page, and no more. */
  private void enter() throws Exception {
    beforeEntry.release();
    afterEntry.awaitReached();
  }

  @Test
  void reachesNothingAfterAPunchAndAConversion() throws Exception {
    GuestMemfd memfd = file(1);
    write(memfd, 0, SECRET);
    HostMapping window = map(memfd);
    Worker<Long> fault = lateRead(window);
    memfd.punchHole(0, PAGE);
    memfd.makeInaccessible(0, PAGE);
    enter();
    try {
      byte[] bytes = new byte[8];
      assertThrows(SigBusException.class, () -> window.getLong(0));
      assertThrows(SigBusException.class, () -> window.getLongVolatile(0));
      assertThrows(SigBusException.class, () -> window.putLong(0, 1));
      assertThrows(SigBusException.class, () -> window.get(0, bytes, 0, 8));
      assertThrows(SigBusException.class, () -> window.compareAndSetInt(0, 0, 1));
      assertEquals(-1, window.tryGetLong(0, -1));
      assertFalse(window.tryPutLong(0, 1));
    } finally {
      afterEntry.release();
    }
    assertThrows(SigBusException.class, fault::result);
    assertThrows(SigBusException.class, () -> window.getLong(0));
    assertEquals(0, host.used(), "the punched folio is gone");
    assertQuiet(memfd);
    assertEquals(0, window.getLong(0));
  }

  /** As before, with a guest that has put something else at the place meanwhile. */
  @Test
  void doesNotReachTheFolioThatTheGuestHasMadeThere() throws Exception {
    GuestMemfd memfd = file(1);
    write(memfd, 0, 7);
    HostMapping window = map(memfd);
    Worker<Long> fault = lateRead(window);
    memfd.punchHole(0, PAGE);
    memfd.makeInaccessible(0, PAGE);
    write(memfd, 0, SECRET);
    enter();
    try {
      assertThrows(SigBusException.class, () -> window.getLong(0));
      assertFalse(window.tryPutLong(0, 1));
    } finally {
      afterEntry.release();
    }
    assertThrows(SigBusException.class, fault::result);
    assertEquals(SECRET, read(memfd, 0));
    assertQuiet(memfd);
  }

  /** A page that stays accessible is a new, empty one after a punch, and writes to it last. */
  @Test
  void losesNoWriteAfterAPunch() throws Exception {
    GuestMemfd memfd = file(1);
    write(memfd, 0, 7);
    HostMapping window = map(memfd);
    Worker<Long> fault = lateRead(window);
    memfd.punchHole(0, PAGE);
    enter();
    try {
      assertEquals(0, window.getLong(0), "content of the new folio");
      window.putLong(0, 42);
      assertEquals(42, window.getLong(0));
    } finally {
      afterEntry.release();
    }
    assertEquals(42, fault.result());
    assertEquals(42, window.getLong(0));
    assertEquals(42, read(memfd, 0));
    assertQuiet(memfd);
  }

  @Test
  void reachesNothingInAClosedMapping() throws Exception {
    GuestMemfd memfd = file(1);
    write(memfd, 0, SECRET);
    HostMapping window = map(memfd);
    Worker<Long> fault = lateRead(window);
    run(window::close);
    enter();
    try {
      assertThrows(IllegalStateException.class, () -> window.getLong(0));
      assertThrows(IllegalStateException.class, () -> window.putLong(0, 1));
      assertEquals(-1, window.tryGetLong(0, -1));
      assertFalse(window.tryPutLong(0, 1));
    } finally {
      afterEntry.release();
    }
    assertThrows(IllegalStateException.class, fault::result);
    assertTrue(window.isClosed());
    assertEquals(SECRET, read(memfd, 0));
    assertQuiet(memfd);
  }

  /** The entry stands, pending, when the mapping is closed: closing must find it. */
  @Test
  void leavesNoEntryWhenTheMappingIsClosedBeforeItIsConfirmed() throws Exception {
    GuestMemfd memfd = file(1);
    write(memfd, 0, SECRET);
    HostMapping window = map(memfd);
    Worker<Long> fault = lateRead(window);
    enter();
    run(window::close);
    assertThrows(IllegalStateException.class, () -> window.getLong(0));
    assertQuiet(memfd);
    afterEntry.release();
    assertThrows(IllegalStateException.class, fault::result);
    assertQuiet(memfd);
  }
}
