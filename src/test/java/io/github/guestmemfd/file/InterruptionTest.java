package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.CreateFlag.NO_DIRECT_MAP;
import static io.github.guestmemfd.abi.HolderKind.SAFE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.PlaysOtherThreads;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** An interrupt ends each wait inside the library, and leaves everything as it was. */
class InterruptionTest extends RaceFixture {

  @ParameterizedTest
  @EnumSource(WaitingCall.class)
  void endsTheWaitForABusyPage(WaitingCall waiting) throws Exception {
    GuestMemfd memfd = file(2, AT_ONCE);
    HostMapping window = map(memfd);
    Folio folio = memfd.grab(0);
    window.madvise(0, PAGE, Advice.DONTNEED);
    RacePoints.Gate gate = races.hold(RacePoint.RANGE_BUSY);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    gate.awaitReached();
    interruptWhileWaiting(
        interruptible(
            () -> {
              waiting.call(memfd, window, folio);
              return null;
            }));
    gate.release();
    assertEquals(Errno.OK, conversion.result());
    memfd.makeAccessible(0, PAGE);
    Worker.start(
            () -> {
              waiting.call(memfd, window, folio);
              return null;
            })
        .result();
    folio.close();
    assertQuiet(memfd);
  }

  @Test
  void endsTheWaitForAFolioLockAtFirstUse() throws Exception {
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
    HostMapping window = map(memfd);
    Worker<Long> first = Worker.start(() -> window.getAndAddLong(0, 1));
    inside.awaitReached();
    interruptWhileWaiting(interruptible(() -> window.getLong(0)));
    interruptWhileWaiting(
        Worker.start(
            () -> {
              assertEquals(-Errno.EINTR.code(), memfd.tryGrab(0, SAFE));
              return Thread.currentThread().isInterrupted();
            }));
    inside.release();
    first.result();
    assertEquals(1, window.getLong(0));
    assertQuiet(memfd);
  }

  @ParameterizedTest
  @CsvSource({"convert", "punch", "lock", "accessible"})
  void endsTheWaitForALockedFolio(String operation) throws Exception {
    GuestMemfd memfd = file(2, AT_ONCE);
    HostMapping window = map(memfd);
    window.putLong(0, 5);
    Folio folio = memfd.grab(0);
    if (operation.equals("accessible")) {
      memfd.makeInaccessible(0, PAGE);
    }
    folio.lock();
    Callable<?> call =
        () -> {
          switch (operation) {
            case "convert" -> memfd.makeInaccessible(0, PAGE);
            case "accessible" -> memfd.makeAccessible(0, PAGE);
            case "punch" -> memfd.punchHole(0, PAGE);
            default -> {
              folio.lock();
              folio.unlock();
            }
          }
          return null;
        };
    interruptWhileWaiting(interruptible(call));
    assertEquals(!operation.equals("accessible"), memfd.isAccessible(0));
    assertEquals(5, folio.buffer().getLong(0));
    assertFalse(folio.isOrphan());
    Worker<?> again = Worker.start(call);
    probe.awaitWaiting(again);
    assertFalse(again.isDone());
    folio.unlock();
    again.result();
    folio.close();
    assertQuiet(memfd);
  }

  @Test
  void endsTheWaitForTheCounts() throws Exception {
    GuestMemfd memfd = file(2, PATIENT);
    HostMapping window = map(memfd);
    HostReference pin = window.pin(PAGE, PAGE);
    interruptWhileWaiting(
        interruptible(
            () -> {
              memfd.makeInaccessible(0, 2L * PAGE);
              return null;
            }));
    assertTrue(memfd.isAccessible(0));
    window.putLong(PAGE, 1); // nothing is busy
    pin.close();
    assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, 2L * PAGE));
    assertQuiet(memfd);
  }

  /** The second of two folios is being accessed through the direct map. */
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void endsTheWaitForAnAccessThroughTheDirectMap(boolean withCallbacks) throws Exception {
    AtomicInteger begins = new AtomicInteger();
    AtomicInteger ends = new AtomicInteger();
    AtomicReference<Runnable> onPrepare = new AtomicReference<>(() -> {});
    GuestMemfdOps ops =
        new GuestMemfdOps() {
          @Override
          public Errno invalidateBegin(long offset, long length) {
            begins.incrementAndGet();
            return Errno.OK;
          }

          @Override
          public Errno prepareInaccessible(Folio folio) {
            onPrepare.getAndSet(() -> {}).run();
            return Errno.OK;
          }

          @Override
          public void invalidateEnd(long offset, long length) {
            ends.incrementAndGet();
          }
        };
    GuestMemfd memfd =
        file(
            2,
            b ->
                b.flags(MMAP, INIT_SHARED, NO_DIRECT_MAP)
                    .ops(withCallbacks ? ops : GuestMemfdOps.NONE));
    HostMapping window = map(memfd);
    window.putLong(0, 1);
    window.putLong(PAGE, 2);
    Folio first = memfd.grab(0);
    Folio second = memfd.grab(PAGE);
    long[] access = new long[1];
    Runnable begin =
        () -> {
          if (access[0] == 0) {
            PlaysOtherThreads.playing(() -> access[0] = frames().beginDirectAccess(second.pfn()));
          }
        };
    if (withCallbacks) {
      onPrepare.set(begin); // the first folio's
    } else {
      races.at(RacePoint.BEFORE_COMMIT, begin::run);
    }
    interruptWhileWaiting(
        interruptible(
            () -> {
              memfd.makeInaccessible(0, 2L * PAGE);
              return null;
            }));
    assertTrue(memfd.isAccessible(0));
    assertTrue(memfd.isAccessible(PAGE));
    assertTrue(host.directMap().contains(first.pfn()), "done before the interrupt, not undone");
    assertTrue(host.directMap().contains(second.pfn()));
    assertEquals(withCallbacks ? 1 : 0, begins.get());
    assertEquals(begins.get(), ends.get());
    Worker<Errno> again = Worker.start(() -> memfd.tryMakeInaccessible(0, 2L * PAGE));
    probe.awaitWaiting(again);
    assertFalse(again.isDone());
    PlaysOtherThreads.playing(() -> frames().accesses.end(access[0]));
    assertEquals(Errno.OK, again.result());
    assertFalse(host.directMap().contains(first.pfn()));
    assertFalse(host.directMap().contains(second.pfn()));
    first.close();
    second.close();
    assertQuiet(memfd);
  }

  /** An allocation keeps what it has, gives its promise back for the rest, and goes on later. */
  @Test
  void keepsWhatAnAllocationHasDone() throws Exception {
    GuestMemfd memfd = file(8, AT_ONCE);
    RacePoints.Gate gate = races.hold(RacePoint.RANGE_BUSY);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(5L * PAGE, PAGE));
    gate.awaitReached();
    interruptWhileWaiting(
        interruptible(
            () -> {
              memfd.allocate(0, 8L * PAGE);
              return null;
            }));
    assertEquals(5, memfd.cachedPages());
    assertEquals(5L * PAGE, host.used());
    gate.release();
    assertEquals(Errno.OK, conversion.result());
    memfd.allocate(0, 8L * PAGE);
    assertEquals(8, memfd.cachedPages());
    assertQuiet(memfd);
  }

  /** A close waits for nothing: an interrupted one is done, and the status stays set. */
  @Test
  void doesNotEndAClose() throws Exception {
    GuestMemfd memfd = file(2, AT_ONCE);
    memfd.allocate(0, 2L * PAGE);
    RacePoints.Gate gate = races.hold(RacePoint.RANGE_BUSY);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(PAGE, PAGE));
    gate.awaitReached();
    Worker<Boolean> close =
        Worker.start(
            () -> {
              Thread.currentThread().interrupt();
              memfd.close();
              return Thread.currentThread().isInterrupted();
            });
    assertTrue(close.result(), "the interrupt status is gone");
    assertEquals(2L * PAGE, host.used(), "the conversion keeps the file");
    gate.release();
    assertEquals(Errno.OK, conversion.result());
    assertEquals(0, host.used());
  }
}
