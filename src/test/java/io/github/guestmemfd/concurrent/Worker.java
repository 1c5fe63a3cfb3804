package io.github.guestmemfd.concurrent;

import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * A thread of a test. What it throws fails the test that asks for its result, and no wait is for
 * ever.
 */
public final class Worker<T> {
  /** No step of a test takes this long unless something hangs. */
  public static final long LIMIT_SECONDS = 30;

  private final FutureTask<T> task;
  private final Thread thread;

  private Worker(Callable<T> body) {
    task = new FutureTask<>(body);
    thread = new Thread(task, "worker");
    thread.setDaemon(true);
  }

  public static <T> Worker<T> start(Callable<T> body) {
    Worker<T> worker = new Worker<>(body);
    worker.thread.start();
    return worker;
  }

  public Thread thread() {
    return thread;
  }

  public boolean isDone() {
    return task.isDone();
  }

  public void interrupt() {
    thread.interrupt();
  }

  /**
   * Interrupts the thread, and returns once it has noticed: it has taken the interrupt, and now
   * waits or is done.
   */
  public void interruptAndAwait() {
    thread.interrupt();
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(LIMIT_SECONDS);
    while (thread.isInterrupted() && !isDone()) {
      if (System.nanoTime() - end > 0) {
        throw new AssertionError("does not notice an interrupt at " + where());
      }
      Thread.onSpinWait();
    }
  }

  /** What the body returned; throws what it threw. */
  public T result() throws Exception {
    return resultAfter(0);
  }

  /** As {@code result}, of a body that may take so much longer. */
  public T resultAfter(long nanos) throws Exception {
    try {
      return task.get(nanos + TimeUnit.SECONDS.toNanos(LIMIT_SECONDS), TimeUnit.NANOSECONDS);
    } catch (ExecutionException e) {
      if (e.getCause() instanceof Error error) {
        throw error;
      }
      if (e.getCause() instanceof Exception exception) {
        throw exception;
      }
      throw e;
    } catch (TimeoutException e) {
      throw new AssertionError("hangs at " + where(), e);
    }
  }

  /** Where the thread is now, for a message. */
  public String where() {
    StringBuilder text = new StringBuilder();
    for (StackTraceElement frame : thread.getStackTrace()) {
      text.append("\n    ").append(frame);
    }
    return text.toString();
  }
}
