package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.HolderKind.UNSAFE;
import static io.github.guestmemfd.conversion.ConversionProtocol.atomicPair;
import static io.github.guestmemfd.conversion.ConversionProtocol.lastPut;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.ProtocolFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * The last put against the conversion that waits for it, and against what undoes that: pKVM's
 * completion by callback.
 */
class PendingConversionRaceTest extends ProtocolFixture {
  private GuestMemfd memfd;
  private HostMapping window;
  private HostReference plain;
  private int pfn;

  /** A page with content, which a plain reference keeps from turning inaccessible. */
  @BeforeEach
  void hold() {
    memfd = file(1, lastPut(), RetryPolicy.completeLater());
    window = map(memfd);
    window.putLong(0, SECRET);
    plain = window.getUserPages(0, PAGE);
    pfn = plain.pfn(0);
  }

  // ---- the last put against the registration ----

  @ParameterizedTest
  @EnumSource(
      value = RacePoint.class,
      names = {"RANGE_BUSY", "AFTER_UNMAP", "BEFORE_FREEZE", "ON_MISMATCH"})
  void aLastPutBeforeTheLastLookCompletesItAtOnce(RacePoint point) throws Exception {
    races.at(point, plain::close);
    memfd.makeInaccessibleLater(0, PAGE).join();
    assertConverted();
  }

  /** The put finds no conversion to tell, and the conversion has seen the reference. */
  @Test
  void aLastPutBetweenTheLastLookAndTheRegistrationCompletesIt() throws Exception {
    AtomicInteger looks = new AtomicInteger();
    AtomicReference<Folio> last = new AtomicReference<>();
    GuestMemfd other =
        file(
            1,
            new Like(atomicPair()) {
              @Override
              public boolean mayTurnInaccessible(int refs, int safe) {
                if (looks.incrementAndGet() == 2) {
                  last.get().close(); // the counts have been read
                }
                return super.mayTurnInaccessible(refs, safe);
              }
            },
            RetryPolicy.completeLater());
    last.set(other.grab(0, UNSAFE));
    CompletableFuture<Void> conversion = other.makeInaccessibleLater(0, PAGE);
    assertTrue(conversion.isDone());
    assertFalse(other.isAccessible(0));
    assertTrue(looks.get() > 2);
    plain.close();
    assertQuiet(other);
  }

  /** The putting thread completes the conversion while the one that began it is not through. */
  @Test
  void aLastPutWhileTheRangeIsBusyIsDoneByTheConverter() throws Exception {
    RacePoints.Gate gate = races.hold(RacePoint.ON_MISMATCH);
    Worker<CompletableFuture<Void>> converter =
        Worker.start(() -> memfd.makeInaccessibleLater(0, PAGE));
    gate.awaitReached();
    plain.close(); // does not wait for the busy range
    gate.release();
    assertTrue(converter.result().isDone());
    assertConverted();
  }

  /** Of several busy folios a completion has seen one when another is let go. */
  @ParameterizedTest
  @EnumSource(
      value = RacePoint.class,
      names = {"RANGE_BUSY", "AFTER_UNMAP", "BEFORE_FREEZE", "ON_MISMATCH"})
  void aPutDuringTheCompletionThatThePutBeforeBegan(RacePoint point) throws Exception {
    GuestMemfd other = file(3, lastPut(), RetryPolicy.completeLater());
    Folio first = other.grab(0, UNSAFE);
    Folio second = other.grab(PAGE, UNSAFE);
    Folio third = other.grab(2 * PAGE, UNSAFE);
    CompletableFuture<Void> conversion = other.makeInaccessibleLater(0, other.size());
    races.at(point, third::close);
    first.close();
    races.check();
    assertFalse(conversion.isDone(), "it waits for the second now");
    second.close();
    assertTrue(conversion.isDone());
    plain.close();
    assertQuiet(other);
  }

  private void assertConverted() throws Exception {
    assertFalse(memfd.isAccessible(0));
    assertThrows(SigBusException.class, () -> window.getLong(0));
    assertEquals(SECRET, read(memfd, 0));
    assertCounts(1, 0, pfn);
    assertQuiet(memfd);
  }

  // ---- against what undoes it ----

  /** What ends a pending conversion. */
  enum Ending {
    RESHARE {
      @Override
      void run(GuestMemfd memfd) {
        memfd.makeAccessible(0, PAGE);
      }
    },
    PUNCH {
      @Override
      void run(GuestMemfd memfd) {
        memfd.punchHole(0, PAGE);
      }
    },
    CONVERT_AGAIN {
      @Override
      void run(GuestMemfd memfd) {
        memfd.makeInaccessible(0, PAGE);
      }
    },
    CLOSE {
      @Override
      void run(GuestMemfd memfd) {
        memfd.close();
      }
    };

    abstract void run(GuestMemfd memfd);
  }

  private Worker<Void> end(Ending ending) {
    return Worker.start(
        () -> {
          if (ending == Ending.CLOSE) {
            window.close();
          }
          ending.run(memfd);
          return null;
        });
  }

  @ParameterizedTest
  @EnumSource(Ending.class)
  void theLastPutComesFirstAndTheOtherWaitsForItsCompletion(Ending ending) throws Exception {
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
    RacePoints.Gate gate = races.hold(RacePoint.RANGE_BUSY);
    Worker<Void> put = close(plain);
    gate.awaitReached(); // about to complete
    Worker<Void> other = end(ending);
    if (ending == Ending.CLOSE) {
      other.result(); // does not wait: the file ends with the operation that is under way
      assertEquals(PAGE, host.used());
    } else {
      probe.awaitWaiting(other);
    }
    gate.release();
    put.result();
    other.result();
    assertFalse(conversion.isCompletedExceptionally());
    assertTrue(conversion.isDone());
    if (ending == Ending.CLOSE) {
      assertEquals(0, host.used());
      return;
    }
    assertEquals(ending == Ending.RESHARE, memfd.isAccessible(0));
    assertEquals(ending == Ending.PUNCH ? 0 : SECRET, read(memfd, 0));
    assertQuiet(memfd);
  }

  @ParameterizedTest
  @EnumSource(Ending.class)
  void theOtherComesFirstAndTheLastPutCompletesNothing(Ending ending) throws Exception {
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
    RacePoints.Gate gate = races.hold(RacePoint.RANGE_BUSY);
    Worker<Void> other = end(ending);
    gate.awaitReached(); // about to undo
    plain.close();
    assertFalse(conversion.isDone());
    gate.release();
    other.result();
    assertUndone(conversion);
    if (ending == Ending.CLOSE) {
      assertEquals(0, host.used());
      return;
    }
    assertEquals(ending != Ending.CONVERT_AGAIN, memfd.isAccessible(0));
    assertEquals(ending == Ending.PUNCH ? 0 : SECRET, read(memfd, 0));
    assertQuiet(memfd);
  }

  /** No holder lets go at all. */
  @ParameterizedTest
  @EnumSource(Ending.class)
  void theOtherUndoesItWhileTheReferenceIsKept(Ending ending) throws Exception {
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
    assertThrows(SigBusException.class, () -> window.getLong(0));
    refused(Errno.EAGAIN, () -> memfd.grab(0));
    if (ending == Ending.CONVERT_AGAIN) {
      refused(Errno.EAGAIN, () -> ending.run(memfd));
    } else {
      end(ending).result();
    }
    assertUndone(conversion);
    assertEquals(SECRET, plain.buffer().getLong(0), "the reference reaches what it did");
    if (ending != Ending.CLOSE) {
      assertEquals(ending == Ending.PUNCH ? 0 : SECRET, window.getLong(0), "the host may map it");
      plain.buffer().putLong(0, 2);
      assertEquals(ending == Ending.PUNCH ? 0 : 2, window.getLong(0));
      plain.close();
      assertQuiet(memfd);
    } else {
      assertEquals(PAGE, host.used(), "an orphan");
      plain.close();
      assertEquals(0, host.used());
    }
  }

  /** Put and re-share at the same time, at every stage of the completion. */
  @ParameterizedTest
  @EnumSource(
      value = RacePoint.class,
      names = {"RANGE_BUSY", "AFTER_UNMAP", "BEFORE_FREEZE", "BEFORE_COMMIT", "AFTER_COMMIT"})
  void aReshareThatMeetsTheCompletionComesAfterIt(RacePoint point) throws Exception {
    CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
    RacePoints.Gate gate = races.hold(point);
    Worker<Void> put = close(plain);
    gate.awaitReached();
    Worker<Void> reshare = end(Ending.RESHARE);
    probe.awaitWaiting(reshare);
    gate.release();
    put.result();
    reshare.result();
    assertTrue(conversion.isDone() && !conversion.isCompletedExceptionally());
    assertEquals(SECRET, window.getLong(0));
    assertQuiet(memfd);
  }

  private static Worker<Void> close(HostReference reference) {
    return Worker.start(
        () -> {
          reference.close();
          return null;
        });
  }

  private static void assertUndone(CompletableFuture<Void> conversion) {
    assertTrue(conversion.isDone());
    ExecutionException e = assertThrows(ExecutionException.class, conversion::get);
    GuestMemfdException cause = assertInstanceOf(GuestMemfdException.class, e.getCause());
    assertEquals(Errno.ECANCELED, cause.errno());
  }
}
