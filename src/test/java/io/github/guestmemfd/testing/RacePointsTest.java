package io.github.guestmemfd.testing;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.spi.RacePoint.ACCESS_IN_FLIGHT;
import static io.github.guestmemfd.spi.RacePoint.AFTER_COMMIT;
import static io.github.guestmemfd.spi.RacePoint.AFTER_LOOKUP;
import static io.github.guestmemfd.spi.RacePoint.BEFORE_COMMIT;
import static io.github.guestmemfd.spi.RacePoint.BEFORE_MMU_LOCK;
import static io.github.guestmemfd.spi.RacePoint.RANGE_BUSY;
import static io.github.guestmemfd.spi.RacePoint.WALKER_HOLDS_REFERENCE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.PfnWalker;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.spi.RacePoint;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(300)
class RacePointsTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;

  private final RacePoints races = new RacePoints();

  /** Its limit is over as soon as it is asked for, or nearly so. */
  private final RacePoints impatient = new RacePoints(Duration.ofMillis(10));

  private final List<String> log = new ArrayList<>();

  private static Worker<?> pass(RacePoints races, RacePoint point, long index) {
    return Worker.start(
        () -> {
          races.at(point, index);
          return null;
        });
  }

  private static Throwable[] failuresOf(RacePoints races) {
    AssertionError failed = assertThrows(AssertionError.class, races::check);
    races.check(); // reports nothing twice
    for (Throwable e : failed.getSuppressed()) {
      assertThat(failed).hasMessageContaining(e.toString());
    }
    return failed.getSuppressed();
  }

  // ---- actions ----

  @Test
  void anActionRunsOnceInTheThreadThatPasses() {
    races.at(AFTER_LOOKUP, () -> log.add(Thread.currentThread().getName()));
    races.at(BEFORE_COMMIT, 5);
    assertEquals(List.of(), log);
    races.at(AFTER_LOOKUP, 5);
    races.at(AFTER_LOOKUP, 5);
    assertEquals(List.of(Thread.currentThread().getName()), log);
    races.check();
  }

  @Test
  void eachPassTakesTheNextAction() {
    races.at(AFTER_LOOKUP, () -> log.add("first"));
    races.at(BEFORE_COMMIT, () -> log.add("elsewhere"));
    races.at(AFTER_LOOKUP, () -> log.add("second"));
    races.at(AFTER_LOOKUP, 0);
    assertEquals(List.of("first"), log);
    races.at(AFTER_LOOKUP, 0);
    assertEquals(List.of("first", "second"), log);
    races.at(BEFORE_COMMIT, 0);
    races.check();
  }

  @Test
  void anActionMayPassThePointItself() {
    races.at(
        AFTER_LOOKUP,
        () -> {
          log.add("outer");
          races.at(AFTER_LOOKUP, 0);
          log.add("end");
        });
    races.at(AFTER_LOOKUP, () -> log.add("inner"));
    races.at(AFTER_LOOKUP, 0);
    assertEquals(List.of("outer", "inner", "end"), log);
    races.check();
  }

  @Test
  void anActionForAPageWaitsForThatPage() {
    races.at(AFTER_LOOKUP, 2L * PAGE, () -> log.add("page 2"));
    races.at(AFTER_LOOKUP, 4L * PAGE - 1, () -> log.add("page 3"));
    races.at(AFTER_LOOKUP, 1L << 62, () -> log.add("a far page"));
    races.at(AFTER_LOOKUP, () -> log.add("any page"));
    races.at(AFTER_LOOKUP, 0);
    races.at(AFTER_LOOKUP, 1);
    races.at(AFTER_LOOKUP, 4);
    races.at(BEFORE_COMMIT, 2);
    assertEquals(List.of("any page"), log);
    races.at(AFTER_LOOKUP, 3);
    races.at(AFTER_LOOKUP, 2);
    races.at(AFTER_LOOKUP, 2);
    races.at(AFTER_LOOKUP, 1L << 50);
    assertEquals(List.of("any page", "page 3", "page 2", "a far page"), log);
    races.check();
  }

  @Test
  void theLibrarySaysWhichPage() {
    try (HostMemory host = HostMemory.builder(16L * PAGE).raceHook(races).build();
        GuestMemfd memfd =
            GuestMemfd.builder(host).size(8L * PAGE).flags(MMAP, INIT_SHARED).build()) {
      races.at(AFTER_LOOKUP, 3L * PAGE, () -> log.add("page 3"));
      memfd.allocate(0, 8L * PAGE);
      memfd.grab(2L * PAGE).close();
      assertEquals(List.of(), log);
      memfd.grab(3L * PAGE).close();
      assertEquals(List.of("page 3"), log);
      races.at(RANGE_BUSY, 5L * PAGE, () -> log.add("range from 5"));
      memfd.makeInaccessible(4L * PAGE, 4L * PAGE);
      assertEquals(List.of("page 3"), log);
      memfd.makeAccessible(5L * PAGE, 2L * PAGE);
      assertEquals(List.of("page 3", "range from 5"), log);
    }
    races.check();
  }

  @Test
  void theLibrarySaysWhichFile() {
    try (HostMemory host = HostMemory.builder(16L * PAGE).raceHook(races).build();
        HostMemory elsewhere = HostMemory.builder(16L * PAGE).raceHook(races).build();
        GuestMemfd one = shared(host);
        GuestMemfd other = shared(host);
        GuestMemfd foreign = shared(elsewhere);
        HostMapping window = other.mmap(0, 4L * PAGE, Protection.READ, Protection.WRITE)) {
      races.at(BEFORE_COMMIT, other, () -> log.add("other"));
      races.at(BEFORE_COMMIT, () -> log.add("any"));
      foreign.makeInaccessible(0, PAGE);
      one.makeInaccessible(0, PAGE);
      assertEquals(List.of("any"), log);
      other.makeInaccessible(0, PAGE);
      assertEquals(List.of("any", "other"), log);
      races.check();

      log.clear();
      races.at(AFTER_LOOKUP, other, PAGE, () -> log.add("page 1"));
      races.at(ACCESS_IN_FLIGHT, other, PAGE, () -> log.add("store"));
      one.grab(PAGE).close();
      other.grab(2L * PAGE).close();
      other.grab(PAGE).close();
      other.grab(PAGE).close();
      window.putLong(PAGE, 1);
      assertEquals(List.of("page 1", "store"), log);

      log.clear();
      races.at(WALKER_HOLDS_REFERENCE, other, () -> log.add("walker"));
      PfnWalker walker = host.pfnWalker();
      for (GuestMemfd memfd : List.of(one, other)) {
        try (Folio folio = memfd.grab(PAGE)) {
          assertEquals(List.of(), log);
          walker.scan(folio.pfn());
        }
      }
      assertEquals(List.of("walker"), log);
    }
    races.check();
  }

  private static GuestMemfd shared(HostMemory host) {
    return GuestMemfd.builder(host).size(4L * PAGE).flags(MMAP, INIT_SHARED).build();
  }

  @Test
  void aGateOfOneFileLetsAnotherPass() throws Exception {
    try (HostMemory host = HostMemory.builder(16L * PAGE).raceHook(races).build();
        GuestMemfd one = shared(host);
        GuestMemfd other = shared(host);
        GuestMemfd same = other.dup()) {
      Worker<?> converter;
      try (RacePoints.Gate gate = races.hold(RANGE_BUSY, other);
          RacePoints.Gate atPage = races.hold(AFTER_COMMIT, same, PAGE)) {
        one.makeInaccessible(PAGE, PAGE);
        converter =
            Worker.start(
                () -> {
                  same.makeInaccessible(PAGE, PAGE);
                  return null;
                });
        gate.awaitReached();
        one.makeAccessible(PAGE, PAGE);
        gate.release();
        atPage.awaitReached();
      }
      converter.result();
      assertFalse(other.isAccessible(PAGE));
      assertTrue(one.isAccessible(PAGE));

      GuestMemfd gone = shared(host);
      gone.close();
      impatient.hold(RANGE_BUSY, gone);
      impatient.at(RANGE_BUSY, gone, PAGE, () -> {});
      assertThat(failuresOf(impatient))
          .extracting(Throwable::getMessage)
          .containsExactly(
              "no thread came to RANGE_BUSY of " + gone.fileKey(),
              "no thread came to RANGE_BUSY at offset 0x1000 of " + gone.fileKey());
    }
    races.check();
  }

  @Test
  void aVirtualMachineSaysWhichFile() {
    VirtualMachine vm = VirtualMachine.builder().raceHook(races).build();
    try (HostMemory host = HostMemory.builder(16L * PAGE).raceHook(races).build();
        GuestMemfd one = vm.createGuestMemfd(describe(host));
        GuestMemfd other = vm.createGuestMemfd(describe(host))) {
      vm.bind(0, 0, PAGE, one, 0);
      vm.bind(1, PAGE, PAGE, other, 0);
      races.at(BEFORE_MMU_LOCK, other, () -> log.add("fault"));
      races.at(ACCESS_IN_FLIGHT, other, PAGE, () -> log.add("access"));
      Vcpu vcpu = vm.createVcpu();
      vcpu.write(0, 8, 1, PRIVATE);
      assertEquals(List.of(), log);
      vcpu.write(PAGE, 8, 1, PRIVATE);
      assertEquals(List.of("fault", "access"), log);
    }
    races.check();
  }

  private static GuestMemfd.Builder describe(HostMemory host) {
    return GuestMemfd.builder(host).size(PAGE);
  }

  /** A hook that does not tell files apart is called at every point. */
  @Test
  void aHookNeedNotTellFilesApart() {
    List<RacePoint> passed = new ArrayList<>();
    try (HostMemory host = HostMemory.builder(PAGE).raceHook((p, index) -> passed.add(p)).build();
        GuestMemfd memfd = describe(host).build()) {
      memfd.grab(0).close();
    }
    assertThat(passed).contains(RacePoint.BEFORE_FOLIO_LOCK, RacePoint.BEFORE_HOST_CLOSE);
  }

  @Test
  void oneOfManyThreadsTakesEachAction() throws Exception {
    int threads = 4;
    int passes = 20_000;
    AtomicInteger[] runs = new AtomicInteger[threads * passes];
    for (int i = 0; i < runs.length; i++) {
      runs[i] = new AtomicInteger();
      races.at(AFTER_LOOKUP, runs[i]::incrementAndGet);
    }
    CyclicBarrier start = new CyclicBarrier(threads);
    List<Worker<?>> workers = new ArrayList<>();
    for (int t = 0; t < threads; t++) {
      workers.add(
          Worker.start(
              () -> {
                start.await();
                for (int i = 0; i < passes; i++) {
                  races.at(AFTER_LOOKUP, i);
                }
                return null;
              }));
    }
    for (Worker<?> worker : workers) {
      worker.result();
    }
    assertThat(runs).extracting(AtomicInteger::get).containsOnly(1);
    races.check();
  }

  // ---- failures ----

  @Test
  void aFailureDoesNotReachTheLibraryAndIsReported() {
    IOException failure = new IOException("planned");
    try (HostMemory host = HostMemory.builder(PAGE).raceHook(races).build();
        GuestMemfd memfd = GuestMemfd.builder(host).size(PAGE).build()) {
      memfd.allocate(0, PAGE);
      races.at(
          AFTER_LOOKUP,
          () -> {
            throw failure;
          });
      memfd.grab(0).close();
    }
    assertArrayEquals(new Throwable[] {failure}, failuresOf(races));
  }

  @Test
  void anInterruptedActionLeavesTheInterruptToTheLibrary() {
    races.at(
        AFTER_LOOKUP,
        () -> {
          throw new InterruptedException("planned");
        });
    races.at(AFTER_LOOKUP, 0);
    assertTrue(Thread.interrupted());
    assertThat(failuresOf(races)).hasOnlyElementsOfType(InterruptedException.class).hasSize(1);
  }

  @Test
  void everythingIsReportedAndThenForgotten() {
    AssertionError first = new AssertionError("one");
    IllegalStateException second = new IllegalStateException("two");
    races.at(
        AFTER_LOOKUP,
        () -> {
          throw first;
        });
    races.at(
        AFTER_LOOKUP,
        () -> {
          throw second;
        });
    races.at(BEFORE_COMMIT, () -> log.add("too late"));
    races.at(BEFORE_COMMIT, 3L * PAGE, () -> log.add("too late"));
    races.hold(AFTER_COMMIT);
    races.hold(AFTER_COMMIT, PAGE);
    races.gate();
    races.at(AFTER_LOOKUP, 0);
    races.at(AFTER_LOOKUP, 0);

    Throwable[] failures = failuresOf(races);
    assertSame(first, failures[0]);
    assertSame(second, failures[1]);
    assertThat(failures)
        .extracting(Throwable::getMessage)
        .containsExactly(
            "one",
            "two",
            "no thread came to BEFORE_COMMIT",
            "no thread came to BEFORE_COMMIT at offset 0x3000",
            "no thread came to AFTER_COMMIT",
            "no thread came to AFTER_COMMIT at offset 0x1000",
            "no thread came to a gate");
    for (int i = 2; i < failures.length; i++) {
      assertThat(failures[i].getStackTrace())
          .as("who planned it")
          .anyMatch(frame -> frame.getClassName().equals(getClass().getName()));
    }

    races.at(BEFORE_COMMIT, 3);
    races.at(BEFORE_COMMIT, 3);
    races.at(AFTER_COMMIT, 1);
    assertEquals(List.of(), log);
    races.check();
  }

  @Test
  void closeChecks() {
    races.at(AFTER_LOOKUP, () -> {});
    assertThrows(AssertionError.class, races::close);
    races.close();
  }

  /** Else a failure that comes a little later than the end of the test would be lost. */
  @Test
  void theCheckWaitsForAnActionUnderWay() throws Exception {
    CountDownLatch inside = new CountDownLatch(1);
    CountDownLatch end = new CountDownLatch(1);
    AssertionError failure = new AssertionError("planned");
    races.at(
        AFTER_LOOKUP,
        () -> {
          inside.countDown();
          end.await();
          throw failure;
        });
    Worker<?> passing = pass(races, AFTER_LOOKUP, 0);
    inside.await();
    Worker<Throwable[]> check = Worker.start(() -> failuresOf(races));
    while (check.thread().getState() != Thread.State.TIMED_WAITING && !check.isDone()) {
      Thread.onSpinWait();
    }
    assertFalse(check.isDone());
    end.countDown();
    assertArrayEquals(new Throwable[] {failure}, check.result());
    passing.result();
  }

  @Test
  void anActionThatDoesNotEndIsReported() throws Exception {
    CountDownLatch inside = new CountDownLatch(1);
    CountDownLatch end = new CountDownLatch(1);
    impatient.at(
        AFTER_LOOKUP,
        () -> {
          inside.countDown();
          end.await();
        });
    Worker<?> passing = pass(impatient, AFTER_LOOKUP, 0);
    inside.await();
    AssertionError failed = assertThrows(AssertionError.class, impatient::check);
    assertThat(failed.getSuppressed())
        .extracting(Throwable::getMessage)
        .containsExactly("still at AFTER_LOOKUP after PT0.01S");
    end.countDown();
    passing.result();
    impatient.check();
  }

  // ---- gates ----

  @Test
  void aGateHoldsAThreadUntilItIsReleased() throws Exception {
    Worker<?> passing;
    try (RacePoints.Gate gate = races.hold(AFTER_LOOKUP, 2L * PAGE)) {
      races.at(AFTER_LOOKUP, 1);
      passing = pass(races, AFTER_LOOKUP, 2);
      gate.awaitReached();
      assertStands(passing);
      races.at(AFTER_LOOKUP, 2); // one thread for one gate
    }
    passing.result();
    races.check();
  }

  @Test
  void aGateThatIsOpenHoldsNobody() throws Exception {
    RacePoints.Gate gate = races.hold(AFTER_LOOKUP);
    gate.release();
    races.at(AFTER_LOOKUP, 0);
    gate.awaitReached();
    races.check();
  }

  @Test
  void aGateOfACallbackHoldsWhoeverComes() throws Exception {
    RacePoints.Gate gate = races.gate();
    Worker<?> callback =
        Worker.start(
            () -> {
              gate.pass();
              return null;
            });
    gate.awaitReached();
    assertStands(callback);
    gate.release();
    callback.result();
    gate.pass();
    races.check();
  }

  @Test
  void anInterruptDoesNotOpenAGateAndIsNotLost() throws Exception {
    RacePoints.Gate gate = races.hold(AFTER_LOOKUP);
    Worker<Boolean> passing =
        Worker.start(
            () -> {
              races.at(AFTER_LOOKUP, 0);
              return Thread.currentThread().isInterrupted();
            });
    gate.awaitReached();
    passing.interruptAndAwait();
    assertStands(passing);
    gate.release();
    assertTrue(passing.result());
    races.check();
  }

  @Test
  void theCheckOpensAGate() throws Exception {
    RacePoints.Gate gate = races.hold(AFTER_LOOKUP);
    Worker<?> passing = pass(races, AFTER_LOOKUP, 0);
    gate.awaitReached();
    races.check();
    passing.result();
  }

  @Test
  void aGateThatIsForgottenIsAFailureAndNoHang() {
    impatient.hold(AFTER_LOOKUP);
    impatient.at(AFTER_LOOKUP, 0);
    impatient.gate().pass();
    assertThat(failuresOf(impatient))
        .extracting(Throwable::getMessage)
        .containsExactly("held at AFTER_LOOKUP for PT0.01S", "held at a gate for PT0.01S");
  }

  @Test
  void aGateThatNobodyComesToIsAFailureAndNoHang() {
    RacePoints.Gate gate = impatient.hold(AFTER_LOOKUP, PAGE);
    AssertionError e = assertThrows(AssertionError.class, gate::awaitReached);
    assertThat(e).hasMessage("no thread came to AFTER_LOOKUP at offset 0x1000 within PT0.01S");
    assertThat(failuresOf(impatient)).hasSize(1);
  }

  // ---- arguments ----

  @Test
  void offsetsAndLimitsAreChecked() {
    assertThrows(IllegalArgumentException.class, () -> races.at(AFTER_LOOKUP, -1, () -> {}));
    assertThrows(IllegalArgumentException.class, () -> races.hold(AFTER_LOOKUP, -1));
    assertThrows(IllegalArgumentException.class, () -> new RacePoints(Duration.ZERO));
    assertThrows(IllegalArgumentException.class, () -> new RacePoints(Duration.ofNanos(-1)));
    races.check();
  }

  private static void assertStands(Worker<?> worker) {
    while (worker.thread().getState() != Thread.State.TIMED_WAITING) {
      assertFalse(worker.isDone(), "was not held");
      Thread.onSpinWait();
    }
  }
}
