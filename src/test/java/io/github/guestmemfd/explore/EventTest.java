package io.github.guestmemfd.explore;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.spi.Exploration;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.Wait;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Interrupts, time-outs and failures happen at every place where they can, and nowhere else. */
class EventTest {
  private static final IdleStrategy IDLE = IdleStrategy.spinThenPark();
  private static final Options EACH = Options.ALL.withoutReduction();
  private static final int PROGRAMS = 12;

  private static Explorer.Result run(
      Options options, Set<String> ends, List<Event.Kind> kinds, List<Scenario.Act<Toy>> acts) {
    List<Scenario.Actor<Toy>> actors = new ArrayList<>();
    for (int i = 0; i < acts.size(); i++) {
      actors.add(new Scenario.Actor<>("t" + i, acts.get(i)));
    }
    List<Event> events = kinds.stream().map(kind -> new Event(kind, "t0")).toList();
    Explorer.Result result =
        Explorer.explore(
            new Scenario<>(
                () -> new Toy(4), actors, events, null, w -> ends.add(w.state()), null, null),
            options,
            orders -> {});
    assertThat(result.failure()).isNull();
    return result;
  }

  private static Set<String> ends(List<Event.Kind> kinds, List<Scenario.Act<Toy>> acts) {
    Set<String> ends = new TreeSet<>();
    run(Options.ALL, ends, kinds, acts);
    return ends;
  }

  /** Waits for a word to reach 1 and then 2, and says how each wait has ended. */
  private static void waitTwice(Toy w) {
    long seen = 1;
    for (int i = 0; i < 2; i++) {
      int least = i;
      try {
        boolean came = Wait.upTo(IDLE, 1_000_000).until(() -> w.read(0) > least);
        seen = seen * 10 + (came ? w.read(1) : 7);
      } catch (InterruptedException e) {
        seen = seen * 10 + 5 + w.read(0);
      }
    }
    w.write(2, seen);
  }

  private static void failTwice(Toy w) {
    long seen = 1;
    for (int i = 0; i < 2; i++) {
      seen = seen * 10 + (Exploration.shouldFail() ? 5 + w.read(0) : w.read(1));
    }
    w.write(2, seen);
  }

  /** In all orders of other threads, too: the reduction loses no end. */
  @ParameterizedTest
  @EnumSource
  void reductionLosesNoEnd(Event.Kind kind) {
    for (int seed = 0; seed < PROGRAMS; seed++) {
      int word = seed % 2;
      int value = seed / 2;
      Scenario.Act<Toy> other =
          w -> {
            w.add(word, 1);
            w.write(1 - word, value);
          };
      List<Scenario.Act<Toy>> acts =
          kind == Event.Kind.FAILURE
              ? List.of(EventTest::failTwice, other, w -> w.write(0, w.read(1)))
              : List.of(EventTest::waitTwice, other, w -> w.write(0, 3));
      Set<String> all = new TreeSet<>();
      Set<String> some = new TreeSet<>();
      long each = run(EACH, all, List.of(kind), acts).orders();
      long reduced = run(Options.ALL, some, List.of(kind), acts).orders();
      assertThat(some).as("seed " + seed).isEqualTo(all);
      assertThat(reduced).isLessThanOrEqualTo(each);
    }
  }

  /** Also where no other thread has anything to do with the wait. */
  @Test
  void aWaitWithALimitIsInterruptedToo() {
    Scenario.Act<Toy> waits =
        w -> {
          try {
            w.write(1, Wait.upTo(IDLE, 1_000_000).until(() -> w.read(0) > 0) ? 1 : 2);
          } catch (InterruptedException e) {
            w.write(1, 3);
          }
        };
    assertThat(ends(List.of(), List.of(waits))).containsExactly("[0, 2, 0, 0]");
    assertThat(ends(List.of(Event.Kind.INTERRUPT), List.of(waits)))
        .containsExactly("[0, 2, 0, 0]", "[0, 3, 0, 0]");
  }

  /** Time passes only when no thread can go on, but for a time-out. */
  @Test
  void aTimeOutComesWhileOthersGoOn() {
    Scenario.Act<Toy> waits =
        w -> w.write(1, Wait.upTo(IDLE, 1_000_000).until(() -> w.read(0) > 0) ? 1 : 2);
    Scenario.Act<Toy> sets = w -> w.write(0, 1);
    assertThat(ends(List.of(), List.of(waits, sets))).containsExactly("[1, 1, 0, 0]");
    assertThat(ends(List.of(Event.Kind.TIMEOUT), List.of(waits, sets)))
        .containsExactly("[1, 1, 0, 0]", "[1, 2, 0, 0]");
  }

  /** A time-out is of one wait: the next has its own time. */
  @Test
  void aTimeOutIsOfOneWait() {
    Scenario.Act<Toy> waits =
        w -> {
          boolean first = Wait.upTo(IDLE, 1_000_000).until(() -> w.read(0) > 0);
          boolean second = Wait.upTo(IDLE, 1_000_000).until(() -> w.read(0) > 0);
          w.write(1, (first ? 1 : 2) * 10 + (second ? 1 : 2));
        };
    assertThat(ends(List.of(Event.Kind.TIMEOUT), List.of(waits, w -> w.write(0, 1))))
        .containsExactly("[1, 11, 0, 0]", "[1, 21, 0, 0]");
  }

  @Test
  void eachPlaceFailsOnce() {
    Scenario.Act<Toy> fails =
        w -> {
          long seen = 0;
          for (int i = 0; i < 4; i++) {
            seen = seen * 10 + (Exploration.shouldFail() ? 1 : 0);
          }
          w.write(0, seen);
        };
    assertThat(ends(List.of(Event.Kind.FAILURE), List.of(fails)))
        .containsExactly(
            "[0, 0, 0, 0]", "[1, 0, 0, 0]", "[10, 0, 0, 0]", "[100, 0, 0, 0]", "[1000, 0, 0, 0]");
    assertThat(ends(List.of(), List.of(fails))).containsExactly("[0, 0, 0, 0]");
  }

  /** A bound on pre-emptions keeps every event. */
  @Test
  void eventsPreemptNoThread() {
    Set<String> ends = new TreeSet<>();
    Scenario.Act<Toy> fails = w -> w.write(0, Exploration.shouldFail() ? 1 : 2);
    run(Options.ALL.withPreemptions(0), ends, List.of(Event.Kind.FAILURE), List.of(fails));
    assertThat(ends).containsExactly("[1, 0, 0, 0]", "[2, 0, 0, 0]");
  }

  /** A wait without a limit that only an interrupt ends is a deadlock without the interrupt. */
  @Test
  void anInterruptMayNotCome() {
    Scenario<Toy> scenario =
        new Scenario<>(
            () -> new Toy(1),
            List.of(new Scenario.Actor<>("t0", w -> Wait.await(IDLE, () -> w.read(0) > 0, 1_000))),
            List.of(new Event(Event.Kind.INTERRUPT, "t0")),
            null,
            w -> {},
            null,
            null);
    Failure failure = Explorer.explore(scenario, Options.ALL, orders -> {}).failure();
    assertThat(failure).isNotNull();
    assertThat(failure.kind()).isEqualTo(Failure.Kind.DEADLOCK);
  }
}
