package io.github.guestmemfd.explore;

import io.github.guestmemfd.spi.Exploration;
import io.github.guestmemfd.spi.LockOrder;
import io.github.guestmemfd.spi.Scheduler;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;
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
  private boolean started;
  private volatile boolean turn;

  /** What the thread does, one after the other. */
  private List<Body> calls = List.of();

  // ---- where it stands ----

  /** The step that it is about to take. */
  StepKind kind = StepKind.START;

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

  /** Whether what it has come to is to fail. */
  boolean failing;

  /** By how much its clock is fast, since a wait of it has been cut short. */
  private long fast;

  /** What its calls have returned. */
  private final List<History.Done> done = new ArrayList<>();

  /** By thread: the last step that is known to have happened before its next one. */
  final int[] clock;

  /** A call. */
  @FunctionalInterface
  interface Body {
    @Nullable Object run() throws Exception;
  }

  Strand(Turns turns, int number, String name, int threads) {
    this.turns = turns;
    this.number = number;
    this.name = name;
    this.clock = new int[threads];
    this.thread = new Thread(this::serve, "explored-" + name);
    thread.setDaemon(true);
  }

  /** Starts the thread, if it has not been. */
  void start() {
    if (!started) {
      started = true;
      thread.start();
    }
  }

  Thread thread() {
    return thread;
  }

  /** Sets it up for a run; without calls it has finished. */
  void prepare(List<Body> forRun) {
    standAtStart(forRun);
    thrown = null;
    reads.clear();
    changed = false;
    permit = false;
    expired = false;
    interrupted = false;
    failing = false;
    fast = 0;
    done.clear();
    Arrays.fill(clock, 0);
  }

  /** Has it go on, after it has finished, with something that came after what a clock says. */
  void begin(Runnable task, int[] after) {
    standAtStart(
        List.of(
            () -> {
              task.run();
              return null;
            }));
    for (int i = 0; i < clock.length; i++) {
      clock[i] = Math.max(clock[i], after[i]);
    }
    start();
  }

  private void standAtStart(List<Body> forRun) {
    calls = forRun;
    kind = StepKind.START;
    word = -1;
    deadline = Long.MAX_VALUE;
    finished = forRun.isEmpty();
  }

  /** Has the time of its wait be up, by its own clock. */
  void expire(long time) {
    fast += Math.max(0, deadline - time);
    expired = true;
  }

  /** What its calls have returned, if it has finished. */
  List<History.Done> done() {
    return done;
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
      if (turns.arrive(number)) {
        turn = true; // the pool's thread has another task
      }
    }
  }

  private void run() {
    LockOrder.forget(); // what a scenario before has left locked
    try {
      for (Body call : calls) {
        call(call);
      }
    } catch (Throwable e) { // whatever a scenario throws is its result
      thrown = thrown == null ? e : thrown;
    }
    if (Thread.interrupted()) {
      interrupted = false; // the thread is used again
    }
  }

  private void call(Body call) throws Exception {
    boolean recorded = turns.isHistoryWanted();
    if (recorded || !done.isEmpty()) {
      stop(StepKind.CALL, recorded ? turns.historyWord() : -1, Long.MAX_VALUE);
    }
    int begun = turns.steps();
    Object result = call.run();
    if (recorded) {
      stop(StepKind.RETURN, turns.historyWord(), Long.MAX_VALUE);
    }
    done.add(new History.Done(number, begun, turns.steps(), result));
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
    stop(StepKind.PARK, turns.word(thread, 0), turns.after(nanos));
    goOn();
  }

  @Override
  public void unpark(Thread other) {
    stop(StepKind.WRITE, turns.word(other, 0), Long.MAX_VALUE); // its permit
    turns.unpark(other);
  }

  @Override
  public void retry() {
    stop(StepKind.RETRY, -1, Long.MAX_VALUE);
    goOn();
  }

  @Override
  public boolean mayFail() {
    if (!turns.isFailureOf(number)) {
      return false;
    }
    stop(StepKind.MAY_FAIL, -1, Long.MAX_VALUE);
    boolean fails = failing;
    failing = false;
    return fails;
  }

  @Override
  public void execute(Runnable task, long nanos) {
    stop(StepKind.WRITE, turns.word(turns, 0), Long.MAX_VALUE); // tasks come in their order
    turns.execute(task, nanos, clock);
  }

  @Override
  public long nanoTime() {
    return turns.nanoTime() + fast;
  }

  @Override
  public int threadNumber() {
    return number;
  }
}
