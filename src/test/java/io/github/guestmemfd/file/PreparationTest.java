package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The first use of a page: zeroed and prepared once, for the page where its frame is. */
class PreparationTest extends RaceFixture {
  private final AtomicInteger prepared = new AtomicInteger();
  private final Deque<RacePoints.Gate> gates = new ArrayDeque<>();

  private final GuestMemfdOps ops =
      new GuestMemfdOps() {
        @Override
        public Errno prepareAccessible(Folio folio) {
          prepared.incrementAndGet();
          RacePoints.Gate gate = gates.poll();
          if (gate != null) {
            gate.pass();
          }
          return Errno.OK;
        }
      };

  /** Makes sure that frames to be had are not zero. */
  private void soilFrames(GuestMemfd memfd) {
    HostMapping window = map(memfd);
    for (long at = 0; at < memfd.size(); at += PAGE) {
      window.putLong(at, -1);
      window.putLong(at + PAGE - 8, -1);
    }
    memfd.punchHole(0, memfd.size());
    prepared.set(0);
  }

  @Test
  void byTwoThreadsZeroesAndPreparesOnce() throws Exception {
    GuestMemfd memfd = file(1, b -> b.ops(ops));
    soilFrames(memfd);
    HostMapping window = map(memfd);
    memfd.allocate(0, PAGE);
    RacePoints.Gate first = races.hold(RacePoint.BEFORE_FOLIO_LOCK);
    RacePoints.Gate second = races.hold(RacePoint.BEFORE_FOLIO_LOCK);
    Worker<Long> late =
        Worker.start(
            () -> {
              long seen = window.getLong(0);
              assertEquals(0, window.getLong(PAGE - 8));
              return seen;
            });
    first.awaitReached();
    Worker<Long> early = Worker.start(() -> window.getAndAddLong(0, 42));
    second.awaitReached();
    second.release();
    assertEquals(0, early.result());
    first.release(); // it must not zero the folio again
    assertEquals(42, late.result());
    assertEquals(1, prepared.get());
    assertQuiet(memfd);
  }

  /** The second thread queues for the folio lock while the first is inside the callback. */
  @Test
  void waitsForTheThreadThatPrepares() throws Exception {
    GuestMemfd memfd = file(1, b -> b.ops(ops));
    HostMapping window = map(memfd);
    RacePoints.Gate inside = races.gate();
    gates.add(inside);
    Worker<Long> first = Worker.start(() -> window.getAndAddLong(0, 1));
    inside.awaitReached();
    Worker<Long> second = Worker.start(() -> window.getAndAddLong(0, 1));
    probe.awaitWaiting(second);
    assertFalse(second.isDone());
    inside.release();
    assertEquals(1, first.result() + second.result());
    assertEquals(1, prepared.get());
    assertEquals(2, window.getLong(0));
    assertQuiet(memfd);
  }

  @Test
  void leavesAFrameAloneThatWasPunchedAndUsedAgainBeforeItsLock() throws Exception {
    GuestMemfd memfd = file(2, b -> b.ops(ops));
    HostMapping window = map(memfd);
    memfd.allocate(0, PAGE);
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_FOLIO_LOCK);
    Worker<Long> reader = Worker.start(() -> window.getLong(0));
    gate.awaitReached();
    memfd.punchHole(0, PAGE);
    memfd.allocate(PAGE, PAGE); // takes the frame, again not up to date
    window.putLong(PAGE, 42);
    gate.release();
    assertEquals(0, reader.result());
    assertEquals(42, window.getLong(PAGE), "another page's content was zeroed");
    assertEquals(2, prepared.get(), "each page once");
    assertQuiet(memfd);
  }

  /** As above, but the frame is not ready yet in its new place when the late thread locks it. */
  @Test
  void doesNotPrepareAFrameForThePageItHasLeft() throws Exception {
    GuestMemfd memfd = file(2, b -> b.ops(ops));
    HostMapping window = map(memfd);
    memfd.allocate(0, PAGE);
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_FOLIO_LOCK);
    Worker<Long> reader = Worker.start(() -> window.getLong(0));
    gate.awaitReached();
    memfd.punchHole(0, PAGE);
    memfd.allocate(PAGE, PAGE);
    gate.release();
    assertEquals(0, reader.result());
    assertEquals(1, prepared.get(), "only the page that was used");
    assertEquals(0, window.getLong(PAGE));
    assertEquals(2, prepared.get());
    assertQuiet(memfd);
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void isWaitedForByARangeOperation(boolean punching) throws Exception {
    GuestMemfd memfd = file(2, b -> b.ops(ops));
    HostMapping window = map(memfd);
    RacePoints.Gate inside = races.gate();
    gates.add(inside);
    Worker<Class<?>> access =
        Worker.start(
            () -> {
              try {
                window.putLong(0, 7);
                return null;
              } catch (SigBusException e) {
                return e.getClass();
              }
            });
    inside.awaitReached();
    Worker<?> operation =
        Worker.start(
            () -> {
              if (punching) {
                memfd.punchHole(0, PAGE);
              } else {
                memfd.makeInaccessible(0, PAGE);
              }
              return null;
            });
    probe.awaitWaiting(operation);
    assertFalse(operation.isDone(), "another thread is preparing the folio");
    inside.release();
    operation.result();
    assertEquals(punching ? null : SigBusException.class, access.result());
    assertEquals(punching ? 7 : 0, guestSees(memfd, 0));
    assertQuiet(memfd);
  }
}
