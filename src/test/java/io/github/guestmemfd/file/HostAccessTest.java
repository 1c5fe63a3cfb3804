package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.nio.ByteBuffer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Accesses through a mapping that are under way: what takes the page away waits for them. */
class HostAccessTest extends RaceFixture {
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
   * The converter has taken the entry out and waits; the mapping goes, and finds no entry; then the
   * converter is interrupted. It must not put the entry back into a mapping that is gone.
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
