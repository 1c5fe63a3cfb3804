package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.HolderKind.UNSAFE;
import static io.github.guestmemfd.conversion.ConversionProtocol.lastPut;
import static io.github.guestmemfd.conversion.ConversionProtocol.pinCheck;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.ConversionBlockedException;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.ProtocolFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Holders on the host against a conversion: GUP references that outlive the unmapping, and
 * speculative ones that come between the unmapping and the freezing.
 */
class HostHolderRaceTest extends ProtocolFixture {

  // ---- a plain reference, taken before the unmapping and kept ----

  @ParameterizedTest
  @MethodSource(ALL)
  void aPlainReferenceThatIsKept(ConversionProtocol protocol) throws Exception {
    GuestMemfd memfd = file(3, protocol);
    HostMapping window = map(memfd);
    window.putLong(PAGE, 1);
    HostReference plain = window.getUserPages(PAGE, PAGE);
    if (protocol == pinCheck()) {
      leaks(memfd, plain);
    } else {
      ConversionBlockedException e =
          assertThrows(
              ConversionBlockedException.class, () -> memfd.makeInaccessible(0, memfd.size()));
      assertEquals(Errno.EAGAIN, e.errno());
      assertEquals(PAGE, e.busyFolio().offset());
      assertEquals(1, e.busyFolio().unsafeHolders());
      assertEquals(1, window.getLong(PAGE), "the page is the host's still");
    }
    plain.close();
    assertQuiet(memfd);
  }

  private static void leaks(GuestMemfd memfd, HostReference plain) {
    memfd.makeInaccessible(0, memfd.size());
    write(memfd, PAGE, SECRET);
    assertEquals(SECRET, plain.buffer().getLong(0), "the host reads what the guest wrote since");
    plain.buffer().putLong(0, 666);
    assertEquals(666, read(memfd, PAGE), "the guest reads what the host wrote since");
  }

  /** What only the flawed one claims not to be. */
  @ParameterizedTest
  @MethodSource(ALL)
  void aPlainReferenceTakenWhileTheConversionIsUnderWayHasItRefused(ConversionProtocol protocol)
      throws Exception {
    GuestMemfd memfd = file(1, protocol);
    write(memfd, 0, SECRET);
    RacePoints.Gate loaded = races.hold(RacePoint.AFTER_SLOT_LOAD);
    RacePoints.Gate counted = races.hold(RacePoint.BEFORE_SLOT_RELOAD);
    Worker<Integer> lookup = Worker.start(() -> memfd.tryGrab(0, UNSAFE));
    loaded.awaitReached();
    races.at(RacePoint.AFTER_UNMAP, () -> letTakeItsReference(loaded, counted));
    Errno expected = protocol.isSound() ? Errno.EAGAIN : Errno.OK;
    assertEquals(expected, memfd.tryMakeInaccessible(0, PAGE));
    counted.release();
    int result = lookup.result();
    assertEquals(protocol.isSound(), result > 0, "confirmed if the page is the host's still");
    if (result > 0) {
      memfd.put(result, UNSAFE);
    }
    assertQuiet(memfd);
  }

  /** Lets a lookup go on from its first look at the slot until it has its reference. */
  private static void letTakeItsReference(RacePoints.Gate loaded, RacePoints.Gate counted)
      throws InterruptedException {
    loaded.release();
    counted.awaitReached();
  }

  @ParameterizedTest
  @MethodSource(ALL)
  void aPinnedReferenceIsRefusedByAll(ConversionProtocol protocol) throws Exception {
    GuestMemfd memfd = file(2, protocol);
    HostReference pin = map(memfd).pin(PAGE, PAGE);
    BusyFolio busy = new BusyFolio();
    assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, memfd.size(), busy));
    assertEquals(PAGE, busy.offset());
    assertEquals(1, busy.pinnedHolders());
    assertEquals(0, busy.unsafeHolders());
    pin.close();
    assertQuiet(memfd);
  }

  /** The kernel's bias makes 1024 references, of which gmem's is one, look like a pin. */
  @ParameterizedTest
  @ValueSource(ints = {1022, 1023})
  void pinCheckTakesManyPlainReferencesForAPin(int references) throws Exception {
    GuestMemfd memfd = file(1, pinCheck());
    HostMapping window = map(memfd);
    Deque<HostReference> plain = new ArrayDeque<>();
    for (int i = 0; i < references; i++) {
      plain.push(window.getUserPages(0, PAGE));
    }
    Errno errno = references < 1023 ? Errno.OK : Errno.EAGAIN;
    assertEquals(errno, memfd.tryMakeInaccessible(0, PAGE));
    plain.forEach(HostReference::close);
    assertQuiet(memfd);
  }

  // ---- a speculative reference between the unmapping and the freezing ----

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void lastPutCannotFreezeAFolioThatALookupHasJustReferenced(boolean later) throws Exception {
    GuestMemfd memfd = file(1, lastPut(), RetryPolicy.completeLater());
    int pfn = write(memfd, 0, SECRET);
    RacePoints.Gate loaded = races.hold(RacePoint.AFTER_SLOT_LOAD);
    RacePoints.Gate counted = races.hold(RacePoint.BEFORE_SLOT_RELOAD);
    Worker<Integer> lookup = Worker.start(() -> memfd.tryGrab(0, UNSAFE));
    loaded.awaitReached();
    races.at(RacePoint.BEFORE_FREEZE, () -> letTakeItsReference(loaded, counted));
    if (later) {
      CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
      assertFalse(conversion.isDone());
      counted.release();
      assertEquals(-Errno.EFAULT.code(), lookup.result(), "it finds the page gone, and its put");
      assertTrue(conversion.isDone(), "was the last");
      assertEquals(SECRET, read(memfd, 0));
    } else {
      refused(Errno.EAGAIN, () -> memfd.makeInaccessible(0, PAGE));
      counted.release();
      assertEquals(pfn, lookup.result(), "the page is the host's still");
      memfd.put(pfn, UNSAFE);
    }
    assertCounts(1, 0, pfn);
    assertQuiet(memfd);
  }

  @Test
  void aLookupThatComesAfterTheFreezingGetsNoReferenceAndStartsOver() throws Exception {
    GuestMemfd memfd = file(1, lastPut());
    int pfn = write(memfd, 0, SECRET);
    RacePoints.Gate loaded = races.hold(RacePoint.AFTER_SLOT_LOAD);
    Worker<Integer> lookup = Worker.start(() -> memfd.tryGrab(0, UNSAFE));
    loaded.awaitReached();
    races.at(
        RacePoint.BEFORE_COMMIT,
        () -> {
          assertTrue(frames().isFrozen(pfn));
          long frozen = frames().counts(pfn);
          loaded.release();
          probe.awaitWaiting(lookup); // for the page, since it has found it busy
          assertEquals(frozen, frames().counts(pfn), "what it added it has taken back");
        });
    memfd.makeInaccessible(0, PAGE);
    assertEquals(-Errno.EFAULT.code(), lookup.result());
    assertCounts(1, 0, pfn);
    assertEquals(SECRET, read(memfd, 0));
    assertQuiet(memfd);
  }

  @Test
  void aRangeOfWhichOneFolioCannotBeFrozenIsThawed() throws Exception {
    GuestMemfd memfd = file(2, lastPut());
    int first = write(memfd, 0, SECRET);
    int second = memfd.tryGrab(PAGE, UNSAFE);
    refused(Errno.EAGAIN, () -> memfd.makeInaccessible(0, memfd.size()));
    assertCounts(1, 0, first);
    assertCounts(2, 0, second);
    memfd.put(second, UNSAFE);
    assertEquals(SECRET, read(memfd, 0));
    assertQuiet(memfd);
  }
}
