package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.HolderKind.UNSAFE;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.abi.SigSegvException;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.Worker;
import java.nio.ReadOnlyBufferException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;

/** A range of a mapping in place: one access for as long as the task uses it. */
class WindowTest extends RaceFixture {

  @Test
  void aPieceIsAsLongAsItsFramesLieTogether() {
    HostMemory without = HostMemory.ofBytes(256L * PAGE);
    try (GuestMemfd memfd =
            GuestMemfd.builder(without)
                .size(100L * PAGE)
                .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
                .build();
        HostMapping window = memfd.mmap(0, memfd.size(), READ, WRITE)) {
      memfd.allocate(0, memfd.size());
      window.put(0, new byte[100 * PAGE], 0, 100 * PAGE); // all mapped: nothing splits the range
      List<Long> pieces = new ArrayList<>();
      window.window(
          PAGE + 8,
          80 * PAGE,
          WRITE,
          (offset, bytes) -> {
            pieces.add(offset);
            pieces.add((long) bytes.capacity());
            bytes.putLong(0, offset);
          });
      assertEquals(List.of(PAGE + 8L, 64L * PAGE - 8, 65L * PAGE, 16L * PAGE + 8), pieces);
      assertEquals(PAGE + 8, window.getLong(PAGE + 8));
      assertEquals(65L * PAGE, window.getLong(65L * PAGE));
    }
    without.close();
  }

  @Test
  void readsAndWritesInPlace() {
    GuestMemfd memfd = file(2);
    HostMapping window = map(memfd);
    window.window(8, 2 * PAGE - 8, WRITE, (offset, bytes) -> bytes.putInt(0, (int) offset));
    assertEquals(8, window.getInt(8));
    assertEquals(PAGE, window.getInt(PAGE));
    assertEquals(8, guestSees(memfd, 0) + readAt8(memfd));
    List<Integer> seen = new ArrayList<>();
    window.window(8, 2 * PAGE - 8, READ, (offset, bytes) -> seen.add(bytes.getInt(0)));
    assertEquals(List.of(8, PAGE), seen);
  }

  private static int readAt8(GuestMemfd memfd) {
    try (Folio folio = memfd.grab(0)) {
      return folio.buffer().getInt(8);
    }
  }

  @Test
  void whatTheTaskThrowsEndsTheAccess() throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    assertThrows(
        ReadOnlyBufferException.class,
        () -> window.window(0, PAGE, READ, (offset, bytes) -> bytes.putLong(0, 1)));
    assertThrows(
        ArithmeticException.class,
        () ->
            window.window(
                0,
                PAGE,
                WRITE,
                (offset, bytes) -> {
                  throw new ArithmeticException();
                }));
    assertFalse(GuestMemfd.isInsideCallback());
    assertQuiet(memfd);
  }

  @Test
  void badRangesAndProtections() {
    GuestMemfd memfd = file(1);
    HostMapping readable = memfd.mmap(0, PAGE, READ);
    List<Long> used = new ArrayList<>();
    HostMapping.Window task = (offset, bytes) -> used.add(offset);
    assertThrows(SigSegvException.class, () -> readable.window(0, 8, WRITE, task));
    assertThrows(IndexOutOfBoundsException.class, () -> readable.window(0, PAGE + 1, READ, task));
    assertThrows(IndexOutOfBoundsException.class, () -> readable.window(-1, 1, READ, task));
    assertThrows(IndexOutOfBoundsException.class, () -> readable.window(0, -1, READ, task));
    assertThrows(IndexOutOfBoundsException.class, () -> readable.window(PAGE + 1, -2, READ, task));
    assertThrows(
        IllegalArgumentException.class, () -> readable.window(0, 8, Protection.EXEC, task));
    assertThrows(NullPointerException.class, () -> readable.window(0, 8, null, task));
    assertThrows(NullPointerException.class, () -> readable.window(0, 8, READ, null));
    readable.window(8, 0, READ, task);
    readable.close();
    assertThrows(IllegalStateException.class, () -> readable.window(0, 8, READ, task));
    assertEquals(List.of(), used);
  }

  @Test
  void thePiecesBeforeAFaultHaveBeenUsed() {
    GuestMemfd memfd = file(2);
    memfd.makeInaccessible(PAGE, PAGE);
    HostMapping window = map(memfd);
    List<Long> used = new ArrayList<>();
    SigBusException e =
        assertThrows(
            SigBusException.class,
            () -> window.window(0, 2 * PAGE, WRITE, (offset, bytes) -> used.add(offset)));
    assertEquals(PAGE, e.offset());
    assertEquals(List.of(0L), used);
  }

  @Test
  void insideNothingWaitsForPages() {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    List<Object> answers = new ArrayList<>();
    window.window(
        0,
        PAGE,
        WRITE,
        (offset, bytes) -> {
          answers.add(memfd.tryMakeInaccessible(0, PAGE));
          answers.add(assertThrows(Exception.class, window::close).getClass().getSimpleName());
          memfd.grab(0).close();
        });
    assertEquals(Errno.EDEADLK, answers.get(0));
    assertFalse(window.isClosed());
  }

  /** A thread that stands in a window until it is told to go on. */
  private static final class Standing {
    final CountDownLatch stands = new CountDownLatch(1);
    final CountDownLatch goOn = new CountDownLatch(1);
    final Worker<Void> worker;

    Standing(HostMapping window) throws InterruptedException {
      worker =
          Worker.start(
              () -> {
                window.window(0, PAGE, WRITE, this::use);
                return null;
              });
      stands.await();
    }

    private void use(long offset, java.nio.ByteBuffer bytes) {
      stands.countDown();
      try {
        goOn.await();
      } catch (InterruptedException e) {
        throw new AssertionError(e);
      }
      bytes.putLong(0, 42);
    }

    void end() throws Exception {
      goOn.countDown();
      worker.result();
    }
  }

  /** A conversion waits for the window, and a punch for the conversion. */
  @Test
  void aConversionWaitsUntilThePieceIsUsed() throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    Standing standing = new Standing(window);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    probe.awaitWaiting(conversion);
    Worker<Void> punch =
        Worker.start(
            () -> {
              memfd.punchHole(0, PAGE);
              return null;
            });
    probe.awaitWaiting(punch);
    assertFalse(conversion.isDone());
    standing.end();
    assertEquals(Errno.OK, conversion.result());
    punch.result();
    assertEquals(0, memfd.cachedPages());
    assertThrows(SigBusException.class, () -> window.getLong(0));
  }

  /** One that gives up leaves the page to the next, which waits for the window too. */
  @Test
  void aConversionThatIsInterruptedMeanwhile() throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    Standing standing = new Standing(window);
    Worker<Boolean> first =
        interruptible(
            () -> {
              memfd.makeInaccessible(0, PAGE);
              return null;
            });
    interruptWhileWaiting(first);
    Worker<Errno> second = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    probe.awaitWaiting(second);
    standing.end();
    assertEquals(Errno.OK, second.result());
    assertEquals(42, guestSees(memfd, 0));
    assertQuiet(memfd);
  }

  /** A put in a window may complete a conversion, once the access is over. */
  @Test
  void aPutInAWindowCompletesAConversion() throws Exception {
    GuestMemfd memfd = later(2);
    HostMapping window = map(memfd);
    Folio held = memfd.grab(0, UNSAFE);
    CompletableFuture<Void> pending = memfd.makeInaccessibleLater(0, PAGE);
    assertFalse(pending.isDone());
    List<Boolean> inside = new ArrayList<>();
    window.window(
        PAGE,
        PAGE,
        WRITE,
        (offset, bytes) -> {
          held.close();
          inside.add(pending.isDone());
        });
    assertEquals(List.of(false), inside);
    pending.get();
    assertTrue(pending.isDone());
    assertFalse(memfd.isAccessible(0));
  }

  /** A put in a window wakes a conversion of another page that waits for it. */
  @Test
  void aPutInAWindowWakesAConversion() throws Exception {
    GuestMemfd memfd =
        file(2, b -> b.retryPolicy(RetryPolicy.spinThenWait(1, Duration.ofSeconds(20))));
    HostMapping window = map(memfd);
    Folio held = memfd.grab(0, UNSAFE);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    probe.awaitWaiting(conversion);
    window.window(PAGE, PAGE, WRITE, (offset, bytes) -> held.close());
    assertEquals(Errno.OK, conversion.result());
  }

  /** The last put of an orphan frees it, and tells the client; the last close ends a file. */
  @Test
  void whatEndsInAWindow() {
    List<String> told = new ArrayList<>();
    GuestMemfdOps client =
        new GuestMemfdOps() {
          @Override
          public void freeFolio(Folio folio) {
            told.add("free");
          }

          @Override
          public void release() {
            told.add("release");
          }
        };
    GuestMemfd other = file(1, client);
    Folio orphan = other.grab(0);
    other.punchHole(0, PAGE);
    HostMapping window = map(file(1));
    window.window(
        0,
        PAGE,
        WRITE,
        (offset, bytes) -> {
          orphan.close();
          other.close();
          told.add("end");
        });
    assertEquals(List.of("free", "end", "release"), told);
  }

  @Test
  void saysWhichPieceACallIsMadeFrom() {
    GuestMemfd memfd = file(3);
    HostMapping window = map(memfd);
    List<String> said = new ArrayList<>();
    window.window(
        8,
        2 * PAGE,
        WRITE,
        (offset, bytes) ->
            said.add(refused(Errno.EDEADLK, () -> memfd.punchHole(0, PAGE)).getMessage()));
    String last = said.get(said.size() - 1);
    assertTrue(last.contains("callback window [offset=0x2000, length=8]"), last);
  }
}
