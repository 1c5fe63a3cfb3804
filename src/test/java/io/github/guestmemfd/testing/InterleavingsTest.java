package io.github.guestmemfd.testing;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.Mutex;
import io.github.guestmemfd.spi.Wait;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Faults of toy worlds are found, each of its kind, and reported. */
@Timeout(300)
class InterleavingsTest {
  private static final IdleStrategy IDLE = IdleStrategy.spinThenPark();

  /** A word and two locks. */
  private static final class World {
    final Mutex a = new Mutex();
    final Mutex b = new Mutex();
    volatile int word;
    volatile Thread waiter;

    int get() {
      Announce.read(this, 0);
      return word;
    }

    void set(int value) {
      Announce.write(this, 0);
      word = value;
    }

    /** Not atomic: a read and a write. */
    void increment() {
      set(get() + 1);
    }
  }

  private static void requireTwo(World w) {
    if (w.word != 2) {
      throw new AssertionError("expected 2, actual " + w.word);
    }
  }

  private static Interleavings<World> lostUpdate() {
    return Interleavings.of(World::new)
        .thread("one", World::increment)
        .thread("two", World::increment)
        .atEnd(InterleavingsTest::requireTwo);
  }

  @Test
  void aLostUpdateIsFound() {
    Interleavings.Report report = lostUpdate().find();
    assertThat(report.counterexample())
        .hasValueSatisfying(
            text ->
                assertThat(text)
                    .contains(
                        "expected 2, actual 1", "4 steps, 1 pre-emptions", "World.increment"));
    String order = report.order().orElseThrow();
    assertThatThrownBy(() -> lostUpdate().replay(order))
        .isInstanceOf(AssertionError.class)
        .hasMessageContaining("expected 2, actual 1");
    assertThatThrownBy(lostUpdate()::explore).hasMessageContaining("replay(\"" + order + "\")");
  }

  @Test
  void anIncrementUnderALockIsRight() {
    Interleavings.Report report =
        Interleavings.of(World::new)
            .thread("one", InterleavingsTest::lockedIncrement)
            .thread("two", InterleavingsTest::lockedIncrement)
            .atEnd(InterleavingsTest::requireTwo)
            .explore();
    assertThat(report).hasToString("2 orders, complete: yes");
  }

  private static void lockedIncrement(World w) {
    w.a.lock();
    try {
      w.increment();
    } finally {
      w.a.unlock();
    }
  }

  @Test
  void aDeadlockIsFound() {
    Interleavings.Report report =
        Interleavings.of(World::new)
            .thread("one", w -> both(w.a, w.b))
            .thread("two", w -> both(w.b, w.a))
            .find();
    assertThat(report.counterexample())
        .hasValueSatisfying(
            text -> assertThat(text).contains("no thread can go on: one waits for lock Mutex#"));
  }

  private static void both(Mutex first, Mutex second) {
    first.lock();
    second.lock();
    second.unlock();
    first.unlock();
  }

  @Test
  void aLostWakeUpIsFound() {
    Interleavings.Report report = wakeUp(false).find();
    assertThat(report.counterexample())
        .hasValueSatisfying(
            text -> assertThat(text).contains("no thread can go on: waiter is parked"));
  }

  @Test
  void aWakeUpThatLooksAfterItsWriteIsNotLost() {
    assertThat(wakeUp(true).explore().complete()).isTrue();
  }

  private static Interleavings<World> wakeUp(boolean writesFirst) {
    return Interleavings.of(World::new)
        .thread(
            "waiter",
            w -> {
              Announce.write(w, 1);
              w.waiter = Thread.currentThread();
              Wait.await(IDLE, () -> w.get() != 0, Wait.FOREVER);
            })
        .thread(
            "waker",
            w -> {
              if (writesFirst) {
                w.set(1);
              }
              Announce.read(w, 1);
              Thread waiter = w.waiter;
              if (waiter != null) {
                Wait.unpark(waiter);
              }
              if (!writesFirst) {
                w.set(1);
              }
            });
  }

  @Test
  void anEndlessRunIsFound() {
    Interleavings.Report report =
        Interleavings.of(World::new)
            .thread(
                "one",
                w -> {
                  while (w.get() == 0) {
                    w.set(0);
                  }
                })
            .find();
    assertThat(report.counterexample())
        .hasValueSatisfying(text -> assertThat(text).contains("the run does not end after"));
  }

  @Test
  void anInvariantIsLookedAtAfterEachStep() {
    Interleavings.Report report =
        Interleavings.of(World::new)
            .thread(
                "one",
                w -> {
                  w.set(1);
                  w.set(0);
                })
            .thread(
                "two",
                w -> {
                  Announce.write(w, 5);
                  w.waiter = Thread.currentThread();
                })
            .invariant(
                w -> {
                  Announce.read(w, 5);
                  boolean second = w.waiter != null;
                  if (w.get() == 1 && second) {
                    throw new AssertionError("both");
                  }
                })
            .find();
    assertThat(report.counterexample())
        .hasValueSatisfying(text -> assertThat(text).contains("both"));
  }

  @Test
  void anInterruptComesAtEachWait() {
    AtomicInteger interrupted = new AtomicInteger();
    AtomicInteger not = new AtomicInteger();
    Interleavings.Report report =
        Interleavings.of(World::new)
            .thread(
                "waiter",
                w -> {
                  try {
                    Wait.await(IDLE, () -> w.get() != 0, 1_000);
                    not.incrementAndGet();
                  } catch (InterruptedException e) {
                    interrupted.incrementAndGet();
                  }
                })
            .thread("other", w -> w.set(1))
            .interrupt("waiter")
            .explore();
    assertThat(report.complete()).isTrue();
    assertThat(interrupted.get()).isPositive();
    assertThat(not.get()).isPositive();
  }

  @Test
  void aWaitWithALimitEnds() {
    Interleavings.Report report =
        Interleavings.of(World::new)
            .thread(
                "waiter",
                w -> {
                  Wait wait = Wait.upTo(IDLE, 3_600_000_000_000L);
                  if (!wait.until(() -> w.get() != 0)) {
                    w.set(2);
                  }
                })
            .thread("other", w -> w.get())
            .atEnd(InterleavingsTest::requireTwo)
            .explore();
    assertThat(report.complete()).isTrue();
  }

  @Test
  void aBoundIsSaid() {
    Interleavings.Report report = lostUpdate().maxPreemptions(0).explore();
    assertThat(report).hasToString("2 orders, complete: yes, bounded");
  }
}
