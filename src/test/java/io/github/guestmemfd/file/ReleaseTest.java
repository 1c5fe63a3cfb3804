package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.HolderKind.SAFE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The end of a file comes after those who are in it. */
class ReleaseTest extends RaceFixture {
  /** Who waits for a page keeps the file, as a system call does, and gets what it came for. */
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void comesAfterThoseWhoWaitForAPage(boolean fault) throws Exception {
    GuestMemfd memfd = file(2, AT_ONCE);
    memfd.allocate(0, 2L * PAGE);
    HostMapping window = map(memfd);
    RacePoints.Gate busy = races.hold(RacePoint.RANGE_BUSY);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(PAGE, PAGE));
    busy.awaitReached();
    Worker<?> waiter =
        Worker.start(
            () -> {
              if (fault) {
                assertThrows(SigBusException.class, () -> window.putLong(PAGE, 1));
              } else {
                memfd.grab(PAGE).close();
              }
              return null;
            });
    probe.awaitWaiting(waiter);
    run(
        () -> {
          window.close();
          memfd.close();
        });
    assertEquals(2L * PAGE, host.used());
    busy.release();
    assertEquals(Errno.OK, conversion.result());
    waiter.result();
    assertEquals(0, host.used());
  }

  /** The waiter sleeps while everything else lets go of the file. */
  @ParameterizedTest
  @EnumSource(WaitingCall.class)
  void comesAfterThoseWhoWakeLate(WaitingCall waiting) throws Exception {
    GuestMemfd memfd = file(2, AT_ONCE);
    HostMapping window = map(memfd);
    Folio folio = memfd.grab(0);
    RacePoints.Gate busy = races.hold(RacePoint.RANGE_BUSY);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    busy.awaitReached();
    Worker<?> waiter =
        Worker.start(
            () -> {
              switch (waiting) {
                case LOAD, STORE, BULK ->
                    assertThrows(SigBusException.class, () -> waiting.call(memfd, window, folio));
                case GET_USER_PAGES, POPULATE ->
                    refused(Errno.EFAULT, () -> waiting.call(memfd, window, folio));
                case FOLIO_LOCK -> // needs the folio, which it has, and not the file
                    refused(Errno.EBADF, () -> waiting.call(memfd, window, folio));
                default -> waiting.call(memfd, window, folio);
              }
              return null;
            });
    RacePoints.Gate asleep = races.gate();
    probe.freeze(waiter, asleep);
    busy.release();
    conversion.result();
    Worker.start(
            () -> {
              window.close();
              memfd.close();
              return null;
            })
        .result();
    asleep.release();
    waiter.result();
    assertEquals(PAGE, host.used(), "the folio is held as an orphan");
    folio.close();
  }

  /** All of its pages are busy then. */
  @Test
  void passesThePointOfABusyRange() {
    GuestMemfd memfd = file(2, AT_ONCE);
    memfd.allocate(0, PAGE);
    AtomicLong used = new AtomicLong();
    races.at(RacePoint.RANGE_BUSY, () -> used.set(host.used()));
    memfd.close();
    assertEquals(PAGE, used.get());
    assertEquals(0, host.used());
  }

  @Test
  void comesAfterAFirstUse() throws Exception {
    RacePoints.Gate inside = races.gate();
    GuestMemfd memfd =
        file(
            1,
            b ->
                b.ops(
                    new GuestMemfdOps() {
                      @Override
                      public Errno prepareAccessible(Folio folio) {
                        inside.pass();
                        return Errno.OK;
                      }
                    }));
    Worker<Integer> grab = Worker.start(() -> memfd.tryGrab(0, SAFE));
    inside.awaitReached();
    run(memfd::close);
    assertEquals(PAGE, host.used(), "the grab keeps the file");
    inside.release();
    int pfn = grab.result();
    assertEquals(PAGE, host.used(), "an orphan");
    memfd.put(pfn, SAFE);
    assertEquals(0, host.used());
  }
}
