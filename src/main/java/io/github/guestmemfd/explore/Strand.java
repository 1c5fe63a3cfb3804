package io.github.guestmemfd.explore;

import io.github.guestmemfd.spi.Exploration;
import io.github.guestmemfd.spi.LockOrder;
import io.github.guestmemfd.spi.Scheduler;
import java.util.Arrays;
import java.util.BitSet;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * A thread of a scenario. It stops before each step, and takes it when it is its turn.
 *
 * <p>All fields but {@code turn} are written by the thread whose turn it is: there is one at a
 * time, and the hand-over orders what they do.
 */
final class Strand implements Scheduler {
  /** Looks at the turn before a thread parks: a hand-over by parking costs some microseconds. */
  private static final int SPINS = 2_000;

  final int number;
  final String name;
  private final Turns turns;
  private final Thread thread;
  private volatile boolean turn;

  /** What the thread does, in this run. */
  private Body body = () -> {};

  // ---- where it stands ----

  /** The step that it is about to take. */
  StepKind kind = StepKind.YIELD;

  /** The word or lock of the step; -1 for none. */
  int word = -1;

  /** The virtual time until which it waits. */
  long deadline;

  /** The place in the code of the step; empty unless the run is recorded. */
  String where = "";

  boolean finished;
  @Nullable Throwable thrown;

  /** Words read since it last returned from a wait, and whether another thread has changed one. */
  final BitSet reads = new BitSet();

  boolean changed;

  /** Whether it has been unparked since it last returned from {@link #park}. */
  boolean permit;

  /** Whether its time is up. */
  boolean expired;

  /** Whether it is to be interrupted when it goes on. */
  boolean interrupted;

  /** By thread: the last step that is known to have happened before its next one. */
  final int[] clock;

  /** Something that may fail. */
  @FunctionalInterface
  interface Body {
    void run() throws Exception;
  }

  Strand(Turns turns, int number, String name, int threads) {
    this.turns = turns;
    this.number = number;
    this.name = name;
    this.clock = new int[threads];
    this.thread = new Thread(this::serve, "explored-" + name);
    thread.setDaemon(true);
  }

  void start() {
    thread.start();
  }

  Thread thread() {
    return thread;
  }

  /** Sets it up for a run. */
  void prepare(Body forRun) {
    body = forRun;
    kind = StepKind.YIELD;
    word = -1;
    deadline = Long.MAX_VALUE;
    finished = false;
    thrown = null;
    reads.clear();
    changed = false;
    permit = false;
    expired = false;
    interrupted = false;
    Arrays.fill(clock, 0);
  }

  // ---- turns ----

  /** Lets this thread go on. */
  void giveTurn() {
    turn = true;
    LockSupport.unpark(thread);
  }

  private void awaitTurn() {
    for (int i = 0; !turn; i++) {
      if (i < SPINS) {
        Thread.onSpinWait();
      } else {
        LockSupport.park(this);
      }
    }
    turn = false;
  }

  private void serve() {
    while (true) {
      awaitTurn();
      if (turns.isOver()) {
        return;
      }
      Exploration.by(this, this::run);
      finished = true;
      reads.clear();
      turns.arrive(number);
    }
  }

  private void run() {
    LockOrder.forget(); // what a scenario before has left locked
    try {
      body.run();
    } catch (Throwable e) { // whatever a scenario throws is its result
      thrown = e;
    }
    if (Thread.interrupted()) {
      interrupted = false; // the thread is used again
    }
  }

  /** Stops before a step until it is this thread's turn. */
  private void stop(StepKind next, int at, long until) {
    kind = next;
    word = at;
    deadline = until;
    where = turns.isRecording() ? Places.ofStep() : "";
    if (!turns.arrive(number)) {
      awaitTurn();
      if (turns.isOver()) {
        stayForever();
      }
    }
  }

  /**
   * Ends a thread in the middle of a run that has failed. It stays as it is: to unwind it would run
   * more of the code whose state is wrong.
   */
  private void stayForever() {
    while (true) {
      LockSupport.park(this);
    }
  }

  /** Goes on after a wait. */
  private void goOn() {
    if (interrupted) {
      interrupted = false;
      thread.interrupt();
    }
  }

  // ---- steps ----

  @Override
  public void access(Object owner, long index, boolean write) {
    int at = turns.word(owner, index);
    stop(write ? StepKind.WRITE : StepKind.READ, at, Long.MAX_VALUE);
  }

  @Override
  public void acquire(Object lock) {
    stop(StepKind.ACQUIRE, turns.word(lock, 0), Long.MAX_VALUE);
  }

  @Override
  public void release(Object lock) {
    stop(StepKind.RELEASE, turns.word(lock, 0), Long.MAX_VALUE);
  }

  @Override
  public void poll(long nanos) {
    stop(StepKind.POLL, -1, turns.after(nanos));
    goOn();
  }

  @Override
  public void park(long nanos) {
    stop(StepKind.PARK, -1, turns.after(nanos));
    goOn();
  }

  @Override
  public void unpark(Thread other) {
    turns.unpark(other);
  }

  @Override
  public void retry() {
    stop(StepKind.YIELD, -1, Long.MAX_VALUE);
  }

  @Override
  public long nanoTime() {
    return turns.nanoTime();
  }

  @Override
  public int threadNumber() {
    return number;
  }
}
