package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.FrameAccess;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.fixtures.ProtocolFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * An entry that has been taken out of a page table and an access through it that is still under way
 * are two facts. What converts or frees a page waits for the access, whichever thread has taken the
 * entry out, and whether or not that thread has waited to the end.
 */
class AccessUnderWayTest extends ProtocolFixture {

  /** What waits for accesses to the first page of a file, and can be interrupted. */
  enum Operation {
    CONVERT {
      @Override
      Errno run(HostMemory host, HostMapping window, GuestMemfd memfd, int pfn) {
        return memfd.tryMakeInaccessible(0, PAGE);
      }
    },
    PUNCH {
      @Override
      Errno run(HostMemory host, HostMapping window, GuestMemfd memfd, int pfn) {
        return answer(() -> memfd.punchHole(0, PAGE));
      }
    },
    FAIL {
      @Override
      Errno run(HostMemory host, HostMapping window, GuestMemfd memfd, int pfn) {
        return host.pfnWalker().memoryFailure(pfn);
      }
    },
    DONTNEED {
      @Override
      Errno run(HostMemory host, HostMapping window, GuestMemfd memfd, int pfn) {
        return answer(() -> window.madvise(0, PAGE, Advice.DONTNEED));
      }
    };

    abstract Errno run(HostMemory host, HostMapping window, GuestMemfd memfd, int pfn);

    static Errno answer(Runnable body) {
      try {
        body.run();
        return Errno.OK;
      } catch (GuestMemfdException e) {
        return e.errno();
      }
    }
  }

  /** What came of an operation, and the interrupt status it left. */
  private record Outcome(Errno errno, boolean interrupted) {}

  private static final Outcome DONE = new Outcome(Errno.OK, false);
  private static final Outcome INTERRUPTED = new Outcome(Errno.EINTR, true);

  /** Starts an operation, and returns when it waits. */
  private Worker<Outcome> start(Operation operation, HostMapping window, GuestMemfd memfd, int pfn)
      throws Exception {
    Worker<Outcome> worker =
        Worker.start(
            () -> {
              Errno errno = operation.run(host, window, memfd, pfn);
              return new Outcome(errno, Thread.currentThread().isInterrupted());
            });
    probe.awaitWaiting(worker);
    return worker;
  }

  /** An access that adds 1 to the first page: announced, and nothing moved yet. */
  private Worker<Long> add(HostMapping window, RacePoints.Gate access) throws Exception {
    Worker<Long> worker = Worker.start(() -> window.getAndAddLong(0, 1));
    access.awaitReached();
    return worker;
  }

  private Worker<Void> munmap(HostMapping window) throws Exception {
    Worker<Void> worker =
        Worker.start(
            () -> {
              window.close();
              return null;
            });
    probe.awaitWaiting(worker);
    return worker;
  }

  // ---- a late fault meets what an interrupted operation has left ----

  /**
   * A fault has looked the page up; another enters it, and an access through that entry is under
   * way. An operation revokes the entry and is interrupted. The late fault now finds the page
   * mapped, by a pending entry, and busy: it must not take that for its own.
   */
  @ParameterizedTest
  @EnumSource(names = {"PUNCH", "FAIL"})
  void aLateFaultDoesNotEndWhatAnInterruptedOperationLeft(Operation first) throws Exception {
    AtomicReference<Runnable> whileBusy = new AtomicReference<>(() -> {});
    GuestMemfd memfd =
        file(
            1,
            new GuestMemfdOps() {
              @Override
              public void invalidateEnd(long offset, long length) {
                whileBusy.getAndSet(() -> {}).run();
              }
            });
    int pfn = write(memfd, 0, 7);
    HostMapping window = map(memfd);
    RacePoints.Gate late = races.hold(RacePoint.BEFORE_PTE_INSTALL);
    Worker<Long> fault = Worker.start(() -> window.getLong(0));
    late.awaitReached();
    assertEquals(7, window.getLong(0)); // mapped by another fault
    RacePoints.Gate underWay = races.hold(RacePoint.ACCESS_IN_FLIGHT);
    Worker<Long> access = add(window, underWay);

    RacePoints.Gate asleep = races.hold(RacePoint.AFTER_SLOT_LOAD); // without a reference
    AtomicReference<Throwable> failed = new AtomicReference<>();
    whileBusy.set(
        () -> {
          boolean interrupted = Thread.interrupted();
          try {
            late.release();
            probe.awaitWaiting(fault); // it is through with the entry, and wants the page again
          } catch (InterruptedException | AssertionError e) {
            failed.set(e);
          }
          if (interrupted) {
            Thread.currentThread().interrupt();
          }
        });
    Worker<Outcome> operation = start(first, window, memfd, pfn);
    operation.interrupt();
    assertEquals(INTERRUPTED, operation.result());
    assertEquals(null, failed.get());
    asleep.awaitReached();

    Worker<Outcome> conversion = start(Operation.CONVERT, window, memfd, pfn);
    assertFalse(conversion.isDone(), "the access is under way");
    assertTrue(memfd.isAccessible(0));
    underWay.release();
    assertEquals(7, access.result());
    assertEquals(DONE, conversion.result());
    asleep.release();
    assertThrows(RuntimeException.class, fault::result);
    assertEquals(8, readDirect(pfn), "the access came wholly before the conversion");
    assertEquals(PAGE, host.used());
    memfd.punchHole(0, PAGE);
    assertQuiet(memfd);
  }

  /** A munmap cannot be interrupted; the fault finds the mapping closed, and lets the entry be. */
  @Test
  void aLateFaultDoesNotEndWhatAMunmapWaitsFor() throws Exception {
    GuestMemfd memfd = file(1);
    int pfn = write(memfd, 0, 7);
    HostMapping window = map(memfd);
    RacePoints.Gate late = races.hold(RacePoint.BEFORE_PTE_INSTALL);
    Worker<Long> fault = Worker.start(() -> window.getLong(0));
    late.awaitReached();
    assertEquals(7, window.getLong(0));
    RacePoints.Gate underWay = races.hold(RacePoint.ACCESS_IN_FLIGHT);
    Worker<Long> access = add(window, underWay);
    Worker<Void> munmap = munmap(window);
    munmap.interruptAndAwait();
    late.release();
    assertThrows(IllegalStateException.class, fault::result);
    Worker<Outcome> conversion = start(Operation.CONVERT, window, memfd, pfn);
    assertFalse(conversion.isDone(), "the access is under way");
    assertFalse(munmap.isDone(), "whatever interrupts it");
    underWay.release();
    assertEquals(7, access.result());
    assertEquals(DONE, conversion.result());
    munmap.result();
    assertEquals(8, read(memfd, 0));
    assertQuiet(memfd);
  }

  // ---- a munmap waits ----

  @ParameterizedTest
  @MethodSource(ALL)
  void aConversionWaitsForWhatAMunmapWaitsFor(ConversionProtocol protocol) throws Exception {
    GuestMemfd memfd = file(1, protocol);
    waitsWithAMunmap(memfd, Operation.CONVERT);
    assertEquals(8, read(memfd, 0));
    assertQuiet(memfd);
  }

  @ParameterizedTest
  @MethodSource(ALL)
  void aPunchWaitsForWhatAMunmapWaitsFor(ConversionProtocol protocol) throws Exception {
    GuestMemfd memfd = file(1, protocol);
    waitsWithAMunmap(memfd, Operation.PUNCH);
    assertEquals(0, host.used());
    assertQuiet(memfd);
  }

  @Test
  void aMemoryFailureWaitsForWhatAMunmapWaitsFor() throws Exception {
    GuestMemfd memfd = file(1);
    waitsWithAMunmap(memfd, Operation.FAIL);
    memfd.punchHole(0, PAGE);
    assertQuiet(memfd);
  }

  /** Three threads and an access: the second operation is interrupted, and the third waits too. */
  private void waitsWithAMunmap(GuestMemfd memfd, Operation operation) throws Exception {
    int pfn = write(memfd, 0, 7);
    HostMapping window = map(memfd);
    assertEquals(7, window.getLong(0));
    RacePoints.Gate underWay = races.hold(RacePoint.ACCESS_IN_FLIGHT);
    Worker<Long> access = add(window, underWay);
    Worker<Void> munmap = munmap(window);
    Worker<Outcome> second = start(operation, window, memfd, pfn);
    assertFalse(second.isDone(), "the access is under way");
    second.interrupt();
    assertEquals(INTERRUPTED, second.result());
    Worker<Outcome> third = start(operation, window, memfd, pfn);
    assertFalse(third.isDone(), "the access is still under way");
    assertFalse(munmap.isDone());
    assertEquals(PAGE, host.used());
    underWay.release();
    assertEquals(7, access.result());
    assertEquals(DONE, third.result());
    munmap.result();
  }

  // ---- interrupted, and the same again ----

  @ParameterizedTest
  @EnumSource
  void theSameOperationAgainWaitsAgain(Operation operation) throws Exception {
    GuestMemfd memfd = file(1);
    int pfn = write(memfd, 0, 7);
    HostMapping window = map(memfd);
    assertEquals(7, window.getLong(0));
    RacePoints.Gate underWay = races.hold(RacePoint.ACCESS_IN_FLIGHT);
    Worker<Long> access = add(window, underWay);
    for (int i = 0; i < 2; i++) {
      Worker<Outcome> interrupted = start(operation, window, memfd, pfn);
      interrupted.interrupt();
      assertEquals(INTERRUPTED, interrupted.result());
      assertTrue(memfd.isAccessible(0));
      assertEquals(PAGE, host.used());
    }
    Worker<Outcome> last = start(operation, window, memfd, pfn);
    assertFalse(last.isDone(), "the access is under way");
    underWay.release();
    assertEquals(7, access.result());
    assertEquals(DONE, last.result());
    memfd.punchHole(0, PAGE);
    assertEquals(0, host.used(), "no reference is left behind");
    assertQuiet(memfd);
  }

  /** An access of a client, which no page table of the host knows; in both directions. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aConversionWaitsForAClientAgain(boolean inaccessible) throws Exception {
    GuestMemfd memfd = file(2);
    int pfn = write(memfd, 0, 7);
    if (!inaccessible) {
      memfd.makeInaccessible(0, PAGE);
    }
    FrameAccess frames = memfd.frameAccess();
    long access = frames.begin(pfn);
    for (int i = 0; i < 2; i++) {
      Worker<Errno> interrupted = convert(memfd, inaccessible);
      probe.awaitWaiting(interrupted);
      interrupted.interrupt();
      assertEquals(Errno.EINTR, interrupted.result());
      assertEquals(inaccessible, memfd.isAccessible(0));
    }
    Worker<Errno> last = convert(memfd, inaccessible);
    probe.awaitWaiting(last);
    assertFalse(last.isDone(), "the access is under way");
    frames.end(access);
    assertEquals(Errno.OK, last.result());
    assertEquals(!inaccessible, memfd.isAccessible(0));
    assertQuiet(memfd);
  }

  private static Worker<Errno> convert(GuestMemfd memfd, boolean inaccessible) {
    return Worker.start(
        () -> inaccessible ? memfd.tryMakeInaccessible(0, PAGE) : memfd.tryMakeAccessible(0, PAGE));
  }

  /** The end of a file cannot be given up: an interrupt is kept, and the frame is not freed. */
  @Test
  void theEndOfAFileWaitsWhateverInterruptsIt() throws Exception {
    GuestMemfd memfd = file(1);
    int pfn = write(memfd, 0, 7);
    FrameAccess frames = memfd.frameAccess();
    long access = frames.begin(pfn);
    Worker<Boolean> close =
        Worker.start(
            () -> {
              memfd.close();
              return Thread.currentThread().isInterrupted();
            });
    probe.awaitWaiting(close);
    close.interruptAndAwait();
    assertFalse(close.isDone());
    assertEquals(PAGE, host.used());
    frames.end(access);
    assertTrue(close.result(), "the interrupt is kept");
    assertEquals(0, host.used());
  }
}
