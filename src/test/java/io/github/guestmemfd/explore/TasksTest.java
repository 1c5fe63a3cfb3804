package io.github.guestmemfd.explore;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.spi.Exploration;
import io.github.guestmemfd.spi.Scheduler;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

/** Tasks that are handed to a pool are run by one more thread, in every order with the others. */
class TasksTest {

  private static void execute(Runnable task, long nanos) {
    Scheduler scheduler = Objects.requireNonNull(Exploration.scheduler());
    scheduler.execute(task, nanos);
  }

  private static Set<String> ends(List<Scenario.Act<Toy>> acts) {
    Set<String> ends = new TreeSet<>();
    List<Scenario.Actor<Toy>> actors =
        acts.stream().map(act -> new Scenario.Actor<>("t" + acts.indexOf(act), act)).toList();
    Explorer.Result result =
        Explorer.explore(
            new Scenario<>(
                () -> new Toy(2), actors, List.of(), null, w -> ends.add(w.state()), null, null),
            Options.ALL,
            orders -> {});
    assertThat(result.failure()).isNull();
    assertThat(result.complete()).isTrue();
    return ends;
  }

  /** A task races with what its thread does after it, and with other threads. */
  @Test
  void aTaskRaces() {
    Scenario.Act<Toy> hands =
        w -> {
          w.write(0, 1);
          execute(() -> w.write(1, 10 * w.read(0)), 0);
          w.write(0, 2);
        };
    assertThat(ends(List.of(hands))).containsExactly("[2, 10]", "[2, 20]");
    assertThat(ends(List.of(hands, w -> w.write(0, 3))))
        .containsExactly("[2, 10]", "[2, 20]", "[2, 30]", "[3, 10]", "[3, 20]", "[3, 30]");
  }

  /** They come one at a time, in the order of their handing over. */
  @Test
  void tasksComeOneAtATime() {
    Scenario.Act<Toy> hands =
        w -> {
          execute(() -> w.write(0, 10 * w.read(0) + 1), 0);
          execute(() -> w.write(0, 10 * w.read(0) + 2), 0);
        };
    assertThat(ends(List.of(hands))).containsExactly("[12, 0]");
  }

  /** The delay of a task passes when no thread can go on. */
  @Test
  void aDelayPassesWhenNoThreadCanGoOn() {
    Scenario.Act<Toy> hands =
        w -> {
          execute(() -> w.write(1, 10 * w.read(1) + w.read(0)), 2_000);
          execute(() -> w.write(1, 10 * w.read(1) + 5), 1_000);
          w.write(0, 1);
        };
    assertThat(ends(List.of(hands, w -> w.write(0, 2)))).containsExactly("[1, 51]", "[2, 52]");
  }

  /** A task may hand over another. */
  @Test
  void aTaskHandsOverAnother() {
    Scenario.Act<Toy> hands = w -> execute(() -> execute(() -> w.write(0, 1), 0), 0);
    assertThat(ends(List.of(hands))).containsExactly("[1, 0]");
  }
}
