package io.github.guestmemfd.file;

import io.github.guestmemfd.memory.Waiting;
import io.github.guestmemfd.spi.IdleStrategy;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/**
 * Who completes pending conversions where the thread that lets go of the last reference cannot: the
 * executor of a host, now or after a while. Nothing handed over is ever lost: what the executor
 * refuses is handed over again.
 */
public final class Completions {
  /** When to hand over again what was refused. */
  private static final long REFUSED_MILLIS = 100;

  /** The default: threads of the library's, as many as work or wait, made when they are needed. */
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

  /** How long to sleep while a try, which tells nobody when it ends, is under way. */
  private static final long LOOK_AGAIN_NANOS = 20_000;

  private final @Nullable Executor executor;

  /** Tries of the executor that are under way. */
  private final AtomicInteger tries = new AtomicInteger();

  /**
   * Says who completes.
   *
   * @param executor the executor; null for the default
   */
  Completions(@Nullable Executor executor) {
    this.executor = executor;
  }

  /**
   * Has the executor run something, as soon as it will; but an executor that runs it at once, on a
   * stack that is deep enough, a little later, or a long chain would overflow the stack. Waits for
   * nothing, and never throws.
   */
  void handOver(Runnable task) {
    try {
      (executor == null ? DefaultPool.INSTANCE : executor)
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

  /**
   * Runs a try of the executor, and says so to {@link #await}: also while it ends the file that it
   * has kept open, but not while what depends on it runs.
   */
  void attempt(Runnable attempt) {
    CallbackContext.whenOut(
        () -> {
          Runnable end = new End();
          tries.incrementAndGet();
          boolean queued = false;
          try {
            attempt.run();
          } finally {
            try {
              CallbackContext.whenOut(end);
              queued = true;
            } finally {
              if (!queued) {
                end.run();
              }
            }
          }
        });
  }

  /** The end of a try, which counts once. */
  private final class End implements Runnable {
    private boolean over;

    @Override
    public void run() {
      if (!over) {
        over = true;
        tries.decrementAndGet();
      }
    }
  }

  /**
   * Waits until the executor tries nothing: whoever has closed a file cannot know that a try, which
   * nobody has called, keeps it open for a moment. An interrupt ends the wait.
   *
   * @param idle how to wait
   * @param nanos the longest time to wait
   */
  public void await(IdleStrategy idle, long nanos) {
    long begun = System.nanoTime();
    try {
      Waiting.await(
          idle, () -> tries.get() == 0 || System.nanoTime() - begun >= nanos, LOOK_AGAIN_NANOS);
    } catch (InterruptedException e) {
      Waiting.restore(e);
    }
  }

  /** As {@link #handOver}, after a while. */
  void handOverLater(Runnable task, long millis) {
    CompletableFuture.delayedExecutor(millis, TimeUnit.MILLISECONDS, Runnable::run)
        .execute(() -> handOver(task)); // the JDK's timer does no more than hand over
  }
}
