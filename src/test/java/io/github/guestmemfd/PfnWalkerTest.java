package io.github.guestmemfd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.Duel;
import io.github.guestmemfd.fixtures.HostFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Scanners and migration: they take a reference to look, and drop it. */
class PfnWalkerTest extends HostFixture {
  private final PfnWalker walker = host.pfnWalker();

  /** A walker that holds its reference until the gate opens. */
  private Worker<Object> held(boolean migrates, int pfn, RacePoints.Gate gate) throws Exception {
    Worker<Object> walk =
        Worker.start(() -> migrates ? walker.migrate(pfn) : (Object) walker.scan(pfn));
    gate.awaitReached();
    return walk;
  }

  @Test
  void seesFoliosAndNothingElse() {
    GuestMemfd memfd = file(3);
    assertFalse(walker.scan(1), "never in use");
    assertEquals(Errno.ENOENT, walker.migrate(1));
    int pfn = write(memfd, 0, 42);
    assertTrue(walker.scan(pfn));
    assertEquals(Errno.EINVAL, walker.migrate(pfn));
    assertEquals(42, read(memfd, 0));
    memfd.allocate(PAGE, 2L * PAGE);
    assertEquals(new PfnWalker.Scan(64, 3), walker.scan(1, 65));
    assertEquals(new PfnWalker.Scan(0, 0), walker.scan(7, 7));
    try (Folio orphan = memfd.grab(0)) {
      memfd.punchHole(0, PAGE);
      assertTrue(orphan.isOrphan());
      assertTrue(walker.scan(pfn));
    }
    assertFalse(walker.scan(pfn), "free again");
    assertEquals(Errno.ENOENT, walker.migrate(pfn));
    assertQuiet();
  }

  private void assertQuiet() {
    assertEquals(2L * PAGE, host.used());
  }

  @Test
  void refusesNumbersOutsideTheMemory() {
    for (int pfn : new int[] {-1, 0, 65, Integer.MAX_VALUE}) {
      assertThrows(IndexOutOfBoundsException.class, () -> walker.scan(pfn));
      assertThrows(IndexOutOfBoundsException.class, () -> walker.migrate(pfn));
      assertThrows(IndexOutOfBoundsException.class, () -> walker.memoryFailure(pfn));
    }
    assertThrows(IndexOutOfBoundsException.class, () -> walker.scan(1, 66));
    assertEquals(0, host.poisoned());
  }

  /** Dead frames do not come to life: one that is just being freed is not looked at. */
  @Test
  void aFrameThatIsBeingFreedIsNone() {
    AtomicReference<Object> seen = new AtomicReference<>();
    GuestMemfd memfd =
        file(
            1,
            new GuestMemfdOps() {
              @Override
              public void freeFolio(Folio folio) {
                seen.set(walker.scan(folio.pfn()) + " " + walker.migrate(folio.pfn()));
              }
            });
    write(memfd, 0, 42);
    memfd.punchHole(0, PAGE);
    assertEquals("false ENOENT", seen.get());
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aConversionLooksAgainUntilTheWalkerIsGone(boolean migrates) throws Exception {
    GuestMemfd memfd =
        file(1, b -> b.retryPolicy(RetryPolicy.spinThenWait(0, Duration.ofHours(1))));
    int pfn = write(memfd, 0, 42);
    RacePoints.Gate gate = races.hold(RacePoint.WALKER_HOLDS_REFERENCE);
    Worker<Object> walk = held(migrates, pfn, gate);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    probe.awaitWaiting(conversion);
    assertFalse(conversion.isDone());
    gate.release();
    assertEquals(Errno.OK, conversion.result());
    assertEquals(migrates ? Errno.EINVAL : (Object) true, walk.result());
    assertFalse(memfd.isAccessible(0));
  }

  @Test
  void aConversionWithoutPatienceSaysWhoIsThere() throws Exception {
    GuestMemfd memfd = file(2);
    int pfn = write(memfd, PAGE, 42);
    RacePoints.Gate gate = races.hold(RacePoint.WALKER_HOLDS_REFERENCE);
    Worker<Object> walk = held(false, pfn, gate);
    BusyFolio busy = new BusyFolio();
    assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, 2L * PAGE, busy));
    assertEquals(PAGE, busy.offset());
    assertEquals(1, busy.unsafeHolders());
    gate.release();
    walk.result();
    assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, 2L * PAGE, busy));
  }

  /** Whatever a protocol counts, a walker's reference is one that it did not expect. */
  @ParameterizedTest
  @MethodSource("io.github.guestmemfd.conversion.ConversionProtocol#all")
  void everySoundProtocolMeetsTheWalker(ConversionProtocol protocol) throws Exception {
    GuestMemfd memfd = file(1, b -> b.protocol(protocol));
    int pfn = write(memfd, 0, 42);
    RacePoints.Gate gate = races.hold(RacePoint.WALKER_HOLDS_REFERENCE);
    Worker<Object> walk = held(false, pfn, gate);
    assertEquals(protocol.isSound() ? Errno.EAGAIN : Errno.OK, memfd.tryMakeInaccessible(0, PAGE));
    gate.release();
    walk.result();
    assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE));
  }

  /** The walker that holds the last reference frees the folio. */
  @Test
  void aPunchedFolioGoesWithTheWalker() throws Exception {
    AtomicReference<Thread> freedBy = new AtomicReference<>();
    GuestMemfd memfd =
        file(
            1,
            new GuestMemfdOps() {
              @Override
              public void freeFolio(Folio folio) {
                freedBy.set(Thread.currentThread());
              }
            });
    int pfn = write(memfd, 0, 42);
    RacePoints.Gate gate = races.hold(RacePoint.WALKER_HOLDS_REFERENCE);
    Worker<Object> walk = held(false, pfn, gate);
    memfd.punchHole(0, PAGE);
    assertEquals(PAGE, host.used());
    assertEquals(null, freedBy.get());
    gate.release();
    assertEquals(true, walk.result());
    assertEquals(walk.thread(), freedBy.get());
    assertEquals(0, host.used());
  }

  /** Under load: while others walk, conversions succeed within the default policy. */
  @Test
  @Tag("duel")
  void conversionsSucceedWhileScannersRun() throws Exception {
    GuestMemfd memfd =
        file(8, b -> b.retryPolicy(RetryPolicy.spinThenWait(256, Duration.ofSeconds(20))));
    memfd.allocate(0, memfd.size());
    Duel.race(
        round -> {
          assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, memfd.size()));
          assertEquals(Errno.OK, memfd.tryMakeAccessible(0, memfd.size()));
          return true;
        },
        round -> {
          assertEquals(8, walker.scan(1, 65).folios());
          return true;
        });
  }
}
