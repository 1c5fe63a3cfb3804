package io.github.guestmemfd.testing;

import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.spi.Wait;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * A thread that takes part in a race, and stops at chosen steps of what it does.
 *
 * <p>Its steps are the race points that it passes and the steps that its act names, numbered from
 * 0. A dry run of the act tells how many there are with a given protocol.
 */
final class Party {
  /** No party is held at a stop for longer. */
  static final long LIMIT_SECONDS = 30;

  /** The step at which a holder has taken all that it needs. */
  static final String HOLDING = "HOLDING";

  /** Stands for the step {@link #HOLDING}, whatever its number. */
  static final int AT_HOLDING = -1;

  /** What a party does. */
  @FunctionalInterface
  interface Act {
    void run(Party self) throws Exception;
  }

  private final String name;
  private final Act act;
  private final Set<Integer> stopsAt;
  private final Runnable whenItWaits;
  private final Stage stage;
  private final Thread thread;
  private final Semaphore permits = new Semaphore(0);
  private final CountDownLatch done = new CountDownLatch(1);

  /** The names of the steps passed so far. Written by the thread of this party alone. */
  private final List<String> passed = new ArrayList<>();

  private volatile @Nullable String standsAt;
  private volatile boolean free;
  private volatile boolean waits;
  private volatile @Nullable Throwable failure;

  Party(Stage stage, String name, Set<Integer> stops, Act act, Runnable whenItWaits) {
    this.stage = stage;
    this.name = name;
    this.stopsAt = stops;
    this.act = act;
    this.whenItWaits = whenItWaits;
    thread = new Thread(this::run, name);
    thread.setDaemon(true);
  }

  Thread thread() {
    return thread;
  }

  Party start() {
    thread.start();
    return this;
  }

  private void run() {
    try {
      act.run(this);
    } catch (Throwable e) {
      failure = e;
    } finally {
      done.countDown();
      stage.progressed();
      stage.changed();
    }
  }

  void passes(RacePoint point) {
    reach(point.name());
  }

  /** Called by the party's own thread at each step; blocks if the step is a stop. */
  void reach(String step) {
    waits = false;
    int number = passed.size();
    passed.add(step);
    stage.progressed();
    boolean stops =
        stopsAt.contains(number) || (step.equals(HOLDING) && stopsAt.contains(AT_HOLDING));
    if (!stops || free) {
      return;
    }
    standsAt = step;
    stage.changed();
    try {
      if (!Wait.blockUninterruptibly(this::awaitPermit, TimeUnit.SECONDS.toNanos(LIMIT_SECONDS))) {
        throw new AssertionError(name + " was held at " + step + " and not released");
      }
    } finally {
      standsAt = null;
    }
  }

  private boolean awaitPermit(long nanos) throws InterruptedException {
    return free || permits.tryAcquire(nanos, TimeUnit.NANOSECONDS);
  }

  /** Called by the party's own thread whenever it waits in the library. */
  void idles() {
    if (!waits) {
      waits = true;
      stage.changed();
    }
    whenItWaits.run();
  }

  /** Lets the party go on to its next stop. */
  void goOn() {
    standsAt = null; // from here on it is not still
    permits.release();
  }

  /** Lets the party run to its end. */
  void goAway() {
    free = true;
    goOn();
  }

  /** Interrupts whatever the party is doing. */
  void interrupt() {
    thread.interrupt();
  }

  boolean isDone() {
    return done.getCount() == 0;
  }

  /** Whether the party makes no progress: it is at a stop, waits, or is done. */
  boolean isStill() {
    return standsAt != null || waits || isDone();
  }

  /** Waits until the party {@link #isStill}. */
  Party awaitStill() {
    stage.await(this::isStill);
    return this;
  }

  /** Waits for the end of the party, and throws what it threw. */
  void join() {
    stage.await(this::isDone);
    Throwable e = failure;
    failure = null; // it is thrown once
    if (e instanceof Error error) {
      throw error;
    }
    if (e instanceof RuntimeException exception) {
      throw exception;
    }
    if (e != null) {
      throw new AssertionError(name + " failed", e);
    }
  }

  /** The names of the steps passed; for a party that is done. */
  List<String> steps() {
    return List.copyOf(passed);
  }

  /** Where the party is: at a stop, or its stack trace. For a message. */
  String where() {
    String stop = standsAt;
    StringBuilder text = new StringBuilder(name);
    text.append(stop == null ? " hangs at" : " was stopped at " + stop + ", at");
    for (StackTraceElement frame : thread.getStackTrace()) {
      text.append("\n    ").append(frame);
    }
    return text.toString();
  }

  @Override
  public String toString() {
    return name;
  }
}
