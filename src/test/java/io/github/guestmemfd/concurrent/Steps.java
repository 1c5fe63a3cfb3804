package io.github.guestmemfd.concurrent;

import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import java.util.ArrayDeque;
import java.util.EnumMap;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;

/** Runs code, or holds a thread, when a race point is passed. Each entry is used once. */
final class Steps implements RaceHook {
  private final ReentrantLock lock = new ReentrantLock();
  private final Map<RacePoint, Queue<Runnable>> entries = new EnumMap<>(RacePoint.class);

  @Override
  public void at(RacePoint point, long index) {
    Runnable entry = null;
    lock.lock();
    try {
      Queue<Runnable> queue = entries.get(point);
      if (queue != null) {
        entry = queue.poll();
      }
    } finally {
      lock.unlock();
    }
    if (entry != null) {
      entry.run();
    }
  }

  /** The next thread that passes runs this. */
  void once(RacePoint point, Runnable body) {
    lock.lock();
    try {
      entries.computeIfAbsent(point, p -> new ArrayDeque<>()).add(body);
    } finally {
      lock.unlock();
    }
  }

  /** The next thread that passes stops there. */
  Gate hold(RacePoint point) {
    Gate gate = new Gate();
    once(point, gate::pass);
    return gate;
  }

  /** Where a thread stands until it may go on. */
  static final class Gate {
    private final CountDownLatch reached = new CountDownLatch(1);
    private final CountDownLatch open = new CountDownLatch(1);

    /** Stops the thread that calls; its interrupt status, which is for the library, stays. */
    void pass() {
      reached.countDown();
      boolean interrupted = false;
      try {
        for (; ; ) {
          try {
            if (!open.await(Worker.LIMIT_SECONDS, TimeUnit.SECONDS)) {
              throw new AssertionError("held too long");
            }
            return;
          } catch (InterruptedException e) {
            interrupted = true;
          }
        }
      } finally {
        if (interrupted) {
          Thread.currentThread().interrupt();
        }
      }
    }

    void awaitReached() throws InterruptedException {
      if (!reached.await(Worker.LIMIT_SECONDS, TimeUnit.SECONDS)) {
        throw new AssertionError("nobody came to the point");
      }
    }

    void release() {
      open.countDown();
    }
  }
}
