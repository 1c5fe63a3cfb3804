package io.github.guestmemfd.file;

import static io.github.guestmemfd.conversion.ConversionProtocol.atomicPair;
import static io.github.guestmemfd.conversion.ConversionProtocol.bothCounters;
import static io.github.guestmemfd.conversion.ConversionProtocol.lockOnly;
import static io.github.guestmemfd.conversion.ConversionProtocol.timedWait;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.conversion.Step;
import io.github.guestmemfd.fixtures.ProtocolFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * vCPUs against a conversion: of two that fault on one page the second has raised a count, or waits
 * for the folio lock, when the page is to turn inaccessible.
 */
class ProtocolRaceTest extends ProtocolFixture {

  // ---- two vCPUs on one page ----

  /** What a conversion makes of a vCPU that is in the middle of its grab. */
  enum Answer {
    /** Not in the way. */
    CONVERTS_AT_ONCE,
    /** In the way, but only until its grab is complete. */
    WAITS_FOR_THE_GRAB,
    /** In the way for as long as it has the folio, and the conversion does not wait for that. */
    REFUSED,
    /** As refused, after a wait that cannot resolve. */
    REFUSED_AFTER_THE_WAIT,
    /** In the way for as long as it has the folio; the conversion completes then. */
    PENDING
  }

  @ParameterizedTest
  @CsvSource({
    "pin-check,       AFTER_LOOKUP,         CONVERTS_AT_ONCE",
    "both-counters,   BETWEEN_REF_AND_SAFE, WAITS_FOR_THE_GRAB",
    "safe-only,       AFTER_LOOKUP,         CONVERTS_AT_ONCE",
    "lock-only,       BEFORE_GUEST_LOCK,    CONVERTS_AT_ONCE",
    "timed-wait,      BEFORE_GUEST_LOCK,    REFUSED_AFTER_THE_WAIT",
    "last-put,        AFTER_LOOKUP,         PENDING",
    "invalidate-lock, AFTER_LOOKUP,         REFUSED",
    "atomic-pair,     AFTER_LOOKUP,         CONVERTS_AT_ONCE",
  })
  void oneVcpuConvertsWhileTheOtherIsInTheMiddleOfItsGrab(String id, RacePoint at, Answer answer)
      throws Exception {
    ConversionProtocol protocol = protocol(id);
    RetryPolicy policy =
        switch (answer) {
          case CONVERTS_AT_ONCE -> RetryPolicy.failAtOnce();
          case WAITS_FOR_THE_GRAB -> PATIENT;
          default -> protocol.retryPolicy();
        };
    GuestMemfd memfd = file(1, protocol, policy);
    write(memfd, 0, SECRET);
    RacePoints.Gate gate = races.hold(at);
    Worker<Folio> second = vcpuAt(gate, memfd, 0);
    switch (answer) {
      case CONVERTS_AT_ONCE -> assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE));
      case WAITS_FOR_THE_GRAB -> {
        Worker<Errno> first = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
        probe.awaitWaiting(first);
        gate.release();
        second.result();
        assertEquals(Errno.OK, first.result());
      }
      case REFUSED -> {
        refused(Errno.EAGAIN, () -> memfd.makeInaccessible(0, PAGE));
        gate.release();
        second.result();
        refused(Errno.EAGAIN, () -> memfd.makeInaccessible(0, PAGE));
      }
      case REFUSED_AFTER_THE_WAIT -> {
        races.at(RacePoint.ON_MISMATCH, () -> letWait(second, gate)); // for the converter's lock
        refused(Errno.EAGAIN, () -> memfd.makeInaccessible(0, PAGE));
      }
      case PENDING -> {
        CompletableFuture<Void> conversion = memfd.makeInaccessibleLater(0, PAGE);
        gate.release();
        second.result();
        assertFalse(conversion.isDone());
        second.result().close();
        assertTrue(conversion.isDone());
      }
    }
    gate.release();
    if (answer != Answer.PENDING) {
      assertEquals(SECRET, second.result().buffer().getLong(0));
      second.result().close();
    }
    assertQuiet(memfd);
  }

  /** Lets a vCPU go on from before the folio lock until it waits for that. */
  private void letWait(Worker<Folio> vcpu, RacePoints.Gate beforeLock) throws InterruptedException {
    beforeLock.release();
    probe.awaitWaiting(vcpu);
  }

  @Test
  void lockOnlyConvertsWhenTheVcpuThatHasTheFolioLetsGo() throws Exception {
    GuestMemfd memfd = file(1, lockOnly());
    Folio folio = memfd.grab(0);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    probe.awaitWaiting(conversion);
    folio.buffer().putLong(0, SECRET);
    folio.close();
    assertEquals(Errno.OK, conversion.result());
    assertEquals(SECRET, read(memfd, 0));
    assertQuiet(memfd);
  }

  @Test
  void lockOnlyHasTheSecondVcpuWaitForTheFirst() throws Exception {
    GuestMemfd memfd = file(1, lockOnly());
    Folio folio = memfd.grab(0);
    Worker<Long> second = Worker.start(() -> read(memfd, 0));
    probe.awaitWaiting(second);
    folio.buffer().putLong(0, SECRET);
    folio.close();
    assertEquals(SECRET, second.result());
    assertQuiet(memfd);
  }

  // ---- the windows of a grab and a put ----

  /**
   * What a conversion that refuses at the first mismatch answers while a vCPU stands at each point
   * of its grab and put; EINTR where it has to wait for the folio lock.
   */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      useHeadersInDisplayName = true,
      textBlock =
          """
          protocol        | AFTER_SLOT_LOAD | BEFORE_SLOT_RELOAD | AFTER_LOOKUP | BEFORE_GUEST_LOCK | BETWEEN_REF_AND_SAFE | BETWEEN_DROPS
          pin-check       | OK              | OK                 | OK           |                   |                      |
          both-counters   | OK              | EAGAIN             | EAGAIN       |                   | EAGAIN               | EAGAIN
          safe-only       | OK              | OK                 | OK           |                   |                      |
          lock-only       |                 |                    |              | OK                |                      |
          timed-wait      | OK              | EAGAIN             | EAGAIN       | EAGAIN            | EINTR                | EAGAIN
          last-put        | OK              | EAGAIN             | EAGAIN       |                   |                      |
          invalidate-lock | OK              | EAGAIN             | EAGAIN       |                   |                      |
          atomic-pair     | OK              | OK                 | OK           |                   |                      |
          """)
  void aConversionMeetsAVcpuInEachWindowOfItsGrabAndPut(
      String id,
      @Nullable Errno afterSlotLoad,
      @Nullable Errno beforeSlotReload,
      @Nullable Errno afterLookup,
      @Nullable Errno beforeGuestLock,
      @Nullable Errno betweenRefAndSafe,
      @Nullable Errno betweenDrops) {
    GuestMemfd memfd = file(1, protocol(id));
    int pfn = write(memfd, 0, SECRET);
    plan(RacePoint.AFTER_SLOT_LOAD, afterSlotLoad, memfd);
    plan(RacePoint.BEFORE_SLOT_RELOAD, beforeSlotReload, memfd);
    plan(RacePoint.AFTER_LOOKUP, afterLookup, memfd);
    plan(RacePoint.BEFORE_GUEST_LOCK, beforeGuestLock, memfd);
    plan(RacePoint.BETWEEN_REF_AND_SAFE, betweenRefAndSafe, memfd);
    plan(RacePoint.BETWEEN_DROPS, betweenDrops, memfd);
    assertEquals(SECRET, read(memfd, 0));
    races.check();
    assertCounts(1, 0, pfn);
  }

  private void plan(RacePoint point, @Nullable Errno expected, GuestMemfd memfd) {
    if (expected == null) {
      return; // not a point of this protocol
    }
    races.at(
        point,
        () -> {
          Worker<Errno> host =
              Worker.start(
                  () -> {
                    Thread.currentThread().interrupt(); // if it has to wait it gets EINTR instead
                    Errno errno = memfd.tryMakeInaccessible(0, PAGE);
                    assertTrue(Thread.interrupted());
                    memfd.makeAccessible(0, PAGE);
                    return errno;
                  });
          assertEquals(expected, host.result(), point::name);
        });
  }

  @ParameterizedTest
  @EnumSource(
      value = RacePoint.class,
      names = {"BETWEEN_REF_AND_SAFE", "BETWEEN_DROPS"})
  void bothCountersTakesAVcpuBetweenItsStepsForAnUnsafeHolder(RacePoint between) throws Exception {
    GuestMemfd memfd = file(2, bothCounters());
    write(memfd, PAGE, SECRET);
    RacePoints.Gate gate = races.hold(between);
    Worker<Long> vcpu = Worker.start(() -> read(memfd, PAGE));
    gate.awaitReached();
    BusyFolio busy = new BusyFolio();
    assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, 2 * PAGE, busy));
    assertEquals(PAGE, busy.offset());
    assertEquals(1, busy.unsafeHolders(), "though no holder is unsafe");
    assertEquals(0, busy.safeHolders(), "though the vCPU is");
    assertTrue(memfd.isAccessible(0) && memfd.isAccessible(PAGE), "nothing is converted");
    gate.release();
    assertEquals(SECRET, vcpu.result());
    assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, 2 * PAGE, busy));
    assertQuiet(memfd);
  }

  @Test
  void bothCountersIsWokenByTheSecondStepOfAPut() throws Exception {
    GuestMemfd memfd = file(1, bothCounters(), PATIENT);
    write(memfd, 0, SECRET);
    RacePoints.Gate gate = races.hold(RacePoint.BETWEEN_DROPS);
    Worker<Long> vcpu = Worker.start(() -> read(memfd, 0));
    gate.awaitReached();
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    probe.awaitWaiting(conversion);
    gate.release();
    assertEquals(Errno.OK, conversion.result());
    assertEquals(SECRET, vcpu.result());
    assertQuiet(memfd);
  }

  // ---- the order of the drops ----

  /** Raises both counters as {@code both-counters} does, but drops them in the wrong order. */
  private static final ConversionProtocol REF_FIRST =
      new Like(bothCounters()) {
        @Override
        public List<Step> guestDrops() {
          return List.of(Step.REF, Step.SAFE);
        }
      };

  @Test
  void aProtocolThatDropsRefsBeforeSafeLeaks() {
    GuestMemfd memfd = file(1, REF_FIRST);
    write(memfd, 0, 1);
    HostReference plain = map(memfd).getUserPages(0, PAGE);
    refused(Errno.EAGAIN, () -> memfd.makeInaccessible(0, PAGE)); // as it should
    races.at(RacePoint.BETWEEN_DROPS, () -> memfd.makeInaccessible(0, PAGE));
    memfd.grab(0).close();
    races.check();
    assertFalse(memfd.isAccessible(0));
    write(memfd, 0, SECRET);
    assertEquals(SECRET, plain.buffer().getLong(0), "what the guest wrote after the conversion");
    plain.close();
  }

  /**
   * It is counted as safe, and has no reference: what a refusal says of it is no negative number.
   */
  @Test
  void aHolderThatDropsRefsBeforeSafeIsNoUnsafeOne() throws Exception {
    GuestMemfd memfd = file(1, REF_FIRST);
    write(memfd, 0, SECRET);
    BusyFolio busy = new BusyFolio();
    races.at(
        RacePoint.BETWEEN_DROPS,
        () -> assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, PAGE, busy)));
    memfd.grab(0).close();
    races.check();
    assertEquals("offset 0x0 held by 0 unsafe, 0 pinned, 1 safe", busy.toString());
    assertQuiet(memfd);
  }

  @Test
  void bothCountersDropsSafeBeforeRefsAndDoesNotLeak() throws Exception {
    GuestMemfd memfd = file(1, bothCounters());
    write(memfd, 0, 1);
    HostReference plain = map(memfd).getUserPages(0, PAGE);
    races.at(
        RacePoint.BETWEEN_DROPS,
        () -> refused(Errno.EAGAIN, () -> memfd.makeInaccessible(0, PAGE)));
    memfd.grab(0).close();
    races.check();
    assertTrue(memfd.isAccessible(0));
    plain.close();
    assertQuiet(memfd);
  }

  // ---- the wait that cannot resolve ----

  /** How often a conversion has asked about counts. */
  private final AtomicInteger asked = new AtomicInteger();

  private ConversionProtocol counting(ConversionProtocol original) {
    return new Like(original) {
      @Override
      public boolean mayTurnInaccessible(int refs, int safe) {
        asked.incrementAndGet();
        return super.mayTurnInaccessible(refs, safe);
      }
    };
  }

  @Test
  void timedWaitUsesUpItsPatienceForAVcpuThatWaitsForTheLockItHolds() throws Exception {
    GuestMemfd memfd = file(1, counting(timedWait()), RetryPolicy.spin(500));
    write(memfd, 0, SECRET);
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_GUEST_LOCK);
    Worker<Folio> vcpu = vcpuAt(gate, memfd, 0);
    races.at(RacePoint.ON_MISMATCH, () -> letWait(vcpu, gate));
    BusyFolio busy = new BusyFolio();
    assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, PAGE, busy));
    assertTrue(asked.get() > 500, "looked " + asked + " times");
    assertEquals(1, busy.unsafeHolders(), "though no holder is unsafe");
    assertEquals(SECRET, vcpu.result().buffer().getLong(0), "it gets the lock afterwards");
    assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE), "now it is counted as safe");
    vcpu.result().close();
    assertQuiet(memfd);
  }

  @Test
  void timedWaitWaitsInVainHoweverLong() throws Exception {
    GuestMemfd memfd = file(1, timedWait(), PATIENT);
    write(memfd, 0, SECRET);
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_GUEST_LOCK);
    Worker<Folio> vcpu = vcpuAt(gate, memfd, 0);
    Worker<Boolean> conversion =
        Worker.start(
            () -> {
              refused(Errno.EINTR, () -> memfd.makeInaccessible(0, PAGE));
              return Thread.interrupted();
            });
    probe.awaitWaiting(conversion);
    letWait(vcpu, gate);
    assertFalse(conversion.isDone() || vcpu.isDone(), "each waits for the other");
    conversion.interrupt(); // the only way out
    assertTrue(conversion.result());
    vcpu.result().close();
    assertQuiet(memfd);
  }

  /** RFC v2 as it could have been: the reference that waits for the lock is a safe one. */
  @Test
  void withAnAtomicPairTheConversionDoesNotMindTheVcpuThatWaitsForItsLock() throws Exception {
    RacePoints.Gate asking = races.gate(); // where the conversion has the folio lock
    GuestMemfd memfd =
        file(
            1,
            new Like(timedWait()) {
              @Override
              public List<Step> guestTakes() {
                return List.of(Step.REF_AND_SAFE, Step.LOCK, Step.UNLOCK);
              }

              @Override
              public List<Step> guestDrops() {
                return List.of(Step.REF_AND_SAFE);
              }

              @Override
              public boolean mayTurnInaccessible(int refs, int safe) {
                asking.pass();
                return super.mayTurnInaccessible(refs, safe);
              }
            });
    write(memfd, 0, SECRET);
    RacePoints.Gate beforeLock = races.hold(RacePoint.BEFORE_GUEST_LOCK);
    Worker<Folio> vcpu = vcpuAt(beforeLock, memfd, 0);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    asking.awaitReached();
    letWait(vcpu, beforeLock);
    asking.release();
    assertEquals(Errno.OK, conversion.result());
    assertEquals(SECRET, vcpu.result().buffer().getLong(0));
    vcpu.result().close();
    assertQuiet(memfd);
  }

  @Test
  void atomicPairDoesNotMindAVcpuThatWaitsForTheFolioLock() throws Exception {
    GuestMemfd memfd = file(1, atomicPair());
    write(memfd, 0, SECRET);
    Folio first = memfd.grab(0);
    first.lock();
    Folio second = memfd.grab(0);
    Worker<Void> waiter =
        Worker.start(
            () -> {
              second.lock();
              second.unlock();
              return null;
            });
    probe.awaitWaiting(waiter);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    probe.awaitWaiting(conversion); // for the lock, with the range busy
    first.unlock();
    assertEquals(Errno.OK, conversion.result());
    waiter.result();
    first.close();
    second.close();
    assertQuiet(memfd);
  }
}
