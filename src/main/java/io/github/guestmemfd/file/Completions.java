package io.github.guestmemfd.file;

import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.Callback;
import io.github.guestmemfd.spi.Exploration;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.LockOrder;
import io.github.guestmemfd.spi.Scheduler;
import io.github.guestmemfd.spi.Wait;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/**
 * The way to the executor of a host, which completes pending conversions, now or after a delay,
 * where the thread that drops the last reference cannot. No task is ever lost: what the executor
 * refuses is handed over again.
 */
public final class Completions {
  /** When to hand over again what was refused. */
  private static final long REFUSED_MILLIS = 100;

  /** The default: threads of the library, as many as work or wait, made when they are needed. */
  private static final class DefaultPool {
    private static final AtomicInteger NUMBERS = new AtomicInteger();

    static final Executor INSTANCE =
        new ThreadPoolExecutor(
            0,
            Integer.MAX_VALUE,
            2,
            TimeUnit.SECONDS,
            new SynchronousQueue<>(),
            task -> {
              Thread thread =
                  new Thread(task, "guest_memfd-completion-" + NUMBERS.incrementAndGet());
              thread.setDaemon(true);
              return thread;
            });
  }

  private final @Nullable Executor executor;

  /** Tries of the executor that are under way. */
  private final AtomicInteger tries = new AtomicInteger();

  /**
   * Hands tasks to an executor.
   *
   * @param executor the executor; null for the default
   */
  Completions(@Nullable Executor executor) {
    this.executor = executor;
  }

  /**
   * Has the executor run a task as soon as it will. If the executor runs it at once, on a stack
   * that is too deep already, the task is handed over again a little later: a long chain would
   * overflow the stack. Waits for nothing, and never throws.
   */
  void handOver(Runnable task) {
    LockOrder.beforeCall(Callback.EXECUTOR);
    try {
      executor()
          .execute(
              () -> {
                if (WayOut.isTooDeep()) {
                  handOverLater(task, 1);
                } else {
                  task.run();
                }
              });
    } catch (RuntimeException | Error e) {
      Logs.HOST.warn("a completion was refused by its executor, and will be handed over again", e);
      handOverLater(task, REFUSED_MILLIS);
    }
  }

  private Executor executor() {
    if (executor != null) {
      return executor;
    }
    Scheduler scheduler = Exploration.scheduler();
    return scheduler == null ? DefaultPool.INSTANCE : task -> scheduler.execute(task, 0);
  }

  /**
   * Runs a try of the executor and counts it for {@link #await}. The count includes the end of a
   * file that the try has kept open, but not the stages that depend on the try.
   */
  void attempt(Runnable attempt) {
    CallbackContext.whenOut(
        () -> {
          Runnable end = new End();
          Announce.write(tries).incrementAndGet();
          try {
            attempt.run();
          } finally {
            endWhenOut(end);
          }
        });
  }

  private static void endWhenOut(Runnable end) {
    try {
      CallbackContext.whenOut(end);
    } catch (Throwable e) {
      end.run();
      throw e;
    }
  }

  /** The end of a try, which counts once. */
  private final class End implements Runnable {
    private boolean over;

    @Override
    public void run() {
      if (!over) {
        over = true;
        Announce.write(tries).decrementAndGet();
      }
    }
  }

  /**
   * Waits until no try of the executor is under way. A try may keep a file open for a moment after
   * a thread has closed it, which that thread cannot see. An interrupt ends the wait.
   *
   * @param idle how to wait
   * @param nanos the longest time to wait
   */
  public void await(IdleStrategy idle, long nanos) {
    long begun = Exploration.nanoTime();
    try {
      Wait.await(
          idle,
          () -> Announce.read(tries).get() == 0 || Exploration.nanoTime() - begun >= nanos,
          Wait.LOOK_AGAIN_NANOS);
    } catch (InterruptedException e) {
      Wait.restore(e);
    }
  }

  /** As {@link #handOver}, after a delay. */
  void handOverLater(Runnable task, long millis) {
    Scheduler scheduler = Exploration.scheduler();
    if (scheduler != null) {
      scheduler.execute(() -> handOver(task), TimeUnit.MILLISECONDS.toNanos(millis));
      return;
    }
    CompletableFuture.delayedExecutor(millis, TimeUnit.MILLISECONDS, Runnable::run)
        .execute(() -> handOver(task)); // the JDK's timer does no more than hand over
  }
}
