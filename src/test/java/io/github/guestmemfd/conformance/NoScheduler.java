package io.github.guestmemfd.conformance;

import io.github.guestmemfd.spi.Scheduler;
import java.util.Objects;

/** Lets every thread go on at once. */
final class NoScheduler implements Scheduler {
  @Override
  public void access(Object owner, long index, boolean write) {
    Objects.requireNonNull(owner, "owner");
  }

  @Override
  public void acquire(Object lock) {
    Objects.requireNonNull(lock, "lock");
  }

  @Override
  public void release(Object lock) {
    Objects.requireNonNull(lock, "lock");
  }

  @Override
  public void poll(long nanos) {}

  @Override
  public void park(long nanos) {}

  @Override
  public void unpark(Thread thread) {
    Objects.requireNonNull(thread, "thread");
  }

  @Override
  public void retry() {}

  @Override
  public long nanoTime() {
    return 0;
  }

  @Override
  public int threadNumber() {
    return 0;
  }

  @Override
  public boolean mayFail() {
    return false;
  }

  @Override
  public void execute(Runnable task, long nanos) {}
}
