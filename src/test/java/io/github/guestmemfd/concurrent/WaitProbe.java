package io.github.guestmemfd.concurrent;

import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.testing.RacePoints;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;

/**
 * The default way to wait, which also tells a test when a thread has begun a long wait inside the
 * library, so that a test need not guess by sleeping. In the middle of such a wait a test can stop
 * the thread, or have the strategy throw.
 */
public final class WaitProbe implements IdleStrategy {
  /** From this round on a wait that has a queue is in it, and parks. */
  private static final int QUEUED = 80;

  /** The long waits that each thread has begun. */
  private final ConcurrentMap<Thread, Integer> waits = new ConcurrentHashMap<>();

  private final ConcurrentMap<Thread, RacePoints.Gate> frozen = new ConcurrentHashMap<>();
  private final ConcurrentMap<Thread, Error> planned = new ConcurrentHashMap<>();

  @Override
  public void idle(int round, long maxNanos) {
    Thread thread = Thread.currentThread();
    if (round >= QUEUED) {
      if (round == QUEUED) {
        waits.merge(thread, 1, Integer::sum);
      }
      RacePoints.Gate gate = frozen.remove(thread);
      if (gate != null) {
        gate.pass(); // a wake-up may have come here, so this was the idling
        return;
      }
      Error error = planned.remove(thread);
      if (error != null) {
        throw error;
      }
    }
    IdleStrategy.spinThenPark().idle(round, maxNanos);
  }

  /** Returns once the worker waits inside the library, or has waited there at least once. */
  public void awaitWaiting(Worker<?> worker) throws InterruptedException {
    awaitWaiting(worker, 1);
  }

  /** Returns once the worker is in the n-th long wait of its life, or has been there. */
  public void awaitWaiting(Worker<?> worker, int n) throws InterruptedException {
    poll(worker, () -> waits.getOrDefault(worker.thread(), 0) >= n);
  }

  /** Stops a worker at a gate in the middle of its wait: it does not see what happens meanwhile. */
  void freeze(Worker<?> worker, RacePoints.Gate gate) throws InterruptedException {
    awaitWaiting(worker);
    frozen.put(worker.thread(), gate);
    LockSupport.unpark(worker.thread());
    gate.awaitReached();
  }

  /** Throws an error in the wait that a worker is in; returns once it has. */
  public void fail(Worker<?> worker, Error error) throws InterruptedException {
    planned.put(worker.thread(), error);
    LockSupport.unpark(worker.thread());
    poll(worker, () -> !planned.containsKey(worker.thread()));
  }

  /** Looks until a worker has come so far; it fails if it ends before, or takes too long. */
  private static void poll(Worker<?> worker, BooleanSupplier condition)
      throws InterruptedException {
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(Worker.LIMIT_SECONDS);
    while (!condition.getAsBoolean()) {
      if (worker.isDone() && !condition.getAsBoolean()) {
        throw new AssertionError("finished without waiting");
      }
      if (System.nanoTime() - end > 0) {
        throw new AssertionError("does not wait, but is at " + worker.where());
      }
      TimeUnit.MICROSECONDS.sleep(100);
    }
  }
}
