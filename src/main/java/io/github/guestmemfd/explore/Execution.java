package io.github.guestmemfd.explore;

import io.github.guestmemfd.spi.Exploration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The runs of a scenario: threads that go on one at a time, from step to step.
 *
 * <p>Each thread stops before its next step, so it is known of every thread what it will do next.
 * The thread that stops asks the search who goes on, enters what that step does to clocks, locks
 * and waits, and hands over. After a deadlock or a thread that blocks, the threads cannot be used
 * again, and the next run needs another object.
 *
 * @param <W> the world of the scenario
 */
final class Execution<W> implements Turns {
  private static final long HANG_NANOS = TimeUnit.SECONDS.toNanos(10);

  private final Scenario<W> scenario;
  private final Options options;
  private final Search search;

  /** The threads of the scenario, and after them that of the pool. */
  private final Strand[] strands;

  private final Strand pool;
  private final Standing standing;
  private final PossibleEvents events;
  private final Words words;
  private final Dependence dependence;
  private final InvariantReader invariantReader;

  private final Thread main = Thread.currentThread();
  private volatile boolean mainTurn;
  private volatile boolean over;
  private volatile int step;

  private boolean starting;
  private int running;
  private int preemptions;
  private @Nullable W world;
  private @Nullable Failure failure;
  private final List<Integer> order = new ArrayList<>();

  private boolean recording;
  private final List<Failure.Taken> taken = new ArrayList<>();

  Execution(Scenario<W> scenario, Options options, Search search) {
    this.scenario = scenario;
    this.options = options;
    this.search = search;
    List<Scenario.Actor<W>> actors = scenario.threads();
    int threads = threads(scenario);
    int all = threads + scenario.events().size() + 1; // and time
    this.strands = new Strand[threads];
    for (int i = 0; i < actors.size(); i++) {
      strands[i] = new Strand(this, i, actors.get(i).name(), all);
      strands[i].start();
    }
    this.pool = new Strand(this, threads - 1, Scenario.EXECUTOR, all);
    strands[threads - 1] = pool;
    this.events = new PossibleEvents(scenario.events(), strands);
    this.words = new Words(all);
    this.standing = new Standing(strands, pool, words);
    this.dependence = new Dependence(search, strands, events, words, options.allOfInvariant());
    this.invariantReader = new InvariantReader(words, dependence, this);
  }

  /** How many threads a scenario has, with that of the pool. */
  static int threads(Scenario<?> scenario) {
    return scenario.threads().size() + 1;
  }

  /** Ends the threads. Those that are stuck stay, as daemons. */
  void shutDown() {
    over = true;
    for (Strand strand : strands) {
      strand.giveTurn();
    }
  }

  @Override
  public boolean isOver() {
    return over;
  }

  // ---- a run ----

  /** Runs one order to its end; what is wrong with it, or null. */
  @Nullable Failure run(boolean record) {
    recording = record;
    taken.clear();
    order.clear();
    words.clear();
    failure = null;
    step = 0;
    preemptions = 0;
    running = -1;
    standing.begin();
    events.begin();
    search.begin();
    W made;
    try {
      made = scenario.world().call();
    } catch (Exception e) {
      throw new IllegalStateException("the world of the scenario cannot be made", e);
    }
    world = made;
    dependence.begin();
    for (Strand strand : strands) {
      strand.prepare(
          strand == pool ? List.of() : scenario.threads().get(strand.number).bodies(made));
    }
    starting = true;
    for (Strand strand : strands) {
      if (!strand.finished) {
        strand.giveTurn();
        awaitMain();
        if (failure != null) {
          return failure;
        }
      }
    }
    starting = false;
    Strand first = decide();
    if (first != null) {
      first.giveTurn();
      awaitMain();
    }
    if (failure == null) {
      finish(made);
    }
    world = null;
    return failure;
  }

  private void finish(W made) {
    for (Strand strand : strands) {
      Throwable thrown = strand.thrown;
      if (thrown != null) {
        fail(Failure.Kind.THREAD, strand.name + " has thrown " + thrown, thrown);
        return;
      }
    }
    Scenario.Oracle<W> oracle = scenario.oracle();
    if (oracle != null) {
      try {
        Stream<Strand> callers = Arrays.stream(strands).filter(strand -> strand != pool);
        List<History.Done> calls = callers.flatMap(strand -> strand.done().stream()).toList();
        oracle.check().look(new History(calls, oracle.outcome().on(made)));
      } catch (Throwable e) { // an assertion of any framework
        fail(Failure.Kind.HISTORY, String.valueOf(e.getMessage()), e);
        return;
      }
    }
    try {
      scenario.end().on(made);
    } catch (Throwable e) { // an assertion of any framework
      fail(Failure.Kind.END, "at the end: " + e, e);
    }
  }

  private void awaitMain() {
    int seen = step;
    long since = System.nanoTime();
    while (!mainTurn) {
      LockSupport.parkNanos(this, HANG_NANOS / 10);
      if (step != seen) {
        seen = step;
        since = System.nanoTime();
      } else if (System.nanoTime() - since > HANG_NANOS && !mainTurn) {
        failure =
            new Failure(
                Failure.Kind.BLOCKED,
                "no step for 10 s: a thread blocks, or runs, outside the waits of the library: "
                    + Places.of(Arrays.stream(strands).map(Strand::thread).toList()),
                null,
                order,
                preemptions,
                taken,
                state());
        return;
      }
    }
    mainTurn = false;
  }

  private void giveMain() {
    mainTurn = true;
    LockSupport.unpark(main);
  }

  @Override
  public boolean arrive(int number) {
    if (starting) {
      giveMain();
      return false;
    }
    Strand next = decide();
    if (next == null) {
      giveMain();
      return false;
    }
    if (next.number != number) {
      next.giveTurn();
    }
    return next.number == number;
  }

  // ---- decisions ----

  private @Nullable Strand decide() {
    try {
      while (true) {
        checkInvariant();
        if (failure != null) {
          return null;
        }
        int able = standing.able();
        if (able == 0 && standing.isAllFinished()) {
          return null;
        }
        if (able == 0 && !standing.canTimePass()) {
          dependence.raceOfThoseLeft();
          fail(Failure.Kind.DEADLOCK, "no thread can go on: " + standing.waiting(), null);
          return null;
        }
        int possible = events.enabled();
        if (able == 0 && possible == 0) {
          standing.passTime(); // there is nothing else that could happen
          continue;
        }
        int enabled = (able == 0 ? 1 << events.time() : whole(able)) | possible;
        if (step >= options.maxSteps()) {
          fail(Failure.Kind.LIVELOCK, "the run does not end after " + step + " steps", null);
          return null;
        }
        int chosen = search.choose(step, enabled, running, preemptions);
        if (search.preempts(enabled, running, chosen)) {
          preemptions++;
        }
        if (able == 0) {
          search.want(step, enabled); // time passes, or one of the events comes first
        }
        take(chosen);
        if (chosen < strands.length) {
          running = chosen;
          return strands[chosen];
        }
      }
    } catch (Search.Nondeterminism e) {
      fail(Failure.Kind.NONDETERMINISM, String.valueOf(e.getMessage()), null);
      return null;
    }
  }

  /** Of the threads that can take a step, the one whose call is to go on, or all. */
  private int whole(int able) {
    boolean inCall =
        options.wholeCalls()
            && running >= 0
            && (able & 1 << running) != 0
            && strands[running].kind != StepKind.CALL;
    return inCall ? 1 << running : able;
  }

  // ---- what a step does ----

  /** Enters a step, before it is taken. */
  private void take(int chosen) {
    search.sleep(dependence.stillSleeping(search.triedOrSleeping(step), chosen));
    order.add(chosen);
    int number = step + 1;
    if (chosen < strands.length) {
      Strand strand = strands[chosen];
      if (strand.finished) {
        standing.tasks.begin(strand);
      }
      if (recording) {
        taken.add(new Failure.Taken(chosen, strand.kind, standing.describe(strand), strand.where));
      }
      dependence.take(strand, number);
    } else if (chosen == events.time()) {
      if (recording) {
        taken.add(new Failure.Taken(chosen, StepKind.TIME, "", "time passes"));
      }
      dependence.time(number);
      standing.passTime();
    } else {
      if (recording) {
        Event event = events.event(chosen);
        taken.add(new Failure.Taken(chosen, event.step(), "", event.toString()));
      }
      dependence.event(chosen, number);
      events.happen(chosen, standing.time());
    }
    step = number;
  }

  // ---- for the threads ----

  @Override
  public int word(Object owner, long index) {
    return words.number(owner, index);
  }

  @Override
  public long nanoTime() {
    return standing.time();
  }

  @Override
  public long after(long nanos) {
    return standing.after(nanos);
  }

  @Override
  public void unpark(Thread thread) {
    for (Strand strand : strands) {
      if (strand.thread() == thread) {
        strand.permit = true;
        return;
      }
    }
    LockSupport.unpark(thread);
  }

  @Override
  public int steps() {
    return step;
  }

  @Override
  public boolean isHistoryWanted() {
    return scenario.oracle() != null;
  }

  @Override
  public int historyWord() {
    return words.number(scenario, 0);
  }

  @Override
  public boolean isFailureOf(int number) {
    return events.isFailureOf(strands[number]);
  }

  @Override
  public void execute(Runnable task, long nanos, int[] clock) {
    standing.tasks.add(task, after(nanos), clock);
  }

  @Override
  public boolean isRecording() {
    return recording;
  }

  /** Whether the invariant has read a word that it did not read at the start of a run. */
  boolean isInvariantLate() {
    return dependence.isInvariantLate();
  }

  // ---- what is wrong ----

  private void checkInvariant() {
    Scenario.Act<? super W> invariant = scenario.invariant();
    if (failure != null || invariant == null) {
      return;
    }
    Exploration.by(
        invariantReader,
        () -> {
          try {
            invariant.on(Objects.requireNonNull(world));
          } catch (Throwable e) { // an assertion of any framework
            fail(Failure.Kind.INVARIANT, "after step " + step + ": " + e, e);
          }
        });
  }

  private void fail(Failure.Kind kind, String message, @Nullable Throwable cause) {
    failure = new Failure(kind, message, cause, order, preemptions, taken, state());
  }

  /** What is shown of the world of a recorded run, as it is now. */
  private String state() {
    Scenario.Call<? super W> show = scenario.show();
    W shown = world;
    if (!recording || show == null || shown == null) {
      return "";
    }
    String[] text = new String[1];
    Exploration.by(
        null,
        () -> {
          try {
            text[0] = String.valueOf(show.on(shown));
          } catch (Throwable e) { // the world is wrong
            text[0] = "not to be shown: " + e;
          }
        });
    return text[0];
  }
}
