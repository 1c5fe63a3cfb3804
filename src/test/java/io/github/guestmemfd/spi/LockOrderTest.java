package io.github.guestmemfd.spi;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.management.ThreadMXBean;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.memory.Accesses;
import io.github.guestmemfd.memory.FrameOwners;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.testing.Interleavings;
import java.io.File;
import java.lang.management.ManagementFactory;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jctools.queues.MessagePassingQueue;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.slf4j.Logger;

/** What is reported, each by a thread that does it wrong, and what is not. */
@Timeout(300)
class LockOrderTest {
  private static final IdleStrategy IDLE = (round, nanos) -> {};

  @BeforeEach
  @AfterEach
  void nothingIsHeld() {
    assertTrue(LockOrder.isOn(), "tests run with assertions on: java -ea");
    LockOrder.forget();
    assertNull(LockOrder.takeReport());
  }

  /** Frames that have been in use. */
  private static final class Frames {
    final FrameTable table = new FrameTable(4, IDLE);
    final int one;
    final int two;
    final int three;

    Frames() {
      FrameOwners.Owner owner = table.newOwner(pfn -> {});
      table.reserve(3);
      one = table.allocate(owner);
      two = table.allocate(owner);
      three = table.allocate(owner);
    }
  }

  private static String reported(Executable wrong) {
    AssertionError report = assertThrows(AssertionError.class, wrong);
    assertSame(report, LockOrder.takeReport(), "it is kept, should it be caught");
    return report.getMessage();
  }

  // ---- locks ----

  /** Of each two classes one comes first, and nothing comes after a leaf. */
  @ParameterizedTest
  @EnumSource(LockClass.class)
  void aLockIsWaitedForAfterThoseOfEarlierClassesAlone(LockClass held) {
    for (LockClass wanted : LockClass.values()) {
      Object other = new Object();
      LockOrder.taken(held, this, 1, 2);
      boolean earlier = !held.isLeaf() && held.compareTo(wanted) < 0;
      boolean ascending = held == LockClass.KEPT_FOLIO_LOCK && wanted == held;
      if (earlier || ascending) {
        LockOrder.beforeWait(wanted, other, 2);
      } else {
        assertThat(reported(() -> LockOrder.beforeWait(wanted, other, 2)))
            .contains("actual: the " + wanted + " is waited for")
            .contains("while the thread holds " + held)
            .contains("folio lock -> lock of a recorder -> window on a mapping -> one of ");
      }
      LockOrder.givenBack(held, this, 1, 2);
    }
  }

  @Test
  void aMutexIsALeaf() {
    Mutex slots = new Mutex(LockClass.SLOTS_LOCK);
    Mutex mmu = new Mutex(LockClass.MMU_LOCK);
    slots.lock();
    assertThat(reported(mmu::lock)).contains("the mmu_lock is waited", "holds slots_lock");
    assertThat(mmu.isHeldByCurrentThread()).isFalse();
    slots.unlock();
    mmu.lock();
    mmu.lock(); // the holder may take it again
    mmu.unlock();
    assertThat(reported(slots::lock)).contains("the slots_lock is waited", "holds mmu_lock");
    mmu.unlock();
    slots.lock();
    slots.unlock();
  }

  @Test
  void twoMutexesOfOneClassAreReported() {
    Mutex one = new Mutex(LockClass.WAIT_QUEUE_LOCK);
    Mutex other = new Mutex(LockClass.WAIT_QUEUE_LOCK);
    one.lock();
    assertThat(reported(other::lock))
        .contains("the lock of a wait queue is waited for", "holds lock of a wait queue");
    one.unlock();
  }

  /** A program takes its own in an order that it knows. */
  @Test
  void aMutexOfAProgramIsNotChecked() {
    Mutex one = new Mutex();
    Mutex other = new Mutex();
    one.lock();
    other.lock();
    assertThatCode(() -> Wait.once(IDLE, 0, 1)).doesNotThrowAnyException();
    one.unlock();
    other.unlock();
  }

  @Test
  void twoFolioLocksAreReportedAlsoWhereBothAreFree() throws InterruptedException {
    Frames frames = new Frames();
    frames.table.lock(frames.one);
    assertThat(reported(() -> frames.table.lock(frames.two)))
        .contains("the folio lock is waited for", "holds folio lock of frame " + frames.one);
    assertThat(reported(() -> frames.table.awaitUnlocked(frames.two)))
        .contains("the folio lock is waited for");
    frames.table.unlock(frames.one);
    frames.table.lock(frames.two);
    frames.table.unlock(frames.two);
  }

  /** Who tries waits for nothing, and so for no thread that waits for it. */
  @Test
  void aLockIsTriedInAnyOrder() {
    Frames frames = new Frames();
    assertTrue(frames.table.tryLock(frames.two));
    assertTrue(frames.table.tryLock(frames.one));
    frames.table.unlock(frames.two);
    assertThat(reported(() -> frames.table.lock(frames.three)))
        .contains("holds folio lock of frame " + frames.one);
    frames.table.unlock(frames.one);
  }

  @Test
  void keptFolioLocksAreTakenInAscendingOrder() throws Exception {
    Object file = new Object();
    KeptLock five = Objects.requireNonNull(LockOrder.kept(file, 5));
    LockOrder.beforeWait(LockClass.KEPT_FOLIO_LOCK, file, 6);
    LockOrder.beforeWait(LockClass.KEPT_FOLIO_LOCK, file, 5); // the library answers EDEADLK
    LockOrder.beforeWait(LockClass.KEPT_FOLIO_LOCK, new Object(), 1); // one file after the other
    assertThat(reported(() -> LockOrder.beforeWait(LockClass.KEPT_FOLIO_LOCK, file, 4)))
        .contains("the kept folio lock is waited for", "holds kept folio lock of page 5");
    LockOrder.taken(LockClass.FOLIO_LOCK, this, 1, 2);
    Worker.start(
            () -> {
              five.giveBack(); // by any thread
              return null;
            })
        .result();
    LockOrder.givenBack(LockClass.FOLIO_LOCK, this, 1, 2);
    LockOrder.beforeWait(LockClass.KEPT_FOLIO_LOCK, file, 4);
  }

  @Test
  void aRangeIsGivenBackInParts() {
    LockOrder.taken(LockClass.INVALIDATE_LOCK, this, 0, 8);
    LockOrder.givenBack(LockClass.INVALIDATE_LOCK, this, 0, 2);
    LockOrder.givenBack(LockClass.INVALIDATE_LOCK, this, 6, 8);
    assertThat(reported(() -> LockOrder.beforeWait(LockClass.INVALIDATE_LOCK, this, 7)))
        .contains("holds invalidate lock of pages 2 to 5");
    assertThat(reported(() -> LockOrder.givenBack(LockClass.INVALIDATE_LOCK, this, 2, 8)))
        .contains("held by the thread; actual: invalidate lock of pages 2 to 7");
    LockOrder.givenBack(LockClass.INVALIDATE_LOCK, this, 2, 6);
    LockOrder.beforeWait(LockClass.INVALIDATE_LOCK, this, 7);
  }

  /** It would be ended twice: the thread that has announced it ends it. */
  @Test
  void anAccessIsEndedByTheThreadThatHasAnnouncedIt() throws Exception {
    Accesses accesses = new Accesses();
    long access = Worker.start(() -> accesses.begin(1, 1)).result();
    assertThat(reported(() -> accesses.end(access)))
        .contains("actual: announced access, while it holds nothing");
  }

  // ---- waits ----

  private static List<Executable> waits() {
    return List.of(
        () -> Wait.once(IDLE, 0, 1),
        () -> Wait.pause(IDLE, 0, 1),
        () -> Wait.await(IDLE, () -> true, 1),
        () -> Wait.awaitUninterruptibly(IDLE, () -> true, 1),
        () -> Wait.upTo(IDLE, 1).briefly(() -> true),
        () -> Wait.upTo(IDLE, 1).until(() -> true));
  }

  /** Also one that is over at once. */
  @Test
  void aWaitWithinAnAnnouncedAccessIsReported() throws Throwable {
    Accesses accesses = new Accesses();
    for (Executable wait : waits()) {
      long access = accesses.begin(1, 1);
      assertThat(reported(wait))
          .contains("a thread that waits", "actual: it holds announced access");
      accesses.end(access);
      wait.execute();
    }
  }

  @Test
  void aWaitUnderAMutexIsReported() throws Throwable {
    Mutex mutex = new Mutex(LockClass.MMU_LOCK);
    for (Executable wait : waits()) {
      mutex.lock();
      assertThat(reported(wait)).contains("a thread that waits", "actual: it holds mmu_lock");
      mutex.unlock();
      wait.execute();
    }
  }

  /** A window is an access still: it may take a leaf, and waits for nothing else. */
  @Test
  void aWaitInAWindowIsReported() throws Throwable {
    Mutex mutex = new Mutex(LockClass.MMU_LOCK);
    LockOrder.taken(LockClass.ACCESS, this, 1, 2);
    assertThat(reported(mutex::lock)).contains("holds announced access");
    LockOrder.turned(LockClass.ACCESS, LockClass.WINDOW);
    mutex.lock();
    mutex.unlock();
    for (Executable wait : waits()) {
      assertThat(reported(wait)).contains("a thread that waits", "actual: it holds window");
    }
    LockOrder.turned(LockClass.WINDOW, LockClass.ACCESS);
    LockOrder.givenBack(LockClass.ACCESS, this, 1, 2);
  }

  /** It does not wait, so it may hold anything. */
  @Test
  void whatMustNotWaitIsNotReported() {
    Mutex mutex = new Mutex(LockClass.MMU_LOCK);
    mutex.lock();
    Wait.withoutWaiting(
        () ->
            assertThatThrownBy(() -> Wait.once(IDLE, 0, 1))
                .isInstanceOf(InterruptedException.class));
    mutex.unlock();
  }

  // ---- callbacks ----

  @ParameterizedTest
  @EnumSource(Callback.class)
  void aCallbackIsCalledWithWhatIsDocumentedAlone(Callback callback) {
    for (LockClass held : LockClass.values()) {
      LockOrder.taken(held, this, 1, 2);
      if (callback.mayHold(held)) {
        LockOrder.beforeCall(callback);
      } else {
        assertThat(reported(() -> LockOrder.beforeCall(callback)))
            .contains("the caller of " + callback, "actual: it holds " + held);
      }
      LockOrder.givenBack(held, this, 1, 2);
    }
  }

  /** A leaf but an access, in which a race hook stands, is held in none. */
  @Test
  void noCallbackIsCalledUnderALeaf() {
    Stream.of(LockClass.values())
        .filter(held -> held.isLeaf() && held != LockClass.ACCESS)
        .forEach(
            held ->
                assertThat(Callback.values())
                    .as(held.toString())
                    .noneMatch(callback -> callback.mayHold(held)));
  }

  // ---- the explorer ----

  private static final class Locks {
    final Mutex slots = new Mutex(LockClass.SLOTS_LOCK);
    final Mutex mmu = new Mutex(LockClass.MMU_LOCK);
    final AtomicInteger steps = new AtomicInteger();

    void leaveLocked(Mutex mutex) {
      Announce.write(steps).incrementAndGet(); // so that there is more than one order
      mutex.lock();
    }
  }

  /** Two threads that would deadlock in few orders: one alone does it wrong in the first. */
  @Test
  void theExplorerReportsAWrongOrderOfOneThread() {
    Interleavings.Report report =
        Interleavings.of(Locks::new)
            .thread(
                "one",
                w -> {
                  w.mmu.lock();
                  try {
                    w.slots.lock();
                  } finally {
                    w.mmu.unlock();
                  }
                })
            .find();
    assertThat(report.counterexample())
        .hasValueSatisfying(
            text -> assertThat(text).contains("the slots_lock is waited for", "holds mmu_lock"));
    assertNotNull(LockOrder.takeReport());
  }

  /** Its threads are used again, with other locks. */
  @Test
  void whatAScenarioLeavesLockedIsNotHeldInTheNext() {
    Interleavings.Report report =
        Interleavings.of(Locks::new)
            .thread("one", w -> w.leaveLocked(w.mmu))
            .thread("two", w -> w.leaveLocked(w.slots))
            .find();
    assertThat(report.counterexample()).isEmpty();
    assertThat(report.orders()).isGreaterThan(1);
  }

  // ---- off ----

  /** Run by {@link #itIsOffWithoutAssertionsAndMakesNoObjects} in a JVM without assertions. */
  static final class Off {
    private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

    private Off() {}

    public static void main(String[] args) throws InterruptedException {
      Mutex mmu = new Mutex(LockClass.MMU_LOCK);
      Mutex slots = new Mutex(LockClass.SLOTS_LOCK);
      Frames frames = new Frames();
      Accesses accesses = new Accesses();
      long least = Long.MAX_VALUE; // the first rounds, and some later, have the JVM make things
      long before = 0;
      for (int i = 0; i < 1000; i++) {
        if (i % 100 == 0) {
          long now = THREADS.getCurrentThreadAllocatedBytes();
          least = i == 0 ? least : Math.min(least, now - before);
          before = now;
        }
        mmu.lock();
        slots.lock();
        frames.table.lock(frames.one);
        long access = accesses.begin(1, 1);
        LockOrder.beforeCall(Callback.DEPENDENT);
        Wait.once(IDLE, 0, 1);
        accesses.end(access);
        frames.table.unlock(frames.one);
        slots.unlock();
        mmu.unlock();
      }
      System.out.println(
          "on="
              + LockOrder.isOn()
              + " kept="
              + (LockOrder.kept(mmu, 1) != null)
              + " bytes="
              + least / 100);
    }
  }

  @Test
  void itIsOffWithoutAssertionsAndMakesNoObjects() throws Exception {
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-da",
                "-cp",
                classPath(),
                Off.class.getName())
            .redirectError(ProcessBuilder.Redirect.INHERIT)
            .start();
    String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, process.waitFor());
    assertEquals("on=false kept=false bytes=0", said.strip());
  }

  /** The library and the tests, also where they are modules. */
  private static String classPath() {
    String path =
        Stream.of(Off.class, LockOrder.class, Logger.class, MessagePassingQueue.class)
            .map(c -> c.getProtectionDomain().getCodeSource().getLocation())
            .map(location -> Path.of(URI.create(location.toString())).toString())
            .distinct()
            .collect(Collectors.joining(File.pathSeparator));
    return path.contains("test-classes")
        ? path
        : path + File.pathSeparator + Path.of("target", "test-classes");
  }
}
