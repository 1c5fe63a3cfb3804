package io.github.guestmemfd.concurrent;

import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.testing.RacePoints;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;

/**
 * The default way to wait, which also tells a test when a thread has begun a long wait inside the
 * library: so a test need not guess by sleeping.
 */
public final class WaitProbe implements IdleStrategy {
  /** From this round on a wait that has a queue is in it, and parks. */
  private static final int QUEUED = 80;

  private final ConcurrentMap<Thread, CountDownLatch> waiting = new ConcurrentHashMap<>();

  private final ConcurrentMap<Thread, RacePoints.Gate> frozen = new ConcurrentHashMap<>();

  @Override
  public void idle(int round, long maxNanos) {
    if (round >= QUEUED) {
      latch(Thread.currentThread()).countDown();
      RacePoints.Gate gate = frozen.remove(Thread.currentThread());
      if (gate != null) {
        gate.pass(); // a wake-up may have come here, so this was the idling
        return;
      }
    }
    IdleStrategy.spinThenPark().idle(round, maxNanos);
  }

  /** Returns once the worker waits inside the library, or has waited there at least once. */
  public void awaitWaiting(Worker<?> worker) throws InterruptedException {
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(Worker.LIMIT_SECONDS);
    while (!latch(worker.thread()).await(10, TimeUnit.MILLISECONDS)) {
      if (worker.isDone()) {
        throw new AssertionError("finished without waiting");
      }
      if (System.nanoTime() - end > 0) {
        throw new AssertionError("does not wait, but is at " + worker.where());
      }
    }
  }

  /** Stops a worker at a gate in the middle of its wait: it does not see what happens meanwhile. */
  void freeze(Worker<?> worker, RacePoints.Gate gate) throws InterruptedException {
    awaitWaiting(worker);
    frozen.put(worker.thread(), gate);
    LockSupport.unpark(worker.thread());
    gate.awaitReached();
  }

  private CountDownLatch latch(Thread thread) {
    return waiting.computeIfAbsent(thread, t -> new CountDownLatch(1));
  }
}
