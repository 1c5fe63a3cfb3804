package io.github.guestmemfd.memory;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import io.github.guestmemfd.fixtures.Duel;
import io.github.guestmemfd.fixtures.Meanwhile;
import io.github.guestmemfd.fixtures.WaitProbe;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.PlaysOtherThreads;
import io.github.guestmemfd.spi.Wait;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The folio lock: one holder, in order of arrival, and no waiter left behind. */
@ExtendWith(PlaysOtherThreads.class)
@Timeout(300)
class FolioLocksTest {

  private final WaitProbe probe = new WaitProbe();
  private final FrameTable frames = new FrameTable(256, probe);
  private final int pfn = frame(frames);

  private static int frame(FrameTable frames) {
    assertTrue(frames.reserve(1));
    int pfn = frames.allocate(frames.newOwner(p -> {}));
    frames.thaw(pfn, Counts.REF);
    return pfn;
  }

  private Worker<?> locker(Runnable inside) {
    return Worker.start(
        () -> {
          frames.lock(pfn);
          inside.run();
          frames.unlock(pfn);
          return null;
        });
  }

  private int counter; // guarded by the folio lock

  @Test
  @Tag("duel")
  void hasOneHolder() throws Exception {
    AtomicInteger expected = new AtomicInteger();
    Duel.Step step =
        round -> {
          frames.lock(pfn);
          int before = counter;
          if ((round & 15) == 0) {
            for (int i = 0; i < 200; i++) {
              Thread.onSpinWait(); // so that others queue
            }
          }
          counter = before + 1;
          frames.unlock(pfn);
          expected.incrementAndGet();
          return true;
        };
    Duel.race(step, step);
    assertEquals(expected.get(), counter);
    assertFalse(frames.isLocked(pfn));
  }

  @Test
  void isNotTakenFromItsHolderNorFromThoseWhoWait() throws Exception {
    assertTrue(frames.tryLock(pfn));
    assertFalse(frames.tryLock(pfn));
    CountDownLatch inside = new CountDownLatch(1);
    CountDownLatch leave = new CountDownLatch(1);
    Worker<?> waiter =
        Worker.start(
            () -> {
              frames.lock(pfn);
              inside.countDown();
              assertTrue(leave.await(30, TimeUnit.SECONDS));
              frames.unlock(pfn);
              return null;
            });
    probe.awaitWaiting(waiter);
    assertEquals(1, inside.getCount());
    assertFalse(frames.tryLock(pfn));
    frames.unlock(pfn);
    assertTrue(inside.await(30, TimeUnit.SECONDS));
    assertTrue(frames.isLocked(pfn));
    assertFalse(frames.tryLock(pfn), "it was handed over");
    leave.countDown();
    waiter.result();
    assertFalse(frames.isLocked(pfn));
    assertTrue(frames.tryLock(pfn));
    frames.unlock(pfn);
  }

  @Test
  void isHandedOverInOrderOfArrival() throws Exception {
    List<Integer> order = new ArrayList<>(); // guarded by the folio lock
    frames.lock(pfn);
    List<Worker<?>> waiters = new ArrayList<>();
    for (int i = 0; i < 6; i++) {
      int number = i;
      Worker<?> waiter = locker(() -> order.add(number));
      probe.awaitWaiting(waiter); // in the queue before the next one comes
      waiters.add(waiter);
    }
    frames.unlock(pfn);
    for (Worker<?> waiter : waiters) {
      waiter.result();
    }
    assertEquals(List.of(0, 1, 2, 3, 4, 5), order);
  }

  /** Frames 64 apart share a wait queue: a hand-over must go to a waiter of the right frame. */
  @Test
  void isNotHandedToWhoWaitsForAnotherFrame() throws Exception {
    int other = pfn;
    while (other != pfn + 64) {
      other = frame(frames);
    }
    int far = other;
    frames.lock(far);
    Worker<?> stranger =
        Worker.start(
            () -> {
              frames.lock(far);
              frames.unlock(far);
              return null;
            });
    probe.awaitWaiting(stranger);
    frames.lock(pfn);
    Worker<?> waiter = locker(() -> {});
    probe.awaitWaiting(waiter);
    frames.unlock(pfn);
    waiter.result();
    assertFalse(stranger.isDone());
    frames.unlock(far);
    stranger.result();
  }

  /** One thread takes the lock again and again, as fast as it can; who queues gets it next. */
  @Test
  void starvesNobody() throws Exception {
    AtomicInteger taken = new AtomicInteger();
    AtomicReference<Thread> patient = new AtomicReference<>();
    AtomicInteger takenWhenQueued = new AtomicInteger();
    AtomicBoolean queued = new AtomicBoolean();
    FrameTable table =
        new FrameTable(
            1,
            (round, maxNanos) -> {
              if (round >= Wait.BRIEF_ROUNDS
                  && Thread.currentThread() == patient.get()
                  && queued.compareAndSet(false, true)) {
                takenWhenQueued.set(taken.get());
              }
              IdleStrategy.spinThenPark().idle(round, maxNanos);
            });
    int frame = frame(table);
    AtomicBoolean over = new AtomicBoolean();
    Worker<?> greedy =
        Worker.start(
            () -> {
              while (!over.get()) {
                table.lock(frame);
                taken.incrementAndGet();
                for (int i = 0; i < 300; i++) {
                  Thread.onSpinWait(); // long enough that the other one has to queue
                }
                table.unlock(frame);
              }
              return null;
            });
    int queuedTimes = 0;
    Worker<Integer> waiter =
        Worker.start(
            () -> {
              int times = 0;
              patient.set(Thread.currentThread());
              for (int i = 0; i < 1_000_000 && times < 200; i++) {
                queued.set(false);
                table.lock(frame);
                int since = taken.get() - takenWhenQueued.get();
                table.unlock(frame);
                if (queued.get()) {
                  times++;
                  // It may just have been taken, and counted late, when the waiter queued.
                  assertTrue(since <= 2, () -> "lock taken " + since + " times past a waiter");
                }
              }
              over.set(true);
              return times;
            });
    try {
      queuedTimes = waiter.result();
    } finally {
      over.set(true);
    }
    greedy.result();
    assertTrue(queuedTimes > 0, "the waiter never had to queue");
  }

  @Test
  void passesAnInterruptedWaiterBy() throws Exception {
    frames.lock(pfn);
    Worker<?> first =
        Worker.start(() -> assertThrows(InterruptedException.class, () -> frames.lock(pfn)));
    probe.awaitWaiting(first);
    Worker<?> second = locker(() -> {});
    probe.awaitWaiting(second);
    first.interrupt();
    first.result();
    assertFalse(second.isDone());
    frames.unlock(pfn);
    second.result();
    assertFalse(frames.isLocked(pfn));
    assertTrue(frames.tryLock(pfn), "no thread waits any more");
    frames.unlock(pfn);
  }

  /** One that leaves without the lock has none to pass on to those before it. */
  @Test
  void aWaiterThatLeavesGrantsNothing() throws Exception {
    frames.lock(pfn);
    Worker<?> first = locker(() -> {});
    probe.awaitWaiting(first);
    Worker<?> second =
        Worker.start(() -> assertThrows(InterruptedException.class, () -> frames.lock(pfn)));
    probe.awaitWaiting(second);
    second.interrupt();
    second.result();
    WaitQueue queue = frames.queues.of(pfn);
    queue.lock.lock();
    try {
      WaitQueue.Waiter waiting = queue.first(FrameQueues.lockKey(pfn));
      assertTrue(waiting != null && waiting.thread == first.thread(), "it waits as before");
    } finally {
      queue.lock.unlock();
    }
    frames.unlock(pfn);
    first.result();
    assertFalse(frames.isLocked(pfn));
  }

  /**
   * The waiter has seen the interrupt, and gets the lock before it has left the queue: it must pass
   * the lock on. The queue's own lock is held meanwhile, to make it so.
   */
  @Test
  void isPassedOnByAWaiterThatIsInterruptedAndGetsIt() throws Exception {
    WaitQueue queue = frames.queues.of(pfn);
    frames.lock(pfn);
    Worker<?> first =
        Worker.start(() -> assertThrows(InterruptedException.class, () -> frames.lock(pfn)));
    probe.awaitWaiting(first);
    Worker<?> second = locker(() -> {});
    probe.awaitWaiting(second);
    queue.lock.lock();
    try {
      first.interrupt();
      while (!queue.lock.hasQueuedThread(first.thread())) {
        assertFalse(first.isDone());
        Thread.onSpinWait();
      }
      frames.unlock(pfn); // to the first, which is about to leave
    } finally {
      queue.lock.unlock();
    }
    first.result();
    second.result();
    assertFalse(frames.isLocked(pfn));
    assertTrue(frames.tryLock(pfn));
    frames.unlock(pfn);
  }

  /** Returns once a thread waits for the queue's own lock, which the caller holds. */
  private static void awaitQueued(WaitQueue queue, Worker<?> worker) {
    while (!queue.lock.hasQueuedThread(worker.thread())) {
      assertFalse(worker.isDone());
      Thread.onSpinWait();
    }
  }

  /** A lock that comes free before its waiter has queued is taken without a queue. */
  @Test
  void isTakenWhenItComesFreeSoon() throws Exception {
    AtomicReference<Runnable> idling = new AtomicReference<>(() -> {});
    FrameTable table = new FrameTable(1, (round, maxNanos) -> idling.get().run());
    int frame = frame(table);
    assertTrue(table.tryLock(frame));
    idling.set(
        () -> {
          idling.set(() -> fail("waits for a lock that is free"));
          PlaysOtherThreads.playing(() -> table.unlock(frame));
        });
    PlaysOtherThreads.playing(
        () -> {
          try {
            table.lock(frame);
          } catch (InterruptedException e) {
            throw new AssertionError(e);
          }
        });
    assertTrue(table.isLocked(frame));
    table.unlock(frame);
  }

  /** The same when the lock comes free while its waiter is about to queue. */
  @Test
  void isTakenWhenItComesFreeAtTheLastMoment() throws Exception {
    WaitQueue queue = frames.queues.of(pfn);
    frames.lock(pfn);
    queue.lock.lock();
    Worker<Boolean> waiter =
        Worker.start(
            () -> {
              frames.lock(pfn);
              boolean locked = frames.isLocked(pfn);
              frames.unlock(pfn);
              return locked;
            });
    try {
      awaitQueued(queue, waiter);
      frames.unlock(pfn);
    } finally {
      queue.lock.unlock();
    }
    assertTrue(waiter.result());
    assertFalse(frames.isLocked(pfn));
  }

  /** The same right before the waiter marks the lock as waited for. */
  @Test
  void isTakenWhenItComesFreeBeforeItIsMarked() {
    assertTrue(frames.tryLock(pfn));
    Meanwhile.beforeWrite(
        1,
        () -> frames.unlock(pfn),
        () -> {
          try {
            frames.lock(pfn);
          } catch (InterruptedException e) {
            throw new AssertionError(e);
          }
        });
    assertTrue(frames.isLocked(pfn));
    frames.unlock(pfn);
    assertTrue(frames.tryLock(pfn), "no thread waits");
    frames.unlock(pfn);
  }

  /** The last waiter leaves while the lock is about to be handed to it. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void isFreeWhenItsOnlyWaiterHasLeft(boolean left) throws Exception {
    WaitQueue queue = frames.queues.of(pfn);
    CountDownLatch unlock = new CountDownLatch(1);
    Worker<?> holder =
        Worker.start(
            () -> {
              frames.lock(pfn);
              assertTrue(unlock.await(30, TimeUnit.SECONDS));
              frames.unlock(pfn);
              return null;
            });
    while (!frames.isLocked(pfn)) {
      Thread.onSpinWait();
    }
    Worker<?> waiter =
        Worker.start(() -> assertThrows(InterruptedException.class, () -> frames.lock(pfn)));
    probe.awaitWaiting(waiter);
    if (left) {
      leaveCacheRef();
    }
    queue.lock.lock();
    try {
      waiter.interrupt();
      awaitQueued(queue, waiter);
      unlock.countDown();
      awaitQueued(queue, holder); // behind the waiter
    } finally {
      queue.lock.unlock();
    }
    waiter.result();
    holder.result();
    assertFalse(frames.isLocked(pfn));
    assertFalse(frames.isLeftToLock(pfn));
    assertEquals(left ? 0 : 1, frames.used());
    assertTrue(frames.tryLock(pfn), "no thread waits any more");
    frames.unlock(pfn);
  }

  // ---- a page cache's reference that is left to the lock ----

  /**
   * Makes the reference on the frame one of a page cache that is gone, and leaves it to the lock.
   */
  private void leaveCacheRef() {
    leaveCacheRef(Counts.CACHE_REF);
  }

  private void leaveCacheRef(long unit) {
    frames.thaw(pfn, Counts.FROZEN + unit);
    frames.put(pfn, Counts.REF);
    assertTrue(frames.leaveToLock(pfn));
  }

  @ParameterizedTest
  @ValueSource(longs = {Counts.CACHE_REF, Counts.LENT_CACHE_REF})
  void theUnlockDropsWhatIsLeftToTheLock(long unit) throws Exception {
    frames.lock(pfn);
    leaveCacheRef(unit);
    assertEquals(1, frames.used());
    frames.unlock(pfn);
    assertEquals(0, frames.used());
  }

  /** By the holder that it was left to, once, and not by those that the lock is handed to. */
  @Test
  void theHandOverDropsWhatIsLeftToTheLock() throws Exception {
    frames.lock(pfn);
    Worker<?> first = locker(() -> {});
    probe.awaitWaiting(first);
    Worker<?> second = locker(() -> {});
    probe.awaitWaiting(second);
    leaveCacheRef();
    frames.unlock(pfn);
    first.result();
    second.result();
    assertEquals(0, frames.used());
    assertFalse(frames.isLocked(pfn));
  }

  /** It is left to a lock that is handed to a waiter which is about to give up. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aWaiterThatGivesUpDropsWhatIsLeftToTheLock(boolean another) throws Exception {
    WaitQueue queue = frames.queues.of(pfn);
    frames.lock(pfn);
    Worker<?> first =
        Worker.start(() -> assertThrows(InterruptedException.class, () -> frames.lock(pfn)));
    probe.awaitWaiting(first);
    Worker<?> second = null;
    if (another) {
      second = locker(() -> {});
      probe.awaitWaiting(second);
    }
    queue.lock.lock();
    try {
      first.interrupt();
      awaitQueued(queue, first);
      frames.unlock(pfn);
      leaveCacheRef();
    } finally {
      queue.lock.unlock();
    }
    first.result();
    if (second != null) {
      second.result();
    }
    assertEquals(0, frames.used());
    assertFalse(frames.isLocked(pfn));
  }

  /** The hand-over and the interrupt come at the same time: the lock must not get lost. */
  @Test
  @Tag("duel")
  void survivesAnInterruptDuringTheHandOver() throws Exception {
    AtomicReference<Thread> waiter = new AtomicReference<>();
    AtomicLong sent = new AtomicLong(); // rounds whose interrupt has been sent
    AtomicInteger interrupted = new AtomicInteger();
    AtomicInteger got = new AtomicInteger();
    AtomicReference<CountDownLatch> queued = new AtomicReference<>(new CountDownLatch(1));
    FrameTable table =
        new FrameTable(
            1,
            (round, maxNanos) -> {
              if (round >= Wait.BRIEF_ROUNDS) {
                queued.get().countDown();
              }
              IdleStrategy.spinThenPark().idle(round, maxNanos);
            });
    int frame = frame(table);
    Duel.rounds(
        () -> {
          queued.set(new CountDownLatch(1));
          PlaysOtherThreads.playing(() -> assertTrue(table.tryLock(frame))); // the right step's
        },
        round -> {
          waiter.set(Thread.currentThread());
          try {
            table.lock(frame);
            got.incrementAndGet();
            table.unlock(frame);
          } catch (InterruptedException e) {
            interrupted.incrementAndGet();
          }
          long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
          while (sent.get() <= round && System.nanoTime() - end < 0) {
            Thread.onSpinWait();
          }
          Thread.interrupted(); // it may have come after the lock had been got
          return true;
        },
        round -> {
          assertTrue(queued.get().await(30, TimeUnit.SECONDS));
          if ((round & 1) == 0) {
            waiter.get().interrupt();
            PlaysOtherThreads.playing(() -> table.unlock(frame));
          } else {
            PlaysOtherThreads.playing(() -> table.unlock(frame));
            waiter.get().interrupt();
          }
          sent.set(round + 1);
          return true;
        },
        () -> {
          assertFalse(table.isLocked(frame), "the lock is lost");
          assertTrue(table.tryLock(frame), "a thread still seems to wait");
          table.unlock(frame);
        });
    assertTrue(got.get() + interrupted.get() > 0);
  }

  @Test
  void waitingForItLeavesItFree() throws Exception {
    frames.awaitUnlocked(pfn);
    assertFalse(frames.isLocked(pfn));
    frames.lock(pfn);
    Worker<?> waiter =
        Worker.start(
            () -> {
              frames.awaitUnlocked(pfn);
              return null;
            });
    probe.awaitWaiting(waiter);
    assertFalse(waiter.isDone());
    frames.unlock(pfn);
    waiter.result();
    assertFalse(frames.isLocked(pfn));
  }

  /** A lock that no user keeps is not given back by one. */
  @Test
  void whatIsLockedAndNotKept() throws Exception {
    frames.lock(pfn);
    assertThrows(IllegalStateException.class, () -> frames.unlockKept(pfn));
    assertTrue(frames.isLocked(pfn));
    frames.unlock(pfn);
  }

  /** A thread that keeps the lock does not wait for itself, nor gives it back twice. */
  @Test
  void whatAThreadKeepsItDoesNotWaitFor() throws Exception {
    frames.lock(pfn);
    frames.keepLock(pfn);
    InterruptedException e = assertThrows(InterruptedException.class, () -> frames.lock(pfn));
    assertTrue(Wait.isDeadlock(e));
    frames.unlockKept(pfn);
    assertThrows(IllegalStateException.class, () -> frames.unlockKept(pfn));
    assertFalse(frames.isLocked(pfn));
  }

  @Test
  void unlockingWhatIsNotLockedIsLoud() throws Exception {
    IllegalStateException e = assertThrows(IllegalStateException.class, () -> frames.unlock(pfn));
    assertTrue(e.getMessage().contains("frame " + pfn), e.getMessage());
    frames.lock(pfn);
    frames.unlock(pfn);
    assertThrows(IllegalStateException.class, () -> frames.unlock(pfn));
    assertTrue(frames.tryLock(pfn));
    frames.unlock(pfn);
  }

  /**
   * Many threads wait at once, while the holder waits for all of them to have queued. Virtual
   * threads where there are any: if one that waits kept its carrier, the rest could not come.
   */
  @Test
  void letsManyThreadsWait() throws Exception {
    AtomicInteger waiting = new AtomicInteger();
    CountDownLatch allQueued = new CountDownLatch(1);
    boolean virtual = Runtime.version().feature() >= 21;
    int threads = virtual ? 1000 : 100;
    FrameTable table =
        new FrameTable(
            1,
            (round, maxNanos) -> {
              if (round == Wait.BRIEF_ROUNDS && waiting.incrementAndGet() == threads - 1) {
                allQueued.countDown();
              }
              IdleStrategy.spinThenPark().idle(round, maxNanos);
            });
    int frame = frame(table);
    AtomicReference<Throwable> failure = new AtomicReference<>();
    CountDownLatch first = new CountDownLatch(1);
    CountDownLatch done = new CountDownLatch(threads);
    int[] count = new int[1]; // guarded by the folio lock
    for (int i = 0; i < threads; i++) {
      boolean holder = i == 0;
      start(
          virtual,
          () -> {
            try {
              if (!holder) {
                assertTrue(first.await(60, TimeUnit.SECONDS));
              }
              table.lock(frame);
              if (holder) {
                first.countDown();
                assertTrue(allQueued.await(60, TimeUnit.SECONDS), "not all could wait");
              }
              count[0]++;
              table.unlock(frame);
            } catch (Throwable e) {
              failure.compareAndSet(null, e);
            } finally {
              done.countDown();
            }
          });
    }
    assertTrue(done.await(90, TimeUnit.SECONDS), "threads hang");
    if (failure.get() != null) {
      throw new AssertionError(failure.get());
    }
    table.lock(frame);
    assertEquals(threads, count[0]);
    table.unlock(frame);
  }

  /** By reflection, since the tests are compiled for Java 17. */
  private static void start(boolean virtual, Runnable body) throws ReflectiveOperationException {
    if (virtual) {
      Thread.class.getMethod("startVirtualThread", Runnable.class).invoke(null, body);
    } else {
      Thread thread = new Thread(body, "waiter");
      thread.setDaemon(true);
      thread.start();
    }
  }
}
