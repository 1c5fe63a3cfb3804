package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.concurrent.Callable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Operations on ranges that overlap, and on neighbours. */
class RangeLockTest extends RaceFixture {
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void isTakenInTurns(boolean lowerFirst) throws Exception {
    GuestMemfd memfd = file(9, AT_ONCE);
    HostMapping window = map(memfd);
    for (int i = 0; i < 9; i++) {
      window.putLong((long) i * PAGE, i);
    }
    Callable<Errno> lower = () -> memfd.tryMakeInaccessible(0, 6L * PAGE);
    Callable<Errno> upper = () -> memfd.tryMakeInaccessible(3L * PAGE, 6L * PAGE);
    RacePoints.Gate gate = races.hold(RacePoint.RANGE_BUSY);
    Worker<Errno> first = Worker.start(lowerFirst ? lower : upper);
    gate.awaitReached();
    Worker<Errno> second = Worker.start(lowerFirst ? upper : lower);
    probe.awaitWaiting(second);
    assertFalse(second.isDone());
    gate.release();
    assertEquals(Errno.OK, first.result());
    assertEquals(Errno.OK, second.result());
    for (int i = 0; i < 9; i++) {
      assertFalse(memfd.isAccessible((long) i * PAGE), "page " + i);
      assertEquals(i, guestSees(memfd, (long) i * PAGE));
    }
    assertQuiet(memfd);
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void givesBackWhatItHadWhenInterrupted(boolean lowerFirst) throws Exception {
    GuestMemfd memfd = file(9, AT_ONCE);
    RacePoints.Gate gate = races.hold(RacePoint.RANGE_BUSY);
    Worker<Errno> first =
        Worker.start(() -> memfd.tryMakeInaccessible(lowerFirst ? 0 : 3L * PAGE, 6L * PAGE));
    gate.awaitReached();
    interruptWhileWaiting(
        interruptible(
            () -> {
              memfd.makeInaccessible(lowerFirst ? 3L * PAGE : 0, 6L * PAGE);
              return null;
            }));
    // The part that does not overlap is free at once.
    Worker<Errno> free =
        Worker.start(() -> memfd.tryMakeInaccessible(lowerFirst ? 6L * PAGE : 0, 3L * PAGE));
    assertEquals(Errno.OK, free.result());
    gate.release();
    assertEquals(Errno.OK, first.result());
    assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, 9L * PAGE));
    assertQuiet(memfd);
  }

  @Test
  void doesNotConcernItsNeighbours() throws Exception {
    GuestMemfd memfd = file(9, AT_ONCE);
    HostMapping window = map(memfd);
    RacePoints.Gate gate = races.hold(RacePoint.RANGE_BUSY);
    Worker<Errno> first = Worker.start(() -> memfd.tryMakeInaccessible(3L * PAGE, 3L * PAGE));
    gate.awaitReached();
    Worker<Errno> others =
        Worker.start(
            () -> {
              window.putLong(2L * PAGE, 1);
              window.putLong(6L * PAGE, 1);
              memfd.punchHole(6L * PAGE, 3L * PAGE);
              return memfd.tryMakeInaccessible(0, 3L * PAGE);
            });
    assertEquals(Errno.OK, others.result());
    gate.release();
    assertEquals(Errno.OK, first.result());
    assertQuiet(memfd);
  }
}
