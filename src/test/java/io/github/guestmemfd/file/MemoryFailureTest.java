package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.HolderKind.SAFE;
import static io.github.guestmemfd.abi.HolderKind.UNSAFE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.PfnWalker;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.fixtures.HostFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Memory that fails: it cannot be reached anew, nothing is truncated, and it is never used again.
 */
class MemoryFailureTest extends HostFixture {
  private final PfnWalker walker = host.pfnWalker();
  private final List<String> calls = new ArrayList<>();

  /** Notes the invalidations, and answers as it is told. */
  private final class Notes implements GuestMemfdOps {
    private final Callable<Errno> begin;
    private final Callable<Errno> end;

    Notes(Callable<Errno> begin, Callable<Errno> end) {
      this.begin = begin;
      this.end = end;
    }

    @Override
    public Errno invalidateBegin(long offset, long length) {
      calls.add("begin " + offset + " " + length);
      return answer(begin);
    }

    @Override
    public void invalidateEnd(long offset, long length) {
      calls.add("end " + offset + " " + length);
      answer(end);
    }

    private static Errno answer(Callable<Errno> answer) {
      try {
        return answer.call();
      } catch (RuntimeException e) {
        throw e;
      } catch (Exception e) {
        throw new AssertionError(e);
      }
    }
  }

  private static Errno fail() {
    throw new IllegalStateException("no");
  }

  /** There is no way to take up the page. */
  private static void assertFailed(GuestMemfd memfd, HostMapping window, long offset) {
    assertEquals(-Errno.EHWPOISON.code(), memfd.tryGrab(offset, SAFE));
    assertEquals(-Errno.EHWPOISON.code(), memfd.tryGrab(offset, UNSAFE));
    refused(Errno.EHWPOISON, () -> memfd.grab(offset));
    for (Executable access :
        List.<Executable>of(() -> window.getLong(offset), () -> window.putLong(offset, 1))) {
      SigBusException e = assertThrows(SigBusException.class, access);
      assertEquals(offset, e.offset());
      assertEquals(SigBusException.Code.BUS_MCEERR_AR, e.code());
    }
    assertEquals(-1, window.tryGetLong(offset, -1));
    assertFalse(window.tryPutLong(offset, 1));
    refused(Errno.EFAULT, () -> window.getUserPages(offset, 8));
    refused(Errno.EFAULT, () -> window.pin(offset, 8));
    refused(Errno.EHWPOISON, () -> window.madvise(offset, PAGE, Advice.POPULATE_READ));
  }

  @Test
  void takesThePageFromEverybodyAndLeavesItInTheFile() throws Exception {
    GuestMemfd memfd = file(3, new Notes(() -> Errno.OK, () -> Errno.OK));
    HostMapping window = map(memfd);
    HostMapping other = map(memfd);
    window.putLong(PAGE, 42);
    assertEquals(42, other.getLong(PAGE));
    window.putLong(0, 1);
    window.putLong(2L * PAGE, 3);
    try (HostReference before = window.getUserPages(PAGE, PAGE)) {
      int pfn = before.pfn(0);
      assertEquals(Errno.OK, walker.memoryFailure(pfn));
      assertEquals(List.of("begin 4096 4096", "end 4096 4096"), calls);
      assertFailed(memfd, window, PAGE);
      assertFailed(memfd, other, PAGE);
      assertEquals(42, before.buffer().getLong(0), "who holds it keeps it");
    }
    assertEquals(3, memfd.cachedPages());
    memfd.allocate(0, memfd.size());
    assertEquals(3, memfd.cachedPages());
    assertFailed(memfd, window, PAGE);
    assertEquals(1, window.getLong(0));
    assertEquals(3, window.getLong(2L * PAGE));
    try (HostReference some = window.getUserPages(0, 3L * PAGE)) {
      assertEquals(1, some.pages());
    }
    assertEquals(PAGE, host.poisoned());
    assertEquals(3L * PAGE, host.used());
    assertQuiet(memfd);
    assertFailed(memfd, window, PAGE);
  }

  @Test
  void aSecondFailureHasNothingToDo() {
    GuestMemfd memfd = file(1, new Notes(() -> Errno.OK, () -> Errno.OK));
    int pfn = write(memfd, 0, 42);
    assertEquals(Errno.OK, walker.memoryFailure(pfn));
    assertEquals(Errno.EHWPOISON, walker.memoryFailure(pfn));
    Errno slower = MemoryFailure.nothingLeft(frames(), pfn, false);
    assertEquals(Errno.EHWPOISON, slower, "a call that has marked it, and comes to it too late");
    assertEquals(2, calls.size());
    memfd.punchHole(0, PAGE);
    assertEquals(Errno.EHWPOISON, walker.memoryFailure(pfn));
    assertEquals(PAGE, host.poisoned());
    assertFalse(walker.scan(pfn));
  }

  @Test
  void aPunchMakesRoomForAHealthyFrame() throws Exception {
    GuestMemfd memfd = file(64);
    HostMapping window = map(memfd);
    window.putLong(0, SECRET);
    int pfn;
    try (Folio folio = memfd.grab(0)) {
      pfn = folio.pfn();
      assertEquals(Errno.OK, walker.memoryFailure(pfn));
      memfd.punchHole(0, PAGE);
      assertEquals(PAGE, host.used(), "the orphan");
    }
    assertEquals(0, host.used());
    assertEquals(0, window.getLong(0));
    assertNotEquals(pfn, write(memfd, 0, 43));
    assertEquals(43, window.getLong(0));
    refused(Errno.ENOMEM, () -> memfd.allocate(0, 64L * PAGE));
    memfd.allocate(0, 63L * PAGE);
    refused(Errno.ENOMEM, () -> memfd.grab(63L * PAGE));
    assertEquals(63L * PAGE, host.used());
    assertEquals(64L * PAGE, host.size());
    assertQuiet(memfd);
  }

  /** Free frames: on the free list, in the middle of it, and never used at all. */
  @Test
  void afterItFailsAFreeFrameIsNeverUsed() {
    GuestMemfd memfd = file(64);
    memfd.allocate(0, 8L * PAGE);
    memfd.punchHole(0, 8L * PAGE);
    Set<Integer> failed = Set.of(3, 8, 9, 40, 64);
    for (int pfn : failed) {
      assertEquals(Errno.OK, walker.memoryFailure(pfn));
      assertEquals(Errno.EHWPOISON, walker.memoryFailure(pfn));
    }
    assertEquals(5L * PAGE, host.poisoned());
    assertEquals(0, host.used());
    refused(Errno.ENOMEM, () -> memfd.allocate(0, 60L * PAGE));
    for (int round = 0; round < 2; round++) {
      memfd.allocate(0, 59L * PAGE);
      Set<Integer> used = new HashSet<>();
      for (int i = 0; i < 59; i++) {
        int pfn = memfd.tryGrab((long) i * PAGE, SAFE);
        assertFalse(failed.contains(pfn), () -> "frame " + pfn);
        assertTrue(used.add(pfn));
        memfd.put(pfn, SAFE);
      }
      memfd.punchHole(0, memfd.size());
    }
  }

  @Test
  void aFreeFrameIsNotTakenFromWhomItIsPromised() {
    assertTrue(frames().reserve(64));
    assertEquals(Errno.EBUSY, walker.memoryFailure(5));
    assertEquals(0, host.poisoned());
    frames().unreserve(1);
    assertEquals(Errno.OK, walker.memoryFailure(5));
    assertEquals(Errno.EBUSY, walker.memoryFailure(6));
    frames().unreserve(63);
  }

  // ---- callbacks ----

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aRefusalDoesNotStopIt(boolean throwing) {
    GuestMemfd memfd =
        file(1, new Notes(throwing ? MemoryFailureTest::fail : () -> Errno.EBUSY, () -> Errno.OK));
    HostMapping window = map(memfd);
    window.putLong(0, 42);
    assertEquals(Errno.OK, walker.memoryFailure(write(memfd, 0, 42)));
    assertEquals(List.of("begin 0 4096"), calls, "no end without a begin that agreed");
    assertFailed(memfd, window, 0);
  }

  @Test
  void whatTheEndThrowsDoesNotMatter() {
    GuestMemfd memfd = file(1, new Notes(() -> Errno.OK, MemoryFailureTest::fail));
    HostMapping window = map(memfd);
    window.putLong(0, 42);
    assertEquals(Errno.OK, walker.memoryFailure(write(memfd, 0, 42)));
    assertFailed(memfd, window, 0);
  }

  @Test
  void isRefusedInsideACallback() {
    List<Errno> answers = new ArrayList<>();
    GuestMemfd memfd =
        file(
            1,
            new Notes(
                () -> {
                  answers.add(walker.memoryFailure(1));
                  assertFalse(walker.scan(64), "that waits for nothing");
                  return Errno.OK;
                },
                () -> Errno.OK));
    write(memfd, 0, 42);
    memfd.punchHole(0, PAGE);
    assertEquals(List.of(Errno.EDEADLK), answers);
    assertEquals(0, host.poisoned());
  }

  // ---- races ----

  /** A fault that found the page in time does not map it afterwards. */
  @Test
  void aLateFaultGetsNothing() throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    int pfn = write(memfd, 0, 42);
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_PTE_INSTALL);
    Worker<Long> fault = Worker.start(() -> window.getLong(0));
    gate.awaitReached();
    assertEquals(Errno.OK, walker.memoryFailure(pfn));
    gate.release();
    assertThrows(SigBusException.class, fault::result);
    assertFailed(memfd, window, 0);
    assertQuiet(memfd);
  }

  /** A folio that has never been used, and one whose first use is just beginning. */
  @Test
  void aFirstUseThatComesTooLateIsRefused() throws Exception {
    GuestMemfd memfd = file(1);
    memfd.allocate(0, PAGE);
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_FOLIO_LOCK);
    Worker<Integer> grab = Worker.start(() -> memfd.tryGrab(0, SAFE));
    gate.awaitReached();
    assertEquals(Errno.OK, walker.memoryFailure(1)); // the first frame of the host
    gate.release();
    assertEquals(-Errno.EHWPOISON.code(), grab.result());
    assertEquals(Errno.EHWPOISON, walker.memoryFailure(1));
    assertQuiet(memfd);
  }

  /** A frame that has been allocated and is not yet in its file. */
  @Test
  void aFrameOnItsWayIntoAFileIsFoundAtItsFirstUse() throws Exception {
    GuestMemfd memfd = file(1);
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_SLOT_FILL);
    Worker<Integer> grab = Worker.start(() -> memfd.tryGrab(0, SAFE));
    gate.awaitReached();
    assertEquals(Errno.OK, walker.memoryFailure(1));
    gate.release();
    assertEquals(-Errno.EHWPOISON.code(), grab.result());
    memfd.punchHole(0, PAGE);
    assertEquals(0, host.used());
    assertNotEquals(1, write(memfd, 0, 42));
  }

  /**
   * While it waits for the page it holds nothing that the operation there would have to wait for.
   */
  @Test
  void aConversionUnderWayDoesNotMeetIt() throws Exception {
    GuestMemfd memfd = file(1);
    int pfn = write(memfd, 0, 42);
    RacePoints.Gate gate = races.hold(RacePoint.RANGE_BUSY);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    gate.awaitReached();
    Worker<Errno> failure = Worker.start(() -> walker.memoryFailure(pfn));
    probe.awaitWaiting(failure);
    gate.release();
    assertEquals(Errno.OK, conversion.result());
    assertEquals(Errno.OK, failure.result());
    assertFalse(memfd.isAccessible(0));
    assertEquals(-Errno.EHWPOISON.code(), memfd.tryGrab(0, SAFE));
  }

  @Test
  void ofTwoAtTheSameTimeOneHasDoneIt() throws Exception {
    GuestMemfd memfd = file(1);
    int pfn = write(memfd, 0, 42);
    RacePoints.Gate gate = races.hold(RacePoint.AFTER_UNMAP);
    Worker<Errno> first = Worker.start(() -> walker.memoryFailure(pfn));
    gate.awaitReached();
    Worker<Errno> second = Worker.start(() -> walker.memoryFailure(pfn));
    probe.awaitWaiting(second);
    gate.release();
    assertEquals(Errno.OK, first.result());
    assertEquals(Errno.EHWPOISON, second.result());
  }

  @Test
  void aPunchUnderWayLeavesNothingToDo() throws Exception {
    GuestMemfd memfd = file(1, new Notes(() -> Errno.OK, () -> Errno.OK));
    int pfn = write(memfd, 0, 42);
    RacePoints.Gate gate = races.hold(RacePoint.RANGE_BUSY);
    Worker<Void> punch =
        Worker.start(
            () -> {
              memfd.punchHole(0, PAGE);
              return null;
            });
    gate.awaitReached();
    Worker<Errno> failure = Worker.start(() -> walker.memoryFailure(pfn));
    probe.awaitWaiting(failure);
    gate.release();
    punch.result();
    assertEquals(Errno.OK, failure.result());
    assertEquals(2, calls.size(), "those of the punch");
    assertEquals(0, host.used());
    assertNotEquals(pfn, write(memfd, 0, 43));
  }

  /** As {@code memory_failure} does: who works on the locked folio finishes first. */
  @Test
  void waitsForTheFolioLock() throws Exception {
    GuestMemfd memfd = file(1);
    try (Folio folio = memfd.grab(0)) {
      folio.lock();
      Worker<Errno> failure = Worker.start(() -> walker.memoryFailure(folio.pfn()));
      probe.awaitWaiting(failure);
      folio.unlock();
      assertEquals(Errno.OK, failure.result());
    }
    assertEquals(-Errno.EHWPOISON.code(), memfd.tryGrab(0, SAFE));
  }

  /** However the guest holds folios: it does not get this one. */
  @ParameterizedTest
  @MethodSource("io.github.guestmemfd.conversion.ConversionProtocol#all")
  void noProtocolFindsTheFolio(ConversionProtocol protocol) {
    GuestMemfd memfd = file(1, b -> b.protocol(protocol));
    HostMapping window = map(memfd);
    window.putLong(0, 42);
    int pfn = write(memfd, 0, 42);
    assertEquals(Errno.OK, walker.memoryFailure(pfn));
    assertFailed(memfd, window, 0);
    assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE));
    refused(Errno.EHWPOISON, () -> memfd.grab(0));
    assertEquals(Errno.EHWPOISON, walker.memoryFailure(pfn));
  }

  /** A folio that a conversion has frozen gives no reference, and is found all the same. */
  @Test
  void aFrozenFolioIsFound() throws Exception {
    GuestMemfd memfd = file(1, b -> b.protocol(ConversionProtocol.lastPut()));
    int pfn = write(memfd, 0, 42);
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_COMMIT);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    gate.awaitReached();
    assertFalse(walker.scan(pfn), "frozen");
    Worker<Errno> failure = Worker.start(() -> walker.memoryFailure(pfn));
    probe.awaitWaiting(failure);
    gate.release();
    assertEquals(Errno.OK, conversion.result());
    assertEquals(Errno.OK, failure.result());
    assertEquals(-Errno.EHWPOISON.code(), memfd.tryGrab(0, SAFE));
  }

  /** Interrupted while another operation has the page: marked, and a repetition does the rest. */
  @Test
  void anInterruptedFailureIsFinishedByTheNext() throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    int pfn = write(memfd, 0, 42);
    RacePoints.Gate gate = races.hold(RacePoint.RANGE_BUSY);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    gate.awaitReached();
    Worker<Boolean> failure =
        Worker.start(
            () ->
                walker.memoryFailure(pfn) == Errno.EINTR && Thread.currentThread().isInterrupted());
    probe.awaitWaiting(failure);
    failure.interrupt();
    assertTrue(failure.result());
    gate.release();
    assertEquals(Errno.OK, conversion.result());
    assertEquals(PAGE, host.poisoned());
    assertEquals(Errno.OK, memfd.tryMakeAccessible(0, PAGE));
    assertEquals(42, window.getLong(0), "still in use");
    assertEquals(Errno.OK, walker.memoryFailure(pfn), "finished");
    assertFailed(memfd, window, 0);
    assertEquals(Errno.EHWPOISON, walker.memoryFailure(pfn));
    assertEquals(PAGE, host.poisoned());
  }

  /** Interrupted while an access is under way, between the two callbacks. */
  @Test
  void anInterruptedUnmappingIsFinishedByTheNext() throws Exception {
    GuestMemfd memfd = file(1, new Notes(() -> Errno.OK, () -> Errno.OK));
    HostMapping window = map(memfd);
    int pfn = write(memfd, 0, 42);
    RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT);
    Worker<Void> access =
        Worker.start(
            () -> {
              window.putLong(0, 43);
              return null;
            });
    gate.awaitReached();
    Worker<Errno> failure = Worker.start(() -> walker.memoryFailure(pfn));
    probe.awaitWaiting(failure);
    failure.interrupt();
    assertEquals(Errno.EINTR, failure.result());
    assertEquals(List.of("begin 0 4096", "end 0 4096"), calls);
    gate.release();
    access.result();
    assertEquals(43, window.getLong(0), "still in use");
    assertEquals(Errno.OK, walker.memoryFailure(pfn));
    assertEquals(4, calls.size());
    assertFailed(memfd, window, 0);
  }

  /** The file ends before the failure can get at the page. */
  @Test
  void aFileThatEndsLeavesNothingToDo() throws Exception {
    GuestMemfd memfd = file(1);
    int pfn = write(memfd, 0, 42);
    RacePoints.Gate gate = races.hold(RacePoint.RANGE_BUSY);
    Worker<Void> close =
        Worker.start(
            () -> {
              memfd.close();
              return null;
            });
    gate.awaitReached();
    Worker<Errno> failure = Worker.start(() -> walker.memoryFailure(pfn));
    probe.awaitWaiting(failure);
    gate.release();
    close.result();
    assertEquals(Errno.OK, failure.result());
    assertEquals(0, host.used());
    assertEquals(PAGE, host.poisoned());
  }

  /** The page is looked for in the file that has it. */
  @Test
  void anotherFileIsNotTouched() {
    GuestMemfd one = file(2);
    GuestMemfd two = file(2);
    write(one, 0, 1);
    int pfn = write(two, PAGE, 2);
    write(two, 0, 3);
    assertEquals(Errno.OK, walker.memoryFailure(pfn));
    assertEquals(1, read(one, 0));
    assertEquals(3, read(two, 0));
    assertEquals(-Errno.EHWPOISON.code(), two.tryGrab(PAGE, SAFE));
  }

  @Test
  void anOrphanIsTakenOutWithItsLastHolder() {
    GuestMemfd memfd = file(1);
    Folio orphan = memfd.grab(0);
    memfd.punchHole(0, PAGE);
    assertEquals(Errno.OK, walker.memoryFailure(orphan.pfn()));
    assertEquals(PAGE, host.used());
    orphan.close();
    assertEquals(0, host.used());
    assertNotEquals(orphan.pfn(), write(memfd, 0, 1));
  }
}
