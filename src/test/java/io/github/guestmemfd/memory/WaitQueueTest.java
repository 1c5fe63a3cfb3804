package io.github.guestmemfd.memory;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.fixtures.NoScheduler;
import io.github.guestmemfd.fixtures.WaitProbe;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.Exploration;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.Scheduler;
import io.github.guestmemfd.spi.Wait;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Waiting for a word to change. */
@Timeout(300)
class WaitQueueTest {

  private final WaitQueue queue = new WaitQueue();
  private final WaitProbe probe = new WaitProbe();

  /**
   * Two threads hand a turn to each other. They park as soon as they are queued, and for ever: one
   * wake-up lost, and both sleep.
   */
  @Test
  void losesNoWakeUp() throws Exception {
    IdleStrategy parkAtOnce =
        (round, maxNanos) -> {
          if (maxNanos == Long.MAX_VALUE) {
            LockSupport.park();
          }
        };
    AtomicInteger turn = new AtomicInteger();
    int handOffs = 100_000;
    List<Worker<?>> workers = new ArrayList<>();
    for (int i = 0; i < 2; i++) {
      int me = i;
      workers.add(
          Worker.start(
              () -> {
                for (int n = me; n < handOffs; n += 2) {
                  int mine = n;
                  assertTrue(queue.await(me, () -> turn.get() == mine, parkAtOnce, Long.MAX_VALUE));
                  turn.set(mine + 1);
                  queue.wake(1 - me, 2 - me);
                }
                return null;
              }));
    }
    for (Worker<?> worker : workers) {
      worker.result();
    }
    assertEquals(handOffs, turn.get());
    assertEquals(0, queue.size());
  }

  @Test
  void endsAtOnceWhenTheConditionHolds() throws Exception {
    IdleStrategy never =
        (round, maxNanos) -> {
          throw new AssertionError("idled");
        };
    assertTrue(queue.await(1, () -> true, never, 0));
    assertTrue(queue.await(1, () -> true, never, Long.MAX_VALUE));
    Thread.currentThread().interrupt();
    assertTrue(queue.await(1, () -> true, never, Long.MAX_VALUE));
    assertTrue(Thread.interrupted(), "the interrupt was not for the wait");
  }

  @Test
  void endsWhenTheTimeIsUp() throws Exception {
    assertFalse(queue.await(1, () -> false, IdleStrategy.spinThenPark(), 0));
    assertFalse(queue.await(1, () -> false, IdleStrategy.spinThenPark(), -1));
    assertFalse(queue.await(1, () -> false, IdleStrategy.spinThenPark(), 3_000_000));
    assertFalse(queue.await(1, () -> false, IdleStrategy.busySpin(), 3_000_000));
    assertEquals(0, queue.size());
  }

  @Test
  void endsOnAnInterrupt() throws Exception {
    Worker<?> waiter =
        Worker.start(
            () -> {
              assertThrows(
                  InterruptedException.class,
                  () -> queue.await(1, () -> false, probe, Long.MAX_VALUE));
              assertFalse(Thread.currentThread().isInterrupted());
              return null;
            });
    probe.awaitWaiting(waiter);
    assertEquals(1, queue.size());
    waiter.interrupt();
    waiter.result();
    assertEquals(0, queue.size());
    Thread.currentThread().interrupt();
    assertThrows(
        InterruptedException.class, () -> queue.await(1, () -> false, probe, Long.MAX_VALUE));
    assertFalse(Thread.interrupted());
  }

  @Test
  void aConditionThatThrowsLeavesNoWaiter() {
    AtomicInteger looks = new AtomicInteger();
    assertThrows(
        IllegalStateException.class,
        () ->
            queue.await(
                1,
                () -> {
                  if (looks.incrementAndGet() > 100) {
                    throw new IllegalStateException("planned");
                  }
                  return false;
                },
                IdleStrategy.busySpin(),
                Long.MAX_VALUE));
    assertEquals(0, queue.size());
  }

  /** Rounds count from 0, a look a round; before the thread has queued no round is long. */
  @Test
  void idlesAsItIsTold() throws Exception {
    List<Integer> rounds = new ArrayList<>();
    List<Long> nanos = new ArrayList<>();
    AtomicInteger looks = new AtomicInteger();
    IdleStrategy recording =
        (round, maxNanos) -> {
          rounds.add(round);
          nanos.add(maxNanos);
        };
    assertTrue(queue.await(1, () -> looks.incrementAndGet() > 100, recording, Long.MAX_VALUE));
    assertEquals(0, rounds.get(0));
    for (int i = 0; i < rounds.size(); i++) {
      if (i > 0) {
        assertTrue(rounds.get(i) > rounds.get(i - 1));
      }
      if (rounds.get(i) < Wait.BRIEF_ROUNDS) {
        assertTrue(nanos.get(i) <= 1_000, "a long sleep that nothing would end");
      } else {
        assertEquals(Long.MAX_VALUE, nanos.get(i));
      }
    }
    assertTrue(rounds.size() >= 98);
    long limit = 1L << 60;
    nanos.clear();
    looks.set(0);
    assertTrue(queue.await(1, () -> looks.incrementAndGet() > 100, recording, limit));
    for (long max : nanos) {
      assertTrue(max > 0 && max <= limit);
    }
  }

  @Test
  void wakesByKey() throws Exception {
    AtomicBoolean open = new AtomicBoolean();
    List<Worker<Boolean>> workers = new ArrayList<>();
    for (int i = 0; i < 4; i++) {
      int key = i;
      Worker<Boolean> worker =
          Worker.start(() -> queue.await(key, open::get, probe, Long.MAX_VALUE));
      probe.awaitWaiting(worker);
      workers.add(worker);
    }
    assertEquals(4, queue.size());
    open.set(true);
    queue.wake(1, 3);
    assertTrue(workers.get(1).result());
    assertTrue(workers.get(2).result());
    queue.wake(0, 1);
    queue.wake(3, 4);
    assertTrue(workers.get(0).result());
    assertTrue(workers.get(3).result());
    assertEquals(0, queue.size());
  }

  /** The same for one key: all who wait are woken, not only the first. */
  @Test
  void wakesAllOfAKey() throws Exception {
    AtomicReference<String> word = new AtomicReference<>("closed");
    List<Worker<Boolean>> workers = new ArrayList<>();
    for (int i = 0; i < 8; i++) {
      Worker<Boolean> worker =
          Worker.start(
              () -> queue.await(7, () -> word.get().equals("open"), probe, Long.MAX_VALUE));
      probe.awaitWaiting(worker);
      workers.add(worker);
    }
    word.set("open");
    queue.wake(7, 8);
    for (Worker<Boolean> worker : workers) {
      assertTrue(worker.result());
    }
    assertEquals(0, queue.size());
  }

  /** Those with the keys of the range, and whether there was any waiter at all. */
  @Test
  void wakesNoOther() throws Exception {
    assertFalse(queue.wake(0, 10));
    Queued three = new Queued(3);
    List<Thread> woken = new ArrayList<>();
    Scheduler scheduler =
        new NoScheduler() {
          @Override
          public void unpark(Thread thread) {
            woken.add(thread);
          }
        };
    try {
      for (long from = 0; from <= 5; from++) {
        for (long to = from; to <= 5; to++) {
          woken.clear();
          long first = from;
          long end = to;
          Exploration.during(
              () -> {
                Exploration.by(scheduler, () -> assertTrue(queue.wake(first, end)));
                return null;
              });
          assertEquals(first <= 3 && 3 < end, woken.contains(three.worker.thread()));
        }
      }
    } finally {
      three.end();
    }
    assertFalse(queue.wake(0, 10));
  }

  /** A thread that waits under a key until it is told to end. */
  private final class Queued {
    private final AtomicBoolean over = new AtomicBoolean();
    final Worker<Boolean> worker;

    Queued(long key) throws InterruptedException {
      worker = Worker.start(() -> queue.await(key, over::get, probe, Long.MAX_VALUE));
      probe.awaitWaiting(worker);
    }

    void end() throws Exception {
      over.set(true);
      queue.wake(0, Long.MAX_VALUE);
      assertTrue(worker.result());
    }
  }
}
