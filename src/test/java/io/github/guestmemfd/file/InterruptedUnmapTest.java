package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.fixtures.HostFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * A range operation has revoked an entry of a page table and waits for an access under way when it
 * is interrupted. The entry stays, with its reference, for the access goes on; what comes next, an
 * operation or the close of the mapping, waits for the access too and takes the entry out.
 */
class InterruptedUnmapTest extends HostFixture {

  /** What unmaps, and can be interrupted. */
  enum Unmapping {
    CONVERT {
      @Override
      Errno run(GuestMemfd memfd) {
        return memfd.tryMakeInaccessible(0, PAGE);
      }
    },
    PUNCH {
      @Override
      Errno run(GuestMemfd memfd) {
        try {
          memfd.punchHole(0, PAGE);
          return Errno.OK;
        } catch (GuestMemfdException e) {
          return e.errno();
        }
      }
    };

    abstract Errno run(GuestMemfd memfd);
  }

  /** What came of an operation, and the interrupt status it left. */
  private record Outcome(Errno errno, boolean interrupted) {}

  private Worker<Outcome> start(Unmapping unmapping, GuestMemfd memfd) throws Exception {
    Worker<Outcome> worker =
        Worker.start(
            () -> {
              Errno errno = unmapping.run(memfd);
              return new Outcome(errno, Thread.currentThread().isInterrupted());
            });
    probe.awaitWaiting(worker); // for the access: the entry has been taken out
    return worker;
  }

  @ParameterizedTest
  @EnumSource
  void beforeAMappingIsClosed(Unmapping unmapping) throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    window.putLong(0, 1);
    RacePoints.Gate access = races.hold(RacePoint.ACCESS_IN_FLIGHT);
    Worker<Void> writer =
        Worker.start(
            () -> {
              window.putLong(0, 2);
              return null;
            });
    access.awaitReached();
    Worker<Outcome> operation = start(unmapping, memfd);
    Worker<Void> close =
        Worker.start(
            () -> {
              window.close();
              return null;
            });
    probe.awaitWaiting(close);
    operation.interrupt();
    assertEquals(new Outcome(Errno.EINTR, true), operation.result());
    assertTrue(memfd.isAccessible(0));
    assertFalse(close.isDone(), "the access is still under way");
    access.release();
    writer.result();
    close.result();

    assertThrows(IllegalStateException.class, () -> window.getLong(0));
    assertThrows(IllegalStateException.class, () -> window.putLong(0, 3));
    run(() -> memfd.makeInaccessible(0, PAGE)); // nothing is held
    assertThrows(IllegalStateException.class, () -> window.getLong(0));
    assertQuiet(memfd);
    run(memfd::close);
    assertEquals(0, host.used());
    host.close();
  }

  /** In a mapping that is open a fault confirms the entry again, and the next try unmaps. */
  @Test
  void ofAnOpenMappingCanBeTriedAgain() throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    window.putLong(0, 1);
    RacePoints.Gate access = races.hold(RacePoint.ACCESS_IN_FLIGHT);
    Worker<Void> writer =
        Worker.start(
            () -> {
              window.putLong(0, 2);
              return null;
            });
    access.awaitReached();
    Worker<Outcome> operation = start(Unmapping.CONVERT, memfd);
    operation.interrupt();
    assertEquals(new Outcome(Errno.EINTR, true), operation.result());
    assertTrue(memfd.isAccessible(0));
    assertEquals(1, window.getLong(0));
    Worker<Outcome> again = start(Unmapping.CONVERT, memfd);
    assertFalse(again.isDone(), "the access is still under way");
    access.release();
    assertEquals(new Outcome(Errno.OK, false), again.result());
    writer.result();
    assertThrows(SigBusException.class, () -> window.getLong(0));
    assertEquals(2, read(memfd, 0));
    assertQuiet(memfd);
  }
}
