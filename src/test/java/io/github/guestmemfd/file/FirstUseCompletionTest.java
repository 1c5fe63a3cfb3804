package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.HolderKind.UNSAFE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.fixtures.HostFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * The first use of a page drops the last reference that a pending conversion waits for: the
 * conversion is complete when the first use returns.
 */
class FirstUseCompletionTest extends HostFixture {

  /** Ways to use a page for the first time. */
  enum FirstUse {
    GRAB {
      @Override
      void run(GuestMemfd memfd, HostMapping window) {
        memfd.grab(0).close();
      }
    },
    TRY_GRAB {
      @Override
      void run(GuestMemfd memfd, HostMapping window) {
        memfd.put(memfd.tryGrab(0, UNSAFE), UNSAFE);
      }
    },
    FAULT {
      @Override
      void run(GuestMemfd memfd, HostMapping window) {
        window.putLong(0, 1);
      }
    },
    GUP {
      @Override
      void run(GuestMemfd memfd, HostMapping window) {
        window.getUserPages(0, PAGE).close();
      }
    };

    abstract void run(GuestMemfd memfd, HostMapping window);
  }

  /** The client lets go of it while it prepares the page, when its thread must not convert. */
  @ParameterizedTest
  @EnumSource
  void ofAnotherPageByItsClient(FirstUse use) throws Exception {
    GuestMemfd memfd = later(1);
    Folio last = memfd.grab(0, UNSAFE);
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
    AtomicReference<Boolean> doneInside = new AtomicReference<>();
    GuestMemfd other =
        file(
            1,
            new GuestMemfdOps() {
              @Override
              public Errno prepareAccessible(Folio folio) {
                if (doneInside.get() == null) {
                  last.close();
                  doneInside.set(conversion.isDone());
                }
                return Errno.OK;
              }
            });
    HostMapping window = map(other);
    run(() -> use.run(other, window));
    assertEquals(false, doneInside.get(), "the thread held a folio lock");
    assertTrue(conversion.isDone(), "nothing is left to complete it");
    conversion.join();
    assertFalse(memfd.isAccessible(0));
    assertQuiet(memfd);
  }

  /** The reference is that of the lookup itself, of a page that is not ready. */
  @Test
  void ofTheSamePageByItsLookup() throws Exception {
    GuestMemfd memfd = later(1);
    memfd.allocate(0, PAGE);
    RacePoints.Gate gate = races.hold(RacePoint.AFTER_LOOKUP);
    Worker<Integer> user = Worker.start(() -> memfd.tryGrab(0, UNSAFE));
    gate.awaitReached();
    assertGivesWay(memfd, user, gate);
  }

  /** The same, after a wait: the first use is an operation by then. */
  @Test
  void ofTheSamePageByItsLookupAfterAWait() throws Exception {
    GuestMemfd memfd = later(1);
    memfd.allocate(0, PAGE);
    RacePoints.Gate busy = races.hold(RacePoint.RANGE_BUSY);
    Worker<Errno> other = Worker.start(() -> memfd.tryMakeAccessible(0, PAGE));
    busy.awaitReached();
    RacePoints.Gate gate = races.hold(RacePoint.AFTER_LOOKUP);
    Worker<Integer> user = Worker.start(() -> memfd.tryGrab(0, UNSAFE));
    probe.awaitWaiting(user);
    busy.release();
    assertEquals(Errno.OK, other.result());
    gate.awaitReached();
    assertGivesWay(memfd, user, gate);
  }

  /** The lookup's reference is the last one, and is taken back before the page is made ready. */
  private void assertGivesWay(GuestMemfd memfd, Worker<Integer> user, RacePoints.Gate gate)
      throws Exception {
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
    assertFalse(conversion.isDone(), "the lookup holds a reference");
    gate.release();
    assertEquals(-Errno.EFAULT.code(), user.result(), "the page is no longer the host's");
    assertTrue(conversion.isDone(), "nothing is left to complete it");
    conversion.join();
    assertFalse(memfd.isAccessible(0));
    assertQuiet(memfd);
  }
}
