package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.Insides;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.abi.SigSegvException;
import io.github.guestmemfd.cache.PageTable;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** munmap, mprotect and mremap against faults, accesses, conversions and each other. */
class RemapTest extends RaceFixture {

  private static boolean isMapped(HostMapping mapping, int page) {
    return PageTable.held(Insides.entry(mapping, page)) != 0;
  }

  private static Worker<Void> store(HostMapping window, long offset, long value) {
    return Worker.start(
        () -> {
          window.putLong(offset, value);
          return null;
        });
  }

  /** What a fault enters after the unmapping has passed does not stay. */
  @Test
  void aFaultThatComesTooLateIsASigSegv() throws Exception {
    for (RacePoint point :
        new RacePoint[] {RacePoint.BEFORE_PTE_INSTALL, RacePoint.AFTER_PTE_INSTALL}) {
      GuestMemfd memfd = file(2);
      HostMapping window = map(memfd);
      RacePoints.Gate gate = races.hold(point);
      Worker<Void> fault = store(window, 0, 1);
      gate.awaitReached();
      window.munmap(0, PAGE);
      gate.release();
      assertThrows(SigSegvException.class, fault::result);
      assertFalse(isMapped(window, 0));
      memfd.makeInaccessible(0, PAGE); // no reference is left
    }
  }

  @Test
  void aFaultThatComesTooLateForAMoveIsASigSegv() throws Exception {
    GuestMemfd memfd = file(2);
    HostMapping window = map(memfd);
    RacePoints.Gate gate = races.hold(RacePoint.AFTER_PTE_INSTALL);
    Worker<Void> fault = store(window, 0, 1);
    gate.awaitReached();
    try (HostMapping moved = window.mremap(0, PAGE, PAGE)) {
      gate.release();
      assertThrows(SigSegvException.class, fault::result);
      assertFalse(isMapped(window, 0));
      assertEquals(0, moved.getLong(0));
    }
    memfd.makeInaccessible(0, PAGE);
  }

  /** A store that has begun ends first; one that has not is a SIGSEGV. */
  @Test
  void protectingWaitsForStoresUnderWay() throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    window.putLong(0, 1);
    RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT);
    Worker<Void> store = store(window, 0, 2);
    gate.awaitReached();
    Worker<Void> protection =
        Worker.start(
            () -> {
              window.mprotect(0, PAGE, Protection.READ);
              return null;
            });
    probe.awaitWaiting(protection);
    assertFalse(window.tryPutLong(0, 3));
    assertEquals(1, window.getLong(0), "reading goes on");
    gate.release();
    store.result();
    protection.result();
    assertEquals(2, window.getLong(0));
  }

  /** Given up while it waits, it lets no access begin, and the next unmapping finishes it. */
  @Test
  void anInterruptedUnmappingIsFinishedByTheNext() throws Exception {
    GuestMemfd memfd = file(2);
    HostMapping window = map(memfd);
    window.putLong(0, 1);
    RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT);
    Worker<Void> store = store(window, 0, 2);
    gate.awaitReached();
    Worker<Void> first =
        Worker.start(
            () -> {
              window.munmap(0, PAGE);
              return null;
            });
    probe.awaitWaiting(first);
    first.interrupt();
    refused(Errno.EINTR, first::result);
    assertThrows(SigSegvException.class, () -> window.getLong(0));
    assertTrue(isMapped(window, 0), "the entry keeps its reference");
    assertEquals(0, PageTable.pfn(Insides.entry(window, 0)), "no access begins by it");
    gate.release();
    store.result();
    window.munmap(0, PAGE);
    assertFalse(isMapped(window, 0));
    memfd.makeInaccessible(0, PAGE);
  }

  /** Of a move that is given up nothing is to be seen. */
  @Test
  void anInterruptedMoveChangesNothing() throws Exception {
    GuestMemfd memfd = file(2);
    HostMapping window = map(memfd);
    window.putLong(0, 1);
    RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT);
    Worker<Void> store = store(window, 0, 2);
    gate.awaitReached();
    Worker<HostMapping> move = Worker.start(() -> window.mremap(0, PAGE, PAGE));
    probe.awaitWaiting(move);
    assertEquals(1, window.getLong(0), "before it has come about");
    move.interrupt();
    refused(Errno.EINTR, move::result);
    gate.release();
    store.result();
    assertEquals(2, window.getLong(0));
    memfd.makeInaccessible(0, PAGE);
  }

  @Test
  void anInterruptedThreadChangesNothing() throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    window.putLong(0, 1);
    Worker<Void> interrupted =
        Worker.start(
            () -> {
              Thread.currentThread().interrupt();
              refused(Errno.EINTR, () -> window.munmap(0, PAGE));
              refused(Errno.EINTR, () -> window.mprotect(0, PAGE));
              refused(Errno.EINTR, () -> window.mremap(0, PAGE, PAGE));
              assertTrue(Thread.interrupted());
              return null;
            });
    interrupted.result();
    assertEquals(1, window.getLong(0));
  }

  /** A conversion under way has the page; the move does not wait for it, and leaves it no entry. */
  @Test
  void aPageThatIsBeingConvertedLosesItsEntryOnTheMove() throws Exception {
    GuestMemfd memfd = file(2);
    HostMapping window = map(memfd);
    window.putLong(0, 1);
    window.putLong(PAGE, 2);
    RacePoints.Gate gate = races.hold(RacePoint.RANGE_BUSY);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    gate.awaitReached();
    try (HostMapping moved = window.mremap(0, 2L * PAGE, 2L * PAGE)) {
      assertFalse(isMapped(moved, 0));
      assertTrue(isMapped(moved, 1));
      gate.release();
      assertEquals(Errno.OK, conversion.result());
      assertFalse(moved.tryPutLong(0, 3));
      assertEquals(2, moved.getLong(PAGE));
    }
  }

  /** A conversion waits for the entry that is on its way, and finds it. */
  @Test
  void aConversionFindsAnEntryOnItsWay() throws Exception {
    GuestMemfd memfd = file(1, PATIENT);
    HostMapping window = map(memfd);
    window.putLong(0, SECRET);
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_PTE_INSTALL);
    Worker<HostMapping> move = Worker.start(() -> window.mremap(0, PAGE, PAGE));
    gate.awaitReached();
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    probe.awaitWaiting(conversion);
    gate.release();
    assertEquals(Errno.OK, conversion.result());
    try (HostMapping moved = move.result()) {
      assertFalse(isMapped(moved, 0));
      assertFalse(moved.tryPutLong(0, 1));
    }
    assertEquals(SECRET, read(memfd, 0));
  }

  @Test
  void fromInsideACallbackTheyAreDeadlocks() {
    List<HostMapping> windows = new ArrayList<>();
    GuestMemfdOps ops =
        new GuestMemfdOps() {
          @Override
          public Errno invalidateBegin(long offset, long length) {
            HostMapping window = windows.get(0);
            refused(Errno.EDEADLK, () -> window.munmap(0, PAGE));
            refused(Errno.EDEADLK, () -> window.mprotect(0, PAGE));
            refused(Errno.EDEADLK, () -> window.mremap(0, PAGE, PAGE));
            return Errno.OK;
          }
        };
    GuestMemfd memfd = file(1, b -> b.ops(ops));
    windows.add(map(memfd));
    memfd.punchHole(0, PAGE);
    windows.get(0).putLong(0, 1);
  }

  /** The last part that is unmapped ends a file whose descriptors are closed. */
  @Test
  void partsOfTwoThreadsGiveTheFileUpOnce() throws Exception {
    for (int i = 0; i < 200; i++) {
      GuestMemfd memfd = file(2);
      HostMapping window = map(memfd);
      window.putLong(0, 1);
      window.putLong(PAGE, 1);
      memfd.close();
      Worker<Void> other =
          Worker.start(
              () -> {
                window.munmap(0, PAGE);
                return null;
              });
      window.munmap(PAGE, PAGE);
      other.result();
      assertEquals(0, host.used());
    }
  }
}
