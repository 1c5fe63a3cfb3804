package io.github.guestmemfd.concurrent;

import io.github.guestmemfd.spi.RaceHook;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Phaser;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;

/** Two threads, each in a loop, for the time that the system property {@code pair.seconds} says. */
public final class Duel {
  private static final long NANOS =
      (long) (Double.parseDouble(System.getProperty("pair.seconds", "2")) * 1e9);

  /** Shakes the threads at the race points they pass. */
  public static final RaceHook SHAKE = (point, index) -> shake();

  /**
   * Loses a little time now and then, so that steps which follow each other within nanoseconds come
   * apart.
   */
  public static void shake() {
    ThreadLocalRandom random = ThreadLocalRandom.current();
    if (random.nextInt(8) == 0) {
      for (int i = random.nextInt(1500); i > 0; i--) {
        Thread.onSpinWait();
      }
    }
  }

  /** What a thread does in each round. */
  @FunctionalInterface
  public interface Step {
    /**
     * Does it once.
     *
     * @return whether it came to what the test is about, which it must sooner or later
     */
    boolean run(long round) throws Exception;
  }

  /** What is done or checked while both threads stand still. */
  @FunctionalInterface
  public interface Still {
    void run() throws Exception;
  }

  private Duel() {}

  /** Runs the loops side by side, each at its own speed, until time is up and each has hit. */
  public static void race(Step left, Step right) throws Exception {
    AtomicBoolean over = new AtomicBoolean();
    long end = System.nanoTime() + NANOS;
    List<Worker<Long>> workers = new ArrayList<>();
    for (Step step : List.of(left, right)) {
      workers.add(
          Worker.start(
              () -> {
                long hits = 0;
                try {
                  for (long round = 0; !over.get(); round++) {
                    if (step.run(round)) {
                      hits++;
                    }
                    if (hits > 0 && System.nanoTime() - end > 0) {
                      return hits;
                    }
                  }
                  return hits;
                } catch (Throwable e) {
                  over.set(true);
                  throw e;
                }
              }));
    }
    join(workers);
  }

  /**
   * As {@code race}, with so many busy threads besides that the two are often stopped by the
   * scheduler, between any two instructions: where no race point is.
   */
  public static void crowdedRace(Step left, Step right) throws Exception {
    AtomicBoolean over = new AtomicBoolean();
    List<Worker<?>> crowd = new ArrayList<>();
    for (int i = 0; i < Runtime.getRuntime().availableProcessors(); i++) {
      crowd.add(
          Worker.start(
              () -> {
                while (!over.get()) {
                  Thread.onSpinWait();
                }
                return null;
              }));
    }
    try {
      race(left, right);
    } finally {
      over.set(true);
    }
    for (Worker<?> worker : crowd) {
      worker.result();
    }
  }

  /**
   * Runs the loops round by round: {@code before}, both steps at once, {@code after}. The first and
   * the last run while both threads stand still.
   */
  public static void rounds(Still before, Step left, Step right, Still after) throws Exception {
    long end = System.nanoTime() + NANOS;
    AtomicBoolean over = new AtomicBoolean();
    Phaser phaser =
        new Phaser(2) {
          @Override
          protected boolean onAdvance(int phase, int parties) {
            try {
              if ((phase & 1) == 0) {
                before.run();
              } else {
                after.run();
                over.set(System.nanoTime() - end > 0);
              }
            } catch (Exception e) {
              throw new AssertionError(e);
            }
            return false;
          }
        };
    List<Worker<Long>> workers = new ArrayList<>();
    for (Step step : List.of(left, right)) {
      workers.add(
          Worker.start(
              () -> {
                try {
                  for (long round = 0; ; round++) {
                    meet(phaser);
                    step.run(round);
                    meet(phaser);
                    if (over.get() || phaser.isTerminated()) {
                      return round;
                    }
                  }
                } catch (Throwable e) {
                  phaser.forceTermination(); // the other one must not wait for us
                  throw e;
                }
              }));
    }
    join(workers);
  }

  private static void meet(Phaser phaser) throws Exception {
    int phase = phaser.arrive();
    if (phase >= 0) {
      phaser.awaitAdvanceInterruptibly(phase, Worker.LIMIT_SECONDS, TimeUnit.SECONDS);
    }
  }

  /** Waits for both; what the second throws is added to what the first throws. */
  private static void join(List<Worker<Long>> workers) {
    AssertionError failure = null;
    for (Worker<Long> worker : workers) {
      try {
        worker.resultAfter(NANOS);
      } catch (Exception | AssertionError e) {
        if (failure == null) {
          failure = new AssertionError(e.toString(), e);
        } else {
          failure.addSuppressed(e);
        }
      }
    }
    if (failure != null) {
      throw failure;
    }
  }
}
