package io.github.guestmemfd.concurrent;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.CreateFlag.NO_DIRECT_MAP;
import static io.github.guestmemfd.abi.HolderKind.SAFE;
import static io.github.guestmemfd.abi.HolderKind.UNSAFE;
import static io.github.guestmemfd.abi.Protection.READ;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.ConversionBlockedException;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.EnumSource.Mode;
import org.junit.jupiter.params.provider.ValueSource;

/** Races made to happen, one at a time: a thread is held between two steps while another acts. */
class RacePointTest extends HostFixture {
  /** Waits as long as it takes, without looking again at first. */
  private static final RetryPolicy PATIENT = RetryPolicy.spinThenWait(0, Duration.ofHours(1));

  private static final RetryPolicy AT_ONCE = RetryPolicy.failAtOnce();

  /** Fails on purpose, which is nothing that {@code races} would do. */
  private RaceHook failing = (point, index) -> {};

  @Override
  void passes(RacePoint point, long index) {
    failing.at(point, index);
    super.passes(point, index);
  }

  private GuestMemfd file(int pages, RetryPolicy policy) {
    return file(pages, b -> b.retryPolicy(policy));
  }

  private static long guestSees(GuestMemfd memfd, long offset) {
    Folio folio = memfd.grab(offset);
    try {
      return folio.buffer().getLong((int) (offset % PAGE));
    } finally {
      folio.close();
    }
  }

  @Override
  void assertQuiet(GuestMemfd memfd) throws Exception {
    super.assertQuiet(memfd);
    assertEquals(memfd.cachedPages() * PAGE, host.used());
  }

  /** Runs a call in a thread; it must be refused with EINTR and leave the interrupt status set. */
  private Worker<Boolean> interruptible(Callable<?> body) {
    return Worker.start(
        () -> {
          refused(Errno.EINTR, body::call);
          return Thread.currentThread().isInterrupted();
        });
  }

  private void interruptWhileWaiting(Worker<Boolean> worker) throws Exception {
    probe.awaitWaiting(worker);
    assertFalse(worker.isDone());
    worker.interrupt();
    assertTrue(worker.result(), "the interrupt status is gone");
  }

  // ---- lookup ----

  @Nested
  class Lookup {

    /** What becomes of the frame that the lookup has in mind. */
    enum Fate {
      /** It is free when the lookup tries to take its reference: it must not come back to life. */
      FREE,
      /** It is another page's: the lookup gets its reference, and must give it back. */
      ELSEWHERE,
      /** It is at the same place again, but another life of it. */
      SAME_PLACE
    }

    @ParameterizedTest
    @EnumSource(Fate.class)
    void findsTheNewFolioWhenTheOldOneGoesBeforeItsReference(Fate fate) throws Exception {
      GuestMemfd memfd = file(3, AT_ONCE);
      HostMapping window = map(memfd);
      window.putLong(0, 1);
      Folio first = memfd.grab(0);
      int old = first.pfn();
      first.close();
      races.at(
          RacePoint.AFTER_SLOT_LOAD,
          () -> {
            if (fate == Fate.FREE) {
              memfd.allocate(PAGE, PAGE); // the frame freed last is the first to be used again
              memfd.punchHole(0, PAGE);
              memfd.punchHole(PAGE, PAGE);
            } else {
              memfd.punchHole(0, PAGE);
            }
            if (fate == Fate.ELSEWHERE) {
              window.putLong(PAGE, 3);
            }
            window.putLong(0, 2);
          });
      Folio folio = memfd.grab(0);
      assertEquals(2, folio.buffer().getLong(0), "content of the new folio");
      assertFalse(folio.isOrphan());
      assertEquals(fate == Fate.SAME_PLACE, folio.pfn() == old, "the race went as planned");
      folio.close();
      memfd.allocate(0, memfd.size()); // a frame brought back to life by mistake would show here
      assertEquals(fate == Fate.ELSEWHERE ? 3 : 0, window.getLong(PAGE));
      assertQuiet(memfd);
    }

    @Test
    void dropsItsReferenceOnAFolioThatWasPunchedBeforeItLookedAgain() throws Exception {
      GuestMemfd memfd = file(2, AT_ONCE);
      HostMapping window = map(memfd);
      window.putLong(0, 1);
      races.at(
          RacePoint.BEFORE_SLOT_RELOAD,
          () -> {
            memfd.punchHole(0, PAGE); // the frame lives on, held by the lookup
            window.putLong(0, 2);
            assertEquals(2L * PAGE, host.used());
          });
      Folio folio = memfd.grab(0);
      assertEquals(2, folio.buffer().getLong(0));
      folio.close();
      assertQuiet(memfd);
    }

    @ParameterizedTest
    @EnumSource(
        value = RacePoint.class,
        names = {"AFTER_SLOT_LOAD", "BEFORE_SLOT_RELOAD"})
    void refusesAnUnsafeReferenceOnAPageThatTurnedInaccessibleMeanwhile(RacePoint point)
        throws Exception {
      // At BEFORE_SLOT_RELOAD the lookup has its reference already, and a protocol that does not
      // count lets the conversion pass in spite of it: only the second look at the slot is left.
      GuestMemfd memfd =
          file(
              1,
              b ->
                  b.protocol(
                      new ConversionProtocol() {
                        @Override
                        public String id() {
                          return "does-not-count";
                        }

                        @Override
                        public boolean mayTurnInaccessible(int refs, int safe) {
                          return true;
                        }
                      }));
      map(memfd).putLong(0, 1);
      races.at(point, () -> memfd.makeInaccessible(0, PAGE));
      refused(Errno.EFAULT, () -> memfd.grab(0, UNSAFE));
      assertQuiet(memfd);
    }

    @Test
    void throwsAwayTheFrameItMadeWhenAnotherFilledTheHoleFirst() throws Exception {
      GuestMemfd memfd = file(1, AT_ONCE);
      HostMapping window = map(memfd);
      races.at(RacePoint.BEFORE_SLOT_FILL, () -> window.putLong(0, 5));
      assertEquals(5, window.getLong(0));
      assertEquals(1, memfd.cachedPages());
      assertQuiet(memfd);
    }
  }

  // ---- speculative references ----

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

  // ---- faults against range operations ----

  @Nested
  class LateFault {

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
  }

  // ---- accesses under way ----

  @Nested
  class AccessInFlight {

    /** The ways to write that announce themselves. */
    enum Kind {
      LONG {
        @Override
        void write(HostMapping window) {
          window.putLong(0, 7);
        }
      },
      BULK {
        @Override
        void write(HostMapping window) {
          window.put(0, new byte[] {7, 0, 0, 0, 0, 0, 0, 0}, 0, 8);
        }
      },
      BUFFER {
        @Override
        void write(HostMapping window) {
          window.put(0, ByteBuffer.wrap(new byte[] {7, 0, 0, 0, 0, 0, 0, 0}));
        }
      },
      ADD {
        @Override
        void write(HostMapping window) {
          window.getAndAddLong(0, 7);
        }
      },
      CAS {
        @Override
        void write(HostMapping window) {
          assertTrue(window.compareAndSetLong(0, 0, 7));
        }
      },
      ACROSS {
        @Override
        void write(HostMapping window) {
          window.putLong(0, 7);
          window.putLong(PAGE - 4, 0x0102030405060708L);
        }
      };

      abstract void write(HostMapping window);
    }

    private Worker<?> write(HostMapping window, Kind kind) {
      return Worker.start(
          () -> {
            kind.write(window);
            return null;
          });
    }

    @ParameterizedTest
    @EnumSource(Kind.class)
    void isWaitedForByAConversion(Kind kind) throws Exception {
      GuestMemfd memfd = file(2, AT_ONCE);
      HostMapping window = map(memfd);
      if (kind == Kind.ACROSS) {
        races.at(RacePoint.ACCESS_IN_FLIGHT, () -> {}); // the first write is not the one
      }
      RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT);
      Worker<?> access = write(window, kind);
      gate.awaitReached();
      Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
      probe.awaitWaiting(conversion);
      assertFalse(conversion.isDone(), "the write is still to come");
      gate.release();
      assertEquals(Errno.OK, conversion.result());
      if (kind == Kind.ACROSS) {
        // It faults on its second page with nothing announced, and then finds the first one gone.
        assertThrows(SigBusException.class, access::result);
        assertEquals(0, guestSees(memfd, PAGE - 8) & ~0xffffffffL, "all or nothing");
      } else {
        access.result();
      }
      assertEquals(7, guestSees(memfd, 0), "the write came before the conversion");
      assertQuiet(memfd);
    }

    @Test
    void isWaitedForByAPunch() throws Exception {
      GuestMemfd memfd = file(2, AT_ONCE);
      HostMapping window = map(memfd);
      RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT);
      Worker<?> access = write(window, Kind.LONG);
      gate.awaitReached();
      Worker<?> punch =
          Worker.start(
              () -> {
                memfd.punchHole(0, PAGE);
                return null;
              });
      probe.awaitWaiting(punch);
      assertFalse(punch.isDone());
      gate.release();
      punch.result();
      access.result();
      assertEquals(0, window.getLong(0), "punched after the write");
      assertQuiet(memfd);
    }

    @Test
    void letsTheConverterBeInterruptedAndTryAgain() throws Exception {
      GuestMemfd memfd = file(1, AT_ONCE);
      HostMapping window = map(memfd);
      RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT);
      Worker<?> access = write(window, Kind.LONG);
      gate.awaitReached();
      interruptWhileWaiting(
          interruptible(
              () -> {
                memfd.makeInaccessible(0, PAGE);
                return null;
              }));
      assertTrue(memfd.isAccessible(0));
      assertEquals(0, window.getLong(0), "the page is mapped as before");
      gate.release();
      access.result();
      assertEquals(7, window.getLong(0));
      assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE));
      assertEquals(7, guestSees(memfd, 0));
      assertQuiet(memfd);
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void letsAPunchOrAnUnmapBeInterruptedAndTryAgain(boolean punching) throws Exception {
      GuestMemfd memfd = file(1, AT_ONCE);
      HostMapping window = map(memfd);
      RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT);
      Worker<?> access = write(window, Kind.LONG);
      gate.awaitReached();
      interruptWhileWaiting(
          interruptible(
              () -> {
                if (punching) {
                  memfd.punchHole(0, PAGE);
                } else {
                  window.madvise(0, PAGE, Advice.DONTNEED);
                }
                return null;
              }));
      gate.release();
      access.result();
      assertEquals(7, window.getLong(0));
      memfd.punchHole(0, PAGE);
      assertEquals(0, window.getLong(0));
      assertQuiet(memfd);
    }

    /**
     * The converter has taken the entry out and waits; the mapping goes, and finds no entry; then
     * the converter is interrupted. It must not put the entry back into a mapping that is gone.
     */
    @Test
    void leavesNoEntryInAMappingThatIsClosedWhenTheConverterIsInterrupted() throws Exception {
      GuestMemfd memfd = file(1, AT_ONCE);
      HostMapping window = map(memfd);
      RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT);
      Worker<?> access = write(window, Kind.LONG);
      gate.awaitReached();
      Worker<Boolean> conversion =
          interruptible(
              () -> {
                memfd.makeInaccessible(0, PAGE);
                return null;
              });
      probe.awaitWaiting(conversion);
      Worker<?> unmap =
          Worker.start(
              () -> {
                window.close();
                return null;
              });
      while (!window.isClosed()) {
        Thread.onSpinWait();
      }
      // A munmap that finds nothing to wait for ends here; one that waits for the access does not.
      for (int i = 0; i < 1000 && !unmap.isDone(); i++) {
        unmap.thread().join(1);
      }
      conversion.interruptAndAwait();
      gate.release(); // with nowhere to put the entry back, the converter waits for the access
      assertTrue(conversion.result());
      access.result();
      unmap.result();
      assertQuiet(memfd);
    }
  }

  // ---- references ----

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

  // ---- first use ----

  @Nested
  class FirstUse {

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

  // ---- range operations against each other ----

  @Nested
  class Overlap {

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

  // ---- interruption ----

  @Nested
  class Interruption {

    /** Calls that wait for a busy page. */
    enum Waiting {
      LOAD,
      STORE,
      BULK,
      GRAB,
      GET_USER_PAGES,
      ALLOCATE,
      POPULATE,
      DONTNEED,
      PUNCH,
      TO_ACCESSIBLE,
      FOLIO_LOCK;

      void call(GuestMemfd memfd, HostMapping window, Folio folio) {
        switch (this) {
          case LOAD -> window.getLong(0);
          case STORE -> window.putLong(0, 1);
          case BULK -> window.get(0, new byte[2 * PAGE], 0, 2 * PAGE);
          case GRAB -> memfd.grab(0).close();
          case GET_USER_PAGES -> window.getUserPages(0, PAGE).close();
          case ALLOCATE -> memfd.allocate(0, 2L * PAGE);
          case POPULATE -> window.madvise(0, PAGE, Advice.POPULATE_WRITE);
          case DONTNEED -> window.madvise(0, PAGE, Advice.DONTNEED);
          case PUNCH -> memfd.punchHole(0, PAGE);
          case TO_ACCESSIBLE -> memfd.makeAccessible(0, PAGE);
          case FOLIO_LOCK -> {
            folio.lock();
            folio.unlock();
          }
        }
      }
    }

    @ParameterizedTest
    @EnumSource(Waiting.class)
    void endsTheWaitForABusyPage(Waiting waiting) throws Exception {
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
              access[0] = frames().beginDirectAccess(second.pfn());
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
      frames().accesses.end(access[0]);
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

  // ---- the end of the file ----

  @Nested
  class Close {

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
    @EnumSource(Interruption.Waiting.class)
    void comesAfterThoseWhoWakeLate(Interruption.Waiting waiting) throws Exception {
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

  // ---- callbacks that call the library ----

  @Nested
  class InsideCallback {

    /** Where the callback is called from. */
    enum When {
      BEGIN,
      END,
      PREPARE_INACCESSIBLE,
      PREPARE_ACCESSIBLE,
      FIRST_USE_ACCESSIBLE,
      FIRST_USE_INACCESSIBLE,
      FREE,
      PUNCH_BEGIN
    }

    private Runnable inside = () -> {};
    private int calls;

    private Errno run() {
      calls++;
      inside.run();
      return Errno.OK;
    }

    private GuestMemfdOps ops(When when) {
      return new GuestMemfdOps() {
        @Override
        public Errno invalidateBegin(long offset, long length) {
          return when == When.BEGIN || when == When.PUNCH_BEGIN ? run() : Errno.OK;
        }

        @Override
        public void invalidateEnd(long offset, long length) {
          if (when == When.END) {
            run();
          }
        }

        @Override
        public Errno prepareAccessible(Folio folio) {
          return when == When.PREPARE_ACCESSIBLE || when == When.FIRST_USE_ACCESSIBLE
              ? run()
              : Errno.OK;
        }

        @Override
        public Errno prepareInaccessible(Folio folio) {
          return when == When.PREPARE_INACCESSIBLE || when == When.FIRST_USE_INACCESSIBLE
              ? run()
              : Errno.OK;
        }

        @Override
        public void freeFolio(Folio folio) {
          if (when == When.FREE) {
            run();
          }
        }
      };
    }

    private void operate(When when, GuestMemfd memfd) {
      switch (when) {
        case BEGIN, END, PREPARE_INACCESSIBLE -> memfd.makeInaccessible(0, 2L * PAGE);
        case PREPARE_ACCESSIBLE -> memfd.makeAccessible(0, 2L * PAGE);
        case FIRST_USE_ACCESSIBLE, FIRST_USE_INACCESSIBLE -> memfd.grab(0).close();
        case FREE, PUNCH_BEGIN -> memfd.punchHole(0, PAGE);
      }
    }

    private void prepareFor(When when, GuestMemfd memfd) {
      switch (when) {
        case FIRST_USE_ACCESSIBLE -> memfd.allocate(0, PAGE);
        case FIRST_USE_INACCESSIBLE -> {
          memfd.makeInaccessible(0, PAGE);
          memfd.allocate(0, PAGE);
        }
        case PREPARE_ACCESSIBLE -> {
          memfd.grab(0).close();
          memfd.makeInaccessible(0, PAGE);
        }
        default -> memfd.grab(0).close();
      }
    }

    @ParameterizedTest
    @EnumSource(When.class)
    void nothingThatWaitsIsLetThrough(When when) throws Exception {
      GuestMemfd memfd = file(8, b -> b.ops(ops(when)));
      HostMapping window = map(memfd);
      prepareFor(when, memfd);
      Folio other = memfd.grab(5L * PAGE);
      GuestMemfd second = memfd.dup();
      HostMapping secondWindow = memfd.mmap(0, PAGE, READ);
      long cached = memfd.cachedPages();
      calls = 0;
      inside =
          () -> {
            inside = () -> {};
            refused(Errno.EDEADLK, () -> memfd.makeInaccessible(0, PAGE));
            refused(Errno.EDEADLK, () -> memfd.makeInaccessible(5L * PAGE, PAGE));
            refused(Errno.EDEADLK, () -> memfd.makeAccessible(0, PAGE));
            refused(Errno.EDEADLK, () -> memfd.punchHole(0, PAGE));
            refused(Errno.EDEADLK, () -> memfd.allocate(6L * PAGE, PAGE));
            refused(Errno.EDEADLK, () -> memfd.grab(0));
            refused(Errno.EDEADLK, () -> window.madvise(0, PAGE, Advice.DONTNEED));
            refused(Errno.EDEADLK, () -> window.madvise(0, PAGE, Advice.REMOVE));
            refused(Errno.EDEADLK, other::lock);
            second.close(); // waits for nothing
            refused(Errno.EDEADLK, secondWindow::close);
            if (when != When.FIRST_USE_INACCESSIBLE) { // there the access is a SIGBUS
              refused(Errno.EDEADLK, () -> window.putLong(0, 1));
              refused(Errno.EDEADLK, () -> window.get(0, new byte[8], 0, 8));
              refused(Errno.EDEADLK, () -> window.getUserPages(0, PAGE));
              refused(Errno.EDEADLK, () -> window.madvise(0, PAGE, Advice.POPULATE_READ));
            }
            // Questions are allowed, and so is the use of a page that is ready.
            assertTrue(memfd.isAccessible(5L * PAGE));
            assertEquals(cached, memfd.cachedPages() + (when == When.FREE ? 1 : 0));
            memfd.grab(5L * PAGE).close();
          };
      Worker.start(
              () -> {
                operate(when, memfd);
                return null;
              })
          .result();
      assertTrue(calls > 0, "the callback was not called");
      other.close();
      second.close();
      secondWindow.close();
      assertQuiet(memfd);
    }

    /** A first use that is refused must not leave a folio behind. */
    @ParameterizedTest
    @EnumSource(When.class)
    void aHoleStaysAHole(When when) throws Exception {
      GuestMemfd memfd = file(8, b -> b.ops(ops(when)));
      HostMapping window = map(memfd);
      prepareFor(when, memfd);
      calls = 0;
      inside =
          () -> {
            inside = () -> {};
            long cached = memfd.cachedPages();
            refused(Errno.EDEADLK, () -> memfd.grab(7L * PAGE));
            refused(Errno.EDEADLK, () -> window.putLong(6L * PAGE, 1));
            assertEquals(cached, memfd.cachedPages());
          };
      Worker.start(
              () -> {
                operate(when, memfd);
                return null;
              })
          .result();
      assertTrue(calls > 0, "the callback was not called");
      assertQuiet(memfd);
    }

    /** Dropping references is allowed, the last one of an orphan too. */
    @ParameterizedTest
    @EnumSource(When.class)
    void whatDoesNotWaitIsLetThrough(When when) throws Exception {
      GuestMemfd memfd = file(8, b -> b.ops(ops(when)));
      prepareFor(when, memfd);
      Folio orphan = memfd.grab(5L * PAGE);
      memfd.punchHole(5L * PAGE, PAGE);
      calls = 0;
      inside =
          () -> {
            inside = () -> {};
            orphan.close();
          };
      Worker.start(
              () -> {
                operate(when, memfd);
                return null;
              })
          .result();
      assertTrue(calls > 0, "the callback was not called");
      assertQuiet(memfd);
    }

    /** The last callback of all. The file is gone, and says so. */
    @Test
    void releaseCannotBringTheFileBack() throws Exception {
      List<String> seen = new ArrayList<>();
      GuestMemfd[] memfd = new GuestMemfd[1];
      memfd[0] =
          file(
              2,
              b ->
                  b.ops(
                      new GuestMemfdOps() {
                        @Override
                        public void release() {
                          refused(Errno.EBADF, () -> memfd[0].makeInaccessible(0, PAGE));
                          refused(Errno.EBADF, () -> memfd[0].grab(0));
                          memfd[0].close(); // a second time, which does nothing
                          assertTrue(memfd[0].reopen().isEmpty());
                          seen.add("release");
                        }

                        @Override
                        public void freeFolio(Folio folio) {
                          seen.add("free");
                        }
                      }));
      memfd[0].allocate(0, 2L * PAGE);
      Worker.start(
              () -> {
                memfd[0].close();
                memfd[0].close();
                return null;
              })
          .result();
      assertEquals(List.of("release", "free", "free"), seen);
    }
  }

  // ---- callbacks that refuse or throw ----

  @Nested
  class Refusal {

    /** How a callback fails. */
    enum How {
      REFUSE,
      THROW,
      THROW_ERROR
    }

    /** At which call. */
    enum Where {
      BEGIN,
      FIRST_PREPARE,
      LAST_PREPARE,
      END
    }

    /** Fails once, where it is told, and remembers what it was told of each folio. */
    private static final class Script implements GuestMemfdOps {
      private final Where where;
      private final How how;
      private boolean armed;
      private int prepares;
      private int agreed;
      private int ended;
      private int freed;
      private final Map<Integer, Boolean> inaccessible = new HashMap<>();

      Script(Where where, How how) {
        this.where = where;
        this.how = how;
      }

      private Errno fail(boolean here) {
        if (!armed || !here) {
          return Errno.OK;
        }
        armed = false;
        switch (how) {
          case REFUSE -> {
            return Errno.EPERM;
          }
          case THROW -> throw new IllegalStateException("planned");
          default -> throw new StackOverflowError("planned");
        }
      }

      @Override
      public Errno invalidateBegin(long offset, long length) {
        Errno errno = fail(where == Where.BEGIN);
        if (errno == Errno.OK) {
          agreed++;
        }
        return errno;
      }

      @Override
      public void invalidateEnd(long offset, long length) {
        ended++;
        fail(where == Where.END);
      }

      private Errno prepare(Folio folio, boolean toInaccessible) {
        if (armed) {
          prepares++;
        }
        Errno errno =
            fail(prepares == (where == Where.FIRST_PREPARE ? 1 : 3) && where != Where.END);
        if (errno == Errno.OK) {
          inaccessible.put(folio.pfn(), toInaccessible);
        }
        return errno;
      }

      @Override
      public Errno prepareAccessible(Folio folio) {
        return prepare(folio, false);
      }

      @Override
      public Errno prepareInaccessible(Folio folio) {
        return prepare(folio, true);
      }

      @Override
      public void freeFolio(Folio folio) {
        freed++;
        inaccessible.remove(folio.pfn());
        fail(where == Where.END);
      }
    }

    private void fails(How how, Executable body) {
      switch (how) {
        case REFUSE -> refused(Errno.EPERM, body);
        case THROW ->
            assertEquals("planned", assertThrows(IllegalStateException.class, body).getMessage());
        default ->
            assertEquals("planned", assertThrows(StackOverflowError.class, body).getMessage());
      }
    }

    private List<String> state(GuestMemfd memfd, Script script) {
      List<String> state = new ArrayList<>();
      state.add("cached " + memfd.cachedPages());
      for (long at = 0; at < memfd.size(); at += PAGE) {
        if (at == 2L * PAGE) {
          state.add("hole " + memfd.isAccessible(at));
          continue;
        }
        Folio folio = memfd.grab(at);
        state.add(
            "frame "
                + folio.pfn()
                + " accessible "
                + memfd.isAccessible(at)
                + " content "
                + folio.buffer().getLong(0)
                + " direct "
                + host.directMap().contains(folio.pfn())
                + " told "
                + script.inaccessible.get(folio.pfn()));
        folio.close();
      }
      return state;
    }

    /**
     * Five pages: a hole in the middle, the last one already as all are to become. What the client
     * was told last of each folio must be what is.
     */
    @ParameterizedTest
    @CsvSource({
      "true, BEGIN, REFUSE",
      "true, BEGIN, THROW",
      "true, BEGIN, THROW_ERROR",
      "true, FIRST_PREPARE, REFUSE",
      "true, FIRST_PREPARE, THROW",
      "true, FIRST_PREPARE, THROW_ERROR",
      "true, LAST_PREPARE, REFUSE",
      "true, LAST_PREPARE, THROW",
      "true, LAST_PREPARE, THROW_ERROR",
      "true, END, THROW",
      "true, END, THROW_ERROR",
      "false, BEGIN, REFUSE",
      "false, BEGIN, THROW",
      "false, BEGIN, THROW_ERROR",
      "false, FIRST_PREPARE, REFUSE",
      "false, FIRST_PREPARE, THROW",
      "false, FIRST_PREPARE, THROW_ERROR",
      "false, LAST_PREPARE, REFUSE",
      "false, LAST_PREPARE, THROW",
      "false, LAST_PREPARE, THROW_ERROR",
      "false, END, THROW",
      "false, END, THROW_ERROR"
    })
    void ofAConversionLeavesEverythingAsItWas(boolean inaccessible, Where where, How how)
        throws Exception {
      for (CreateFlag[] flags :
          new CreateFlag[][] {{MMAP, INIT_SHARED}, {MMAP, INIT_SHARED, NO_DIRECT_MAP}}) {
        Script script = new Script(where, how);
        GuestMemfd memfd = file(5, b -> b.flags(flags).ops(script));
        HostMapping window = map(memfd);
        for (int i = 0; i < 5; i++) {
          if (i != 2) {
            window.putLong((long) i * PAGE, 100 + i);
          }
        }
        if (inaccessible) {
          memfd.makeInaccessible(4L * PAGE, PAGE);
        } else {
          memfd.makeInaccessible(0, 4L * PAGE);
        }
        List<String> before = state(memfd, script);
        script.armed = true;
        fails(
            how,
            () -> {
              if (inaccessible) {
                memfd.makeInaccessible(0, 5L * PAGE);
              } else {
                memfd.makeAccessible(0, 5L * PAGE);
              }
            });
        assertFalse(script.armed, "the callback was not reached");
        assertEquals(before, state(memfd, script));
        assertEquals(script.agreed, script.ended, "one end for each begin that agreed");
        long accessible = inaccessible ? 0 : 4L * PAGE;
        assertEquals(100 + accessible / PAGE, window.getLong(accessible));
        assertThrows(SigBusException.class, () -> window.getLong(inaccessible ? 4L * PAGE : PAGE));
        assertQuiet(memfd);
        memfd.makeInaccessible(0, 5L * PAGE);
        for (Boolean told : script.inaccessible.values()) {
          assertTrue(told);
        }
        window.close();
        memfd.close();
      }
    }

    @ParameterizedTest
    @EnumSource(How.class)
    void ofAPunchAtItsBeginPunchesNothing(How how) throws Exception {
      Script script = new Script(Where.BEGIN, how);
      GuestMemfd memfd = file(2, b -> b.ops(script));
      HostMapping window = map(memfd);
      window.putLong(0, 1);
      window.putLong(PAGE, 2);
      script.armed = true;
      fails(how, () -> memfd.punchHole(0, 2L * PAGE));
      assertEquals(0, script.ended);
      assertEquals(1, window.getLong(0));
      assertEquals(2, window.getLong(PAGE));
      memfd.punchHole(0, 2L * PAGE);
      assertEquals(0, window.getLong(0));
      assertEquals(1, script.ended);
      assertQuiet(memfd);
    }

    /** What throws at the end of a folio or of the punch stops neither. */
    @ParameterizedTest
    @EnumSource(
        value = How.class,
        names = {"THROW", "THROW_ERROR"})
    void atTheEndOfAPunchIsReportedAfterAllIsPunched(How how) throws Exception {
      Script script = new Script(Where.END, how);
      GuestMemfd memfd = file(3, b -> b.ops(script));
      HostMapping window = map(memfd);
      for (int i = 0; i < 3; i++) {
        window.putLong((long) i * PAGE, 1);
      }
      script.armed = true; // the first freeFolio throws
      fails(how, () -> memfd.punchHole(0, 3L * PAGE));
      assertEquals(3, script.freed);
      assertEquals(1, script.ended);
      assertEquals(0, memfd.cachedPages());
      assertEquals(0, host.used());
      script.armed = true; // invalidateEnd throws
      fails(how, () -> memfd.punchHole(0, PAGE));
      assertEquals(2, script.ended);
      assertQuiet(memfd);
    }

    @ParameterizedTest
    @CsvSource({
      "true, REFUSE",
      "true, THROW",
      "true, THROW_ERROR",
      "false, REFUSE",
      "false, THROW",
      "false, THROW_ERROR"
    })
    void ofAFirstUseIsPassedOnAndCanBeTriedAgain(boolean accessible, How how) throws Exception {
      Script script = new Script(Where.FIRST_PREPARE, how);
      GuestMemfd memfd = file(1, b -> b.flags(MMAP, INIT_SHARED, NO_DIRECT_MAP).ops(script));
      HostMapping window = map(memfd);
      if (!accessible) {
        memfd.makeInaccessible(0, PAGE);
      }
      script.armed = true;
      fails(how, () -> memfd.grab(0));
      Folio folio = memfd.grab(0);
      assertEquals(accessible, host.directMap().contains(folio.pfn()));
      assertEquals(0, folio.buffer().getLong(0));
      folio.close();
      memfd.punchHole(0, PAGE);
      if (accessible) {
        script.armed = true;
        script.prepares = 0;
        fails(how, () -> window.putLong(0, 1));
        window.putLong(0, 2);
        assertEquals(2, window.getLong(0));
      }
      assertQuiet(memfd);
    }

    @Test
    void ofReleaseDoesNotKeepTheFolios() {
      GuestMemfd memfd =
          file(
              2,
              b ->
                  b.ops(
                      new GuestMemfdOps() {
                        @Override
                        public void release() {
                          throw new IllegalStateException("planned");
                        }
                      }));
      memfd.allocate(0, 2L * PAGE);
      assertThrows(IllegalStateException.class, memfd::close);
      assertEquals(0, host.used());
    }
  }

  // ---- race points that throw ----

  /** A hook may throw to simulate a failure at its step: nothing is left held, mapped or busy. */
  @ParameterizedTest
  @EnumSource(
      value = RacePoint.class,
      mode = Mode.EXCLUDE,
      names = {"BEFORE_MMU_LOCK", "BEFORE_HOST_CLOSE"}) // a client's, and no file's
  void aFailureAtAnyStepLeavesNothingBehind(RacePoint point) throws Exception {
    ConversionProtocol whosePoint =
        switch (point) {
          case BETWEEN_REF_AND_SAFE, BETWEEN_DROPS -> ConversionProtocol.bothCounters();
          case BEFORE_GUEST_LOCK -> ConversionProtocol.timedWait();
          case BEFORE_FREEZE -> ConversionProtocol.lastPut();
          default -> ConversionProtocol.atomicPair();
        };
    GuestMemfd memfd = file(2, b -> b.protocol(whosePoint));
    HostMapping window = map(memfd);
    window.putLong(PAGE, 1);
    Folio unsafe = null;
    if (point == RacePoint.ON_MISMATCH) {
      unsafe = memfd.grab(PAGE, UNSAFE);
    }
    AtomicBoolean failed = new AtomicBoolean();
    failing =
        (passed, index) -> {
          if (passed == point && failed.compareAndSet(false, true)) {
            throw new IllegalStateException("planned");
          }
        };
    IllegalStateException e =
        assertThrows(
            IllegalStateException.class,
            () -> {
              window.putLong(0, 1); // a first use, which passes every point of a fault
              window.getUserPages(0, 8).close();
              host.pfnWalker().scan(1);
              memfd.grab(0).close();
              memfd.makeInaccessible(0, 2L * PAGE);
            });
    assertEquals("planned", e.getMessage());
    if (unsafe != null) {
      unsafe.close();
    }
    assertQuiet(memfd);
  }
}
