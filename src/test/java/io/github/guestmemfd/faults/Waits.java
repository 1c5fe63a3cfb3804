package io.github.guestmemfd.faults;

import io.github.guestmemfd.concurrent.Worker;
import io.github.guestmemfd.spi.IdleStrategy;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;

/**
 * The default way to wait, which counts the long waits of each thread, and throws in the middle of
 * one if that is planned.
 */
final class Waits implements IdleStrategy {
  /** From this round on a wait that has a queue is in it, and parks. */
  private static final int LONG = 80;

  private final ConcurrentMap<Thread, Integer> waits = new ConcurrentHashMap<>();
  private final Map<Thread, Error> planned = new ConcurrentHashMap<>();

  @Override
  public void idle(int round, long maxNanos) {
    Thread thread = Thread.currentThread();
    Error error = planned.remove(thread);
    if (error != null) {
      throw error;
    }
    if (round == LONG) {
      waits.merge(thread, 1, Integer::sum);
    }
    IdleStrategy.spinThenPark().idle(round, maxNanos);
  }

  /** Returns once a worker is in the n-th long wait of its life, or has been there. */
  void await(Worker<?> worker, int n) {
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(Worker.LIMIT_SECONDS);
    while (waits.getOrDefault(worker.thread(), 0) < n) {
      if (worker.isDone()) {
        throw new AssertionError("finished without waiting");
      }
      if (System.nanoTime() - end > 0) {
        throw new AssertionError("does not wait, but is at " + worker.where());
      }
      LockSupport.parkNanos(100_000);
    }
  }

  /** Throws an error in the wait that a worker is in; returns once it has. */
  void fail(Worker<?> worker, Error error) {
    planned.put(worker.thread(), error);
    LockSupport.unpark(worker.thread());
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(Worker.LIMIT_SECONDS);
    while (planned.containsKey(worker.thread())) {
      if (System.nanoTime() - end > 0) {
        throw new AssertionError("does not idle any more, but is at " + worker.where());
      }
      LockSupport.parkNanos(100_000);
    }
  }
}
