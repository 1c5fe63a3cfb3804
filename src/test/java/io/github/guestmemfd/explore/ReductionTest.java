package io.github.guestmemfd.explore;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.spi.Exploration;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.Mutex;
import io.github.guestmemfd.spi.Scheduler;
import io.github.guestmemfd.spi.Wait;
import io.github.guestmemfd.testing.Interleavings;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** What the reduction once lost, each the smallest program that shows it. */
class ReductionTest {
  private static final IdleStrategy IDLE = IdleStrategy.spinThenPark();
  private static final Options EACH = Options.ALL.withoutReduction();

  private static Explorer.Result run(
      Options options,
      Set<String> ends,
      List<Event> events,
      Scenario.@Nullable Act<Toy> invariant,
      List<Scenario.Act<Toy>> acts) {
    List<Scenario.Actor<Toy>> actors = new ArrayList<>();
    for (int i = 0; i < acts.size(); i++) {
      actors.add(new Scenario.Actor<>("t" + i, acts.get(i)));
    }
    return Explorer.explore(
        new Scenario<>(
            () -> new Toy(4), actors, events, invariant, w -> ends.add(w.state()), null, null),
        options,
        orders -> {});
  }

  private static void execute(Runnable task, long nanos) {
    Scheduler scheduler = Objects.requireNonNull(Exploration.scheduler());
    scheduler.execute(task, nanos);
  }

  /** The invariant looks at the second word only when the first is set. */
  @Test
  void anInvariantThatReadsAWordLate() {
    Scenario.Act<Toy> invariant =
        w -> {
          if (w.read(0) == 1 && w.read(1) == 1) {
            throw new AssertionError("both");
          }
        };
    List<Scenario.Act<Toy>> acts =
        List.of(
            w -> {
              w.write(1, 1);
              w.write(1, 0);
            },
            w -> {
              w.write(0, 1);
              w.write(0, 0);
            });
    assertThat(run(EACH, new TreeSet<>(), List.of(), invariant, acts).failure()).isNotNull();
    assertThat(run(Options.ALL, new TreeSet<>(), List.of(), invariant, acts).failure()).isNotNull();
  }

  /** Two threads hand over a task each: the tasks come in either order. */
  @Test
  void tasksOfTwoThreads() {
    List<Scenario.Act<Toy>> acts =
        List.of(
            w -> {
              w.read(3);
              execute(() -> w.write(0, 10 * w.read(0) + 1), 0);
            },
            w -> {
              w.read(3);
              execute(() -> w.write(0, 10 * w.read(0) + 2), 0);
            });
    Set<String> all = new TreeSet<>();
    Set<String> some = new TreeSet<>();
    run(EACH, all, List.of(), null, acts);
    run(Options.ALL, some, List.of(), null, acts);
    assertThat(some).isEqualTo(all);
  }

  /** Both waits of one thread time out. */
  @Test
  void twoTimeOuts() {
    Scenario.Act<Toy> waits =
        w -> {
          boolean first = Wait.upTo(IDLE, 1_000_000).until(() -> w.read(0) > 0);
          boolean second = Wait.upTo(IDLE, 1_000_000).until(() -> w.read(0) > 0);
          w.write(1, (first ? 1 : 2) * 10 + (second ? 1 : 2));
        };
    Event event = new Event(Event.Kind.TIMEOUT, "t0");
    Set<String> ends = new TreeSet<>();
    run(Options.ALL, ends, List.of(event, event), null, List.of(waits, w -> w.write(0, 1)));
    assertThat(ends).contains("[1, 11, 0, 0]", "[1, 21, 0, 0]", "[1, 22, 0, 0]");
  }

  /** An interrupt before the time of others passes. */
  @Test
  void anInterruptBeforeTimePasses() {
    List<Scenario.Act<Toy>> acts =
        List.of(
            w -> {
              try {
                Wait.await(IDLE, () -> w.read(0) > 0, 1_000);
              } catch (InterruptedException e) {
                w.write(1, 1);
              }
              try {
                Wait.upTo(IDLE, 700).until(() -> false);
              } catch (InterruptedException e) {
                return;
              }
              w.write(0, 0);
            },
            w -> {
              w.write(2, 1);
              Wait.upTo(IDLE, 700).until(() -> false);
              w.write(0, 3);
            });
    List<Event> events = List.of(new Event(Event.Kind.INTERRUPT, "t0"));
    Set<String> all = new TreeSet<>();
    Set<String> some = new TreeSet<>();
    run(EACH, all, events, null, acts);
    run(Options.ALL, some, events, null, acts);
    assertThat(some).isEqualTo(all);
  }

  /** Two wake-ups before the thread parks are one; one before and one after are two. */
  @Test
  void permitsAreOne() {
    Set<String> all = new TreeSet<>();
    Set<String> some = new TreeSet<>();
    all.add(parks(EACH, all));
    some.add(parks(Options.ALL, some));
    assertThat(some).isEqualTo(all);
  }

  private static String parks(Options options, Set<String> ends) {
    Thread[] sleeper = new Thread[1];
    Scenario.Act<Toy> wakes =
        w -> {
          w.read(3);
          Wait.unpark(sleeper[0]);
        };
    List<Scenario.Act<Toy>> acts =
        List.of(
            w -> {
              sleeper[0] = Thread.currentThread();
              w.write(3, 1);
              int[] looks = new int[1];
              boolean came = Wait.upTo(IDLE, Wait.FOREVER).until(() -> ++looks[0] == 3);
              w.write(0, came ? 1 : 2);
            },
            w -> {
              Wait.await(IDLE, () -> w.read(3) == 1, 1_000);
              wakes.on(w);
            },
            w -> {
              Wait.await(IDLE, () -> w.read(3) == 1, 1_000);
              wakes.on(w);
            });
    Explorer.Result result = run(options, ends, List.of(), null, acts);
    return result.failure() == null ? "" : result.failure().kind().toString();
  }

  /** What a mutex guards may have changed when the mutex is given back. */
  @Test
  void aWaitForWhatAMutexGuards() {
    Mutex mutex = new Mutex();
    boolean[] done = new boolean[1];
    Scenario<Toy> scenario =
        new Scenario<>(
            () -> {
              done[0] = false;
              return new Toy(1);
            },
            List.of(
                new Scenario.Actor<>(
                    "t0",
                    w ->
                        Wait.await(
                            IDLE,
                            () -> {
                              mutex.lock();
                              try {
                                return done[0];
                              } finally {
                                mutex.unlock();
                              }
                            },
                            1_000)),
                new Scenario.Actor<>(
                    "t1",
                    w -> {
                      mutex.lock();
                      try {
                        done[0] = true;
                      } finally {
                        mutex.unlock();
                      }
                    })),
            List.of(),
            null,
            w -> {},
            null,
            null);
    Failure failure = Explorer.explore(scenario, Options.ALL, orders -> {}).failure();
    assertThat(failure == null ? "" : failure.message()).isEmpty();
  }

  /** Wrong only if the last thread comes before the first, and the second after it. */
  private static Interleavings<Toy> fewest() {
    return Interleavings.of(() -> new Toy(2))
        .thread(
            "t0",
            w -> {
              w.add(1, 1);
              w.write(0, 0);
            })
        .thread("t1", w -> w.write(1, 2))
        .thread("t2", w -> w.write(0, 2))
        .atEnd(
            w -> {
              if (w.state().equals("[0, 2]")) {
                throw new AssertionError(w.state());
              }
            });
  }

  @Test
  void aBoundLosesNoOrder() {
    Interleavings.Report each = fewest().maxPreemptions(0).withoutReduction().find();
    Interleavings.Report reduced = fewest().maxPreemptions(0).find();
    assertThat(each.order()).isPresent();
    assertThat(reduced.order()).isPresent();
  }

  @Test
  void theFewestPreemptionsAreReported() {
    String text = fewest().find().counterexample().orElseThrow();
    assertThat(text).contains(" 0 pre-emptions");
  }

  // ---- linearizability ----

  private static Interleavings<Toy> counter() {
    return Interleavings.of(() -> new Toy(1))
        .call("a", w -> add(w, 1))
        .call("b", w -> add(w, 2))
        .call("c", w -> add(w, 3))
        .linearizable(Toy::state);
  }

  private static long add(Toy w, long delta) {
    long before = w.read(0);
    while (!w.compareAndSet(0, before, before + delta)) {
      before = w.read(0);
    }
    return before;
  }

  @Test
  void aLimitOfOrdersRefusesNothing() {
    for (int limit = 1; limit < 60; limit++) {
      counter().maxOrders(limit).explore();
    }
  }

  @Test
  void aLimitOfOrdersRefusesNoCalls() {
    for (int limit = 1; limit < 60; limit++) {
      Interleavings.of(() -> new Toy(1))
          .call("a", w -> add(w, 1))
          .call("a", w -> add(w, 10))
          .call("b", w -> add(w, 2))
          .call("b", w -> add(w, 20))
          .linearizable(Toy::state)
          .maxOrders(limit)
          .explore();
    }
  }

  @Test
  void aCallMayBeAddedAfterAnExploration() {
    Interleavings<Toy> counter =
        Interleavings.of(() -> new Toy(1))
            .call("a", w -> add(w, 1))
            .call("b", w -> add(w, 2))
            .linearizable(Toy::state);
    counter.explore();
    counter.call("a", w -> add(w, 3)).explore();
  }

  @Test
  void nullsAreResults() {
    Interleavings.of(() -> new Toy(1))
        .call("a", w -> null)
        .call("b", w -> add(w, 2))
        .linearizable(w -> null)
        .explore();
  }
}
