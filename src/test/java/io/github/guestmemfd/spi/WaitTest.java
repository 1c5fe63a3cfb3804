package io.github.guestmemfd.spi;

import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** How a thread waits, and what ends its wait. */
@Timeout(300)
class WaitTest {
  private static final IdleStrategy FAILS =
      (round, maxNanos) -> {
        throw new AssertionError("idled");
      };

  /** The rounds that have been idled, and the longest time that each was allowed. */
  private final List<Integer> rounds = new ArrayList<>();

  private final List<Long> limits = new ArrayList<>();

  private final IdleStrategy recording =
      (round, maxNanos) -> {
        rounds.add(round);
        limits.add(maxNanos);
      };

  @AfterEach
  void noInterruptIsLeft() {
    assertFalse(Thread.interrupted());
  }

  private static boolean never() {
    return false;
  }

  /** A condition that holds once so many rounds have been idled. */
  private BooleanSupplier after(int n) {
    return () -> rounds.size() >= n;
  }

  private IdleStrategy interruptingAt(int at) {
    return (round, maxNanos) -> {
      recording.idle(round, maxNanos);
      if (rounds.size() == at + 1) {
        Thread.currentThread().interrupt();
      }
    };
  }

  // ---- await ----

  @Test
  void aConditionThatHoldsEndsTheWaitWhateverTheThread() throws Exception {
    Thread.currentThread().interrupt();
    Wait.await(FAILS, () -> true, 1);
    Wait.awaitUninterruptibly(FAILS, () -> true, 1);
    assertTrue(Wait.upTo(FAILS, 0).briefly(() -> true));
    assertTrue(Wait.upTo(FAILS, -1).until(() -> true));
    Wait.withoutWaiting(
        () -> {
          try {
            Wait.await(FAILS, () -> true, 1);
          } catch (InterruptedException e) {
            throw new AssertionError(e);
          }
          assertFalse(Wait.isRefused());
        });
    assertTrue(Thread.interrupted(), "the interrupt was for another wait");
  }

  @Test
  void countsItsRoundsFromZero() throws Exception {
    Wait.await(recording, after(3), 7);
    assertEquals(List.of(0, 1, 2), rounds);
    assertEquals(List.of(7L, 7L, 7L), limits);
  }

  @Test
  void anInterruptBeforeEndsTheWait() {
    Thread.currentThread().interrupt();
    assertThrows(InterruptedException.class, () -> Wait.await(FAILS, WaitTest::never, 1));
    assertFalse(Thread.currentThread().isInterrupted(), "it has become the exception");
  }

  @Test
  void anInterruptMeanwhileEndsTheWait() {
    InterruptedException e =
        assertThrows(
            InterruptedException.class, () -> Wait.await(interruptingAt(5), WaitTest::never, 1));
    assertEquals(6, rounds.size());
    assertFalse(Thread.currentThread().isInterrupted());
    Wait.restore(e);
    assertTrue(Thread.interrupted());
  }

  @Test
  void whatTheStrategyThrowsEndsTheWait() {
    assertThrows(AssertionError.class, () -> Wait.await(FAILS, WaitTest::never, 1));
  }

  // ---- awaitUninterruptibly ----

  @Test
  void anInterruptIsKeptForLater() {
    Thread.currentThread().interrupt(); // before
    AtomicInteger interruptedInside = new AtomicInteger();
    IdleStrategy idle =
        (round, maxNanos) -> {
          interruptingAt(5).idle(round, maxNanos); // and meanwhile
          if (round == 0 && Thread.currentThread().isInterrupted()) {
            interruptedInside.incrementAndGet();
          }
        };
    Wait.awaitUninterruptibly(idle, after(10), 1);
    assertEquals(10, rounds.size());
    assertEquals(0, interruptedInside.get(), "else no round could sleep");
    assertTrue(Thread.interrupted());
  }

  @Test
  void whatTheStrategyThrowsIsThrownWhenTheConditionHolds() {
    AtomicInteger looks = new AtomicInteger();
    BooleanSupplier condition = () -> looks.incrementAndGet() > 20;
    AssertionError error = new AssertionError("planned");
    assertSame(
        error,
        assertThrows(
            AssertionError.class,
            () ->
                Wait.awaitUninterruptibly(
                    (round, maxNanos) -> {
                      throw error;
                    },
                    condition,
                    1)));
    assertEquals(21, looks.get());
    looks.set(0);
    IllegalStateException exception = new IllegalStateException("planned");
    assertSame(
        exception,
        assertThrows(
            IllegalStateException.class,
            () ->
                Wait.awaitUninterruptibly(
                    (round, maxNanos) -> {
                      throw exception;
                    },
                    condition,
                    1)));
    assertEquals(21, looks.get());
  }

  @Test
  void anAttemptCannotRefuseWhatCannotBeGivenUp() {
    Wait.withoutWaiting(
        () -> {
          Wait.awaitUninterruptibly(recording, after(3), 1);
          assertFalse(Wait.isRefused());
        });
    assertEquals(3, rounds.size());
  }

  // ---- a wait in parts ----

  @Test
  void aWaitInPartsIsShortAtFirstAndCountsOn() throws Exception {
    Wait wait = Wait.upTo(recording, Wait.FOREVER);
    assertFalse(wait.briefly(WaitTest::never));
    assertEquals(Wait.BRIEF_ROUNDS, rounds.size());
    assertTrue(limits.stream().allMatch(n -> n <= 1_000), "no thread would end a long sleep");
    assertFalse(wait.isTimeUp());
    assertTrue(wait.until(after(Wait.BRIEF_ROUNDS + 2)));
    for (int i = 0; i < rounds.size(); i++) {
      assertEquals(i, rounds.get(i));
    }
    assertEquals(Wait.FOREVER, limits.get(Wait.BRIEF_ROUNDS));
  }

  @Test
  void endsWhenTheTimeIsUp() throws Exception {
    for (long nanos : new long[] {Long.MIN_VALUE, -1, 0}) {
      Wait wait = Wait.upTo(FAILS, nanos);
      assertTrue(wait.isTimeUp());
      assertFalse(wait.briefly(WaitTest::never));
      assertFalse(wait.until(WaitTest::never));
    }
    Wait wait = Wait.upTo(recording, 2_000_000);
    assertFalse(wait.until(WaitTest::never));
    assertTrue(wait.isTimeUp());
    assertTrue(limits.stream().allMatch(n -> n > 0 && n <= 2_000_000));
  }

  @Test
  void anInterruptEndsEveryPart() {
    Wait wait = Wait.upTo(recording, Wait.FOREVER);
    Thread.currentThread().interrupt();
    assertThrows(InterruptedException.class, () -> wait.briefly(WaitTest::never));
    Thread.currentThread().interrupt();
    assertThrows(InterruptedException.class, () -> wait.until(WaitTest::never));
    assertEquals(List.of(), rounds);
  }

  // ---- pause ----

  @Test
  void aPauseIdlesOnceOrNotAtAll() {
    assertTrue(Wait.pause(recording, 4, 9));
    assertEquals(List.of(4), rounds);
    assertEquals(List.of(9L), limits);
    Thread.currentThread().interrupt();
    assertFalse(Wait.pause(FAILS, 5, 9));
    assertTrue(Thread.interrupted(), "the status stays");
    Wait.withoutWaiting(() -> assertFalse(Wait.pause(FAILS, 5, 9)));
  }

  @Test
  void onceIdlesOrThrows() throws Exception {
    Wait.once(recording, 4, 9);
    assertEquals(List.of(4), rounds);
    assertEquals(List.of(9L), limits);
    Thread.currentThread().interrupt();
    assertThrows(InterruptedException.class, () -> Wait.once(FAILS, 5, 9));
    assertFalse(Thread.interrupted(), "the status is cleared");
  }

  // ---- interrupts ----

  /** A thread that must not wait may go on with what waits for nothing. */
  @Test
  void onlyAnInterruptEndsWhatWaitsForNothing() throws Exception {
    Wait.checkInterrupt();
    Wait.withoutWaiting(() -> assertDoesNotThrow(Wait::checkInterrupt));
    assertFalse(Wait.isRefused());
    Thread.currentThread().interrupt();
    assertThrows(InterruptedException.class, Wait::checkInterrupt);
    assertFalse(Thread.interrupted(), "the status is cleared");
  }

  @Test
  void anInterruptIsKeptFromAStepAndSetAgain() {
    Thread.currentThread().interrupt();
    Wait.keepingInterrupt(() -> assertFalse(Thread.currentThread().isInterrupted()));
    assertTrue(Thread.interrupted());
    Wait.keepingInterrupt(() -> assertFalse(Thread.currentThread().isInterrupted()));
    assertFalse(Thread.interrupted(), "there was none");
  }

  @Test
  void anInterruptIsSetAgainAlsoIfTheStepThrows() {
    Thread.currentThread().interrupt();
    IllegalStateException thrown = new IllegalStateException();
    assertSame(
        thrown,
        assertThrows(
            IllegalStateException.class,
            () ->
                Wait.keepingInterrupt(
                    () -> {
                      throw thrown;
                    })));
    assertTrue(Thread.interrupted());
  }

  // ---- blockUninterruptibly ----

  @Test
  void blocksThroughAnInterrupt() {
    CountDownLatch latch = new CountDownLatch(1);
    AtomicInteger calls = new AtomicInteger();
    Thread.currentThread().interrupt();
    assertTrue(
        Wait.blockUninterruptibly(
            nanos -> {
              if (calls.incrementAndGet() == 2) {
                latch.countDown();
              }
              return latch.await(nanos, TimeUnit.NANOSECONDS);
            },
            TimeUnit.SECONDS.toNanos(30)));
    assertEquals(2, calls.get());
    assertTrue(Thread.interrupted());
  }

  @Test
  void blocksUpToATime() {
    CountDownLatch latch = new CountDownLatch(1);
    assertFalse(
        Wait.blockUninterruptibly(nanos -> latch.await(nanos, TimeUnit.NANOSECONDS), 1_000_000));
    assertFalse(
        Wait.blockUninterruptibly(
            nanos -> latch.await(nanos, TimeUnit.NANOSECONDS), Long.MIN_VALUE));
  }

  // ---- withoutWaiting ----

  @Test
  void anAttemptEndsAtItsFirstWait() throws Exception {
    Wait.withoutWaiting(
        () -> {
          assertFalse(Wait.isRefused());
          InterruptedException e =
              assertThrows(InterruptedException.class, () -> Wait.await(FAILS, WaitTest::never, 1));
          assertTrue(Wait.isRefused());
          assertFalse(Wait.isDeadlock(e));
          Wait.restore(e);
          assertFalse(Thread.currentThread().isInterrupted(), "there was no interrupt");
        });
    assertFalse(Wait.isRefused());
    Wait.await(recording, after(1), 1); // it may wait again
  }

  /** The outer attempt's answer is its own, whatever the inner one came to. */
  @Test
  void attemptsNest() {
    Wait.withoutWaiting(
        () -> {
          Wait.withoutWaiting(
              () -> {
                assertThrows(InterruptedException.class, Wait::check);
                assertTrue(Wait.isRefused());
              });
          assertFalse(Wait.isRefused());
          assertThrows(InterruptedException.class, Wait::check, "the outer one is still under way");
          assertTrue(Wait.isRefused());
          Wait.withoutWaiting(() -> assertFalse(Wait.isRefused()));
          assertTrue(Wait.isRefused());
        });
    assertFalse(Wait.isRefused());
  }

  @Test
  void anAttemptThatThrowsIsOver() throws Exception {
    assertThrows(
        IllegalStateException.class,
        () ->
            Wait.withoutWaiting(
                () -> {
                  throw new IllegalStateException("planned");
                }));
    Wait.check();
  }

  @Test
  void anInterruptOfAnAttemptIsAnInterrupt() {
    Wait.withoutWaiting(
        () -> {
          Thread.currentThread().interrupt();
          InterruptedException e = assertThrows(InterruptedException.class, Wait::check);
          assertFalse(Wait.isRefused());
          Wait.restore(e);
          assertTrue(Thread.interrupted());
        });
  }

  // ---- deadlock ----

  @Test
  void aDeadlockIsNoInterrupt() {
    InterruptedException e = Wait.deadlock();
    assertTrue(Wait.isDeadlock(e));
    assertFalse(Wait.isDeadlock(new InterruptedException()));
    Wait.restore(e);
    assertFalse(Thread.currentThread().isInterrupted());
  }

  /** The heap may be full when the end of a file waits. */
  @Test
  void waitsWithoutALimitAllocateNothing() throws InterruptedException {
    com.sun.management.ThreadMXBean threads =
        (com.sun.management.ThreadMXBean) java.lang.management.ManagementFactory.getThreadMXBean();
    IdleStrategy idle = IdleStrategy.busySpin();
    for (int i = 0; i < 100_000; i++) {
      Wait.awaitUninterruptibly(idle, () -> true, 1_000);
      Wait.await(idle, () -> true, 1_000);
    }
    long before = threads.getCurrentThreadAllocatedBytes();
    for (int i = 0; i < 100_000; i++) {
      Wait.awaitUninterruptibly(idle, () -> true, 1_000);
      Wait.await(idle, () -> true, 1_000);
    }
    long each = (threads.getCurrentThreadAllocatedBytes() - before) / 100_000;
    assertEquals(0, each);
  }
}
