package io.github.guestmemfd.file;

import static io.github.guestmemfd.conversion.ConversionProtocol.safeOnly;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.ProtocolFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Safe holders against a punch: whose reference keeps the folio when gmem's goes away, between the
 * lookup of a vCPU and its folio lock, while it holds the folio, and at the end of the file.
 */
class PunchRaceTest extends ProtocolFixture {

  // ---- between lookup and lock ----

  /** What becomes of a page whose folio a vCPU is about to lock. */
  enum Fate {
    PUNCHED,
    /** Another page has the frame, if the vCPU does not keep that. */
    ELSEWHERE,
    /** Punched and used again: another folio at the same place, if not another frame. */
    SAME_PLACE
  }

  @ParameterizedTest
  @CsvSource({
    "timed-wait, PUNCHED",
    "timed-wait, ELSEWHERE",
    "timed-wait, SAME_PLACE",
    "lock-only, PUNCHED",
    "lock-only, ELSEWHERE",
    "lock-only, SAME_PLACE",
  })
  void aVcpuDoesNotUseAFolioThatWasPunchedBeforeItHadTheLock(String id, Fate fate)
      throws Exception {
    GuestMemfd memfd = file(2, protocol(id));
    int old = write(memfd, 0, SECRET);
    boolean keepsOld = id.equals("timed-wait");
    races.at(
        RacePoint.BEFORE_GUEST_LOCK,
        () -> {
          memfd.punchHole(0, PAGE);
          assertEquals(keepsOld ? PAGE : 0, host.used(), "the vCPU keeps an orphan, or nothing");
          if (fate != Fate.PUNCHED) {
            int pfn = write(memfd, fate == Fate.ELSEWHERE ? PAGE : 0, 2);
            assertEquals(keepsOld, pfn != old, "the race went as planned");
          }
        });
    Folio folio = memfd.grab(0);
    assertEquals(fate == Fate.SAME_PLACE ? 2 : 0, folio.buffer().getLong(0));
    assertFalse(folio.isOrphan());
    folio.close();
    assertEquals(memfd.cachedPages() * PAGE, host.used(), "no orphan is left");
    assertEquals(fate == Fate.ELSEWHERE ? 2 : 0, read(memfd, PAGE));
    assertQuiet(memfd);
  }

  @ParameterizedTest
  @ValueSource(strings = {"timed-wait", "lock-only"})
  void aVcpuThatWaitsForTheLockWhileThePageIsPunchedGetsANewFolio(String id) throws Exception {
    GuestMemfd memfd = file(1, protocol(id));
    int old = write(memfd, 0, SECRET);
    frames().lock(old); // as a thread that prepares it would
    Worker<Folio> vcpu = Worker.start(() -> memfd.grab(0));
    probe.awaitWaiting(vcpu);
    Worker<Void> punch = start(() -> memfd.punchHole(0, PAGE));
    probe.awaitWaiting(punch);
    frames().unlock(old); // in order: to the vCPU, which finds the page busy, and then to the punch
    punch.result();
    assertEquals(0, vcpu.result().buffer().getLong(0));
    vcpu.result().close();
    assertEquals(PAGE, host.used());
    assertQuiet(memfd);
  }

  private static Worker<Void> start(Runnable body) {
    return Worker.start(
        () -> {
          body.run();
          return null;
        });
  }

  // ---- a safe holder that stays ----

  enum Answer {
    /** EBUSY, and nothing has changed. */
    BUSY,
    /** The folio leaves the file; the holder keeps it alive. */
    ORPHAN,
    /** The punch waits until the holder lets go. */
    WAITS
  }

  @ParameterizedTest
  @CsvSource({
    "pin-check,       ORPHAN",
    "both-counters,   BUSY",
    "safe-only,       BUSY",
    "lock-only,       WAITS",
    "timed-wait,      ORPHAN",
    "last-put,        ORPHAN",
    "invalidate-lock, ORPHAN",
    "atomic-pair,     ORPHAN",
  })
  void aPunchMeetsASafeHolder(String id, Answer answer) throws Exception {
    Client client = new Client();
    GuestMemfd memfd = file(2, b -> b.protocol(protocol(id)).ops(client));
    HostMapping window = map(memfd);
    window.putLong(0, 1);
    Folio folio = memfd.grab(PAGE);
    folio.buffer().putLong(0, SECRET);
    switch (answer) {
      case BUSY -> {
        refused(Errno.EBUSY, () -> memfd.punchHole(0, memfd.size()));
        assertEquals(2, memfd.cachedPages());
        assertFalse(folio.isOrphan());
        assertEquals(1, window.getLong(0));
        assertEquals(SECRET, window.getLong(PAGE));
        folio.close();
        memfd.punchHole(0, memfd.size());
        assertEquals(List.of("begin", "end", "begin", "end"), client.calls);
      }
      case ORPHAN -> {
        memfd.punchHole(0, memfd.size());
        assertEquals(List.of("begin", "end"), client.calls);
        assertTrue(folio.isOrphan());
        assertEquals(SECRET, folio.buffer().getLong(0));
        assertEquals(0, window.getLong(PAGE), "a new folio");
        assertEquals(2L * PAGE, host.used());
        folio.close();
        assertEquals(PAGE, host.used());
      }
      case WAITS -> {
        Worker<Void> punch = start(() -> memfd.punchHole(0, memfd.size()));
        probe.awaitWaiting(punch);
        assertEquals(SECRET, folio.buffer().getLong(0));
        assertFalse(folio.isOrphan());
        folio.close();
        punch.result();
        assertEquals(List.of("begin", "end"), client.calls);
      }
    }
    assertEquals(0, window.getLong(0));
    assertEquals(0, read(memfd, PAGE));
    assertQuiet(memfd);
  }

  /** A client that is told of invalidations, and may hold a folio until the next one begins. */
  private static final class Client implements GuestMemfdOps {
    final List<String> calls = new ArrayList<>();
    final List<Folio> held = new ArrayList<>();

    @Override
    public Errno invalidateBegin(long offset, long length) {
      calls.add("begin");
      held.forEach(Folio::close);
      held.clear();
      return Errno.OK;
    }

    @Override
    public void invalidateEnd(long offset, long length) {
      calls.add("end");
    }
  }

  /** With lock-only too: the punch asks the client before it waits for the lock. */
  @ParameterizedTest
  @MethodSource(ALL)
  void aClientThatLetsGoWhenTheInvalidationBeginsLetsThePunchSucceed(ConversionProtocol protocol)
      throws Exception {
    Client client = new Client();
    GuestMemfd memfd = file(1, b -> b.protocol(protocol).ops(client));
    write(memfd, 0, SECRET);
    client.held.add(memfd.grab(0));
    memfd.punchHole(0, PAGE);
    assertEquals(List.of("begin", "end"), client.calls);
    assertEquals(0, host.used(), "not even an orphan");
    assertQuiet(memfd);
  }

  @ParameterizedTest
  @ValueSource(strings = {"both-counters", "safe-only"})
  void aPatientPunchWaitsForTheSafeHolder(String id) throws Exception {
    GuestMemfd memfd = file(1, protocol(id), PATIENT);
    write(memfd, 0, SECRET);
    Folio folio = memfd.grab(0);
    Worker<Void> punch = start(() -> memfd.punchHole(0, PAGE));
    probe.awaitWaiting(punch);
    assertEquals(SECRET, folio.buffer().getLong(0));
    folio.close();
    punch.result();
    assertEquals(0, host.used());
    assertQuiet(memfd);
  }

  @ParameterizedTest
  @ValueSource(strings = {"both-counters", "safe-only"})
  void aHolderThatLetsGoBeforeThePunchLooksAgainIsNotInTheWay(String id) throws Exception {
    GuestMemfd memfd = file(1, protocol(id));
    Folio folio = memfd.grab(0);
    races.at(RacePoint.ON_MISMATCH, folio::close);
    memfd.punchHole(0, PAGE);
    assertEquals(0, host.used());
    assertQuiet(memfd);
  }

  /** Its safe count comes too late for the punch; its reference does not. */
  @Test
  void aPunchPassesAVcpuOfBothCountersBetweenItsSteps() throws Exception {
    GuestMemfd memfd = file(1, protocol("both-counters"));
    int pfn = write(memfd, 0, SECRET);
    races.at(RacePoint.BETWEEN_REF_AND_SAFE, () -> memfd.punchHole(0, PAGE));
    Folio folio = memfd.grab(0);
    assertTrue(folio.isOrphan());
    assertCounts(1, 1, pfn);
    assertEquals(SECRET, folio.buffer().getLong(0));
    folio.close();
    assertEquals(0, host.used());
    assertQuiet(memfd);
  }

  // ---- what survives a conversion ----

  @ParameterizedTest
  @CsvSource({
    "pin-check,       OK",
    "both-counters,   OK",
    "safe-only,       OK",
    "lock-only,       EDEADLK", // it would wait for this thread itself
    "timed-wait,      OK",
    "last-put,        EAGAIN",
    "invalidate-lock, EAGAIN",
    "atomic-pair,     OK",
  })
  void aGuestsReferenceAndConversions(String id, Errno expected) throws Exception {
    GuestMemfd memfd = file(1, protocol(id));
    HostMapping window = map(memfd);
    Folio folio = memfd.grab(0);
    folio.buffer().putLong(0, 1);
    Thread.currentThread().interrupt(); // who would have to wait for another gets EINTR
    assertEquals(expected, memfd.tryMakeInaccessible(0, PAGE));
    assertTrue(Thread.interrupted());
    if (expected == Errno.OK) {
      assertEquals(1, folio.buffer().getLong(0));
      folio.buffer().putLong(0, 2);
      memfd.makeAccessible(0, PAGE);
      assertEquals(2, window.getLong(0));
      window.putLong(0, 3);
      assertEquals(3, folio.buffer().getLong(0));
      memfd.makeInaccessible(0, PAGE);
    }
    folio.close();
    assertQuiet(memfd);
  }

  // ---- safe-only: a holder without a reference of its own ----

  @ParameterizedTest
  @ValueSource(ints = {1, 3})
  void safeHoldersKeepTheFolioAtTheEndOfTheFile(int holders) {
    GuestMemfd memfd = file(1, safeOnly());
    int pfn = write(memfd, 0, SECRET);
    List<Folio> folios = new ArrayList<>();
    for (int i = 0; i < holders; i++) {
      folios.add(memfd.grab(0));
    }
    assertCounts(1, holders, pfn);
    memfd.close();
    assertCounts(0, holders, pfn);
    assertFalse(frames().tryGet(pfn, Counts.SAFE), "an orphan lends no reference");
    for (Folio folio : folios) {
      assertEquals(PAGE, host.used());
      assertTrue(folio.isOrphan());
      assertEquals(SECRET, folio.buffer().getLong(0));
      folio.close();
    }
    assertEquals(0, host.used());
    assertThrows(IllegalStateException.class, () -> memfd.put(pfn, HolderKind.SAFE));
  }

  /** It keeps the frame for a moment, like the others, and gives it back. */
  @ParameterizedTest
  @EnumSource(
      value = RacePoint.class,
      names = {"AFTER_SLOT_LOAD", "BEFORE_SLOT_RELOAD", "AFTER_LOOKUP"})
  void aSafeOnlyLookupAtTheEndOfTheFileKeepsNoFrame(RacePoint point) {
    GuestMemfd memfd = file(1, safeOnly());
    write(memfd, 0, SECRET);
    races.at(point, memfd::close);
    int result = memfd.tryGrab(0, HolderKind.SAFE);
    assertEquals(point == RacePoint.AFTER_LOOKUP, result > 0);
    if (result > 0) {
      assertEquals(PAGE, host.used(), "it was in time");
      memfd.put(result, HolderKind.SAFE);
    } else {
      assertEquals(-Errno.EBADF.code(), result);
    }
    assertEquals(0, host.used());
  }

  /** As above, where the folio is not ready: the lookup lets go of it, to prepare it first. */
  @Test
  void aSafeOnlyLookupOfAFreshFolioAtTheEndOfTheFileKeepsNoFrame() {
    GuestMemfd memfd = file(1, safeOnly());
    memfd.allocate(0, PAGE);
    races.at(RacePoint.AFTER_LOOKUP, memfd::close);
    assertEquals(-Errno.EBADF.code(), memfd.tryGrab(0, HolderKind.SAFE));
    assertEquals(0, host.used());
  }

  /** The punch has made sure that no holder is there, and then comes a late lookup. */
  @Test
  void aSafeOnlyLookupThatComesAfterThePunchHasAskedKeepsNoFrame() throws Exception {
    GuestMemfd memfd = file(1, safeOnly(), RetryPolicy.failAtOnce());
    write(memfd, 0, SECRET);
    RacePoints.Gate loaded = races.hold(RacePoint.AFTER_SLOT_LOAD);
    RacePoints.Gate counted = races.hold(RacePoint.BEFORE_SLOT_RELOAD);
    Worker<Folio> vcpu = vcpuAt(loaded, memfd, 0);
    races.at(
        RacePoint.AFTER_UNMAP,
        () -> {
          loaded.release();
          counted.awaitReached();
        });
    memfd.punchHole(0, PAGE);
    counted.release();
    assertEquals(0, vcpu.result().buffer().getLong(0));
    vcpu.result().close();
    assertEquals(PAGE, host.used(), "one page, and no lost frame");
    assertQuiet(memfd);
  }
}
