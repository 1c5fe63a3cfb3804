package io.github.guestmemfd.explore;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.Mutex;
import io.github.guestmemfd.spi.Wait;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The explorer finds every order, and only as many as it has to run. */
class ExplorerTest {
  /** Steps of each of two threads; 10 for 184,756 orders. */
  private static final int STEPS = Integer.getInteger("explore.steps", 5);

  /** Random programs of each test. */
  private static final int PROGRAMS = Integer.getInteger("explore.programs", 20);

  private static final Options EACH = Options.ALL.withoutReduction();

  private static Scenario<Toy> scenario(
      int words, Set<String> ends, List<Scenario.Act<Toy>> threads) {
    List<Scenario.Actor<Toy>> actors = new ArrayList<>();
    for (int i = 0; i < threads.size(); i++) {
      actors.add(new Scenario.Actor<>("t" + i, threads.get(i)));
    }
    return new Scenario<>(
        () -> new Toy(words), actors, List.of(), null, w -> ends.add(w.state()), null, null);
  }

  private static Explorer.Result run(Scenario<Toy> scenario, Options options) {
    return Explorer.explore(scenario, options, orders -> {});
  }

  private static Scenario.Act<Toy> writes(int word) {
    return w -> {
      for (int i = 0; i < STEPS; i++) {
        w.write(word, i);
      }
    };
  }

  @Test
  void twoThreadsHaveAsManyOrdersAsReckoned() {
    Scenario<Toy> scenario = scenario(2, new TreeSet<>(), List.of(writes(0), writes(1)));
    Explorer.Result result = run(scenario, EACH);
    assertThat(result.orders()).isEqualTo(reckoned());
    assertThat(result.complete()).isTrue();
    assertThat(result.steps()).isEqualTo(reckoned() * 2 * STEPS);
  }

  /** Orders of two threads: (2 n)! / (n! n!). */
  private static long reckoned() {
    long orders = 1;
    for (int i = 1; i <= STEPS; i++) {
      orders = orders * (STEPS + i) / i;
    }
    return orders;
  }

  @Test
  void threeThreadsOfThreeStepsHave1680Orders() {
    Scenario.Act<Toy> three =
        w -> {
          w.read(0);
          w.read(0);
          w.read(0);
        };
    assertThat(run(scenario(1, new TreeSet<>(), List.of(three, three, three)), EACH).orders())
        .isEqualTo(1_680); // 9! / (3! 3! 3!)
  }

  @Test
  void stepsThatCommuteAreOneOrder() {
    Scenario<Toy> apart = scenario(2, new TreeSet<>(), List.of(writes(0), writes(1)));
    assertThat(run(apart, Options.ALL).orders()).isEqualTo(1);
  }

  @Test
  void readsCommute() {
    Scenario.Act<Toy> reads =
        w -> {
          for (int i = 0; i < 10; i++) {
            w.read(0);
          }
        };
    assertThat(run(scenario(1, new TreeSet<>(), List.of(reads, reads)), Options.ALL).orders())
        .isEqualTo(1);
  }

  @Test
  void writesOfOneWordDoNotCommute() {
    Scenario<Toy> same = scenario(1, new TreeSet<>(), List.of(writes(0), writes(0)));
    assertThat(run(same, Options.ALL).orders()).isEqualTo(reckoned());
  }

  /** Also the world of a run that turns out to repeat another. */
  @Test
  void everyWorldComesToItsEnd() {
    long runs = 0;
    long redundant = 0;
    int[] ends = new int[1];
    for (int seed = 0; seed < 3; seed++) {
      List<Scenario.Actor<Toy>> actors = new ArrayList<>();
      for (int t = 0; t < 4; t++) {
        actors.add(new Scenario.Actor<>("t" + t, random(seed * 31L + t, 3, 3, new Mutex[0])));
      }
      Explorer.Result result =
          run(
              new Scenario<>(() -> new Toy(3), actors, List.of(), null, w -> ends[0]++, null, null),
              Options.ALL);
      runs += result.orders() + result.redundant();
      redundant += result.redundant();
    }
    assertThat(redundant).isPositive();
    assertThat(ends[0]).isEqualTo(runs);
  }

  // ---- random programs: the reduction loses no end ----

  private static Scenario.Act<Toy> random(long seed, int steps, int words, Mutex[] locks) {
    return w -> {
      Random random = new Random(seed);
      long seen = 1;
      for (int i = 0; i < steps; i++) {
        int word = random.nextInt(words);
        switch (random.nextInt(locks.length == 0 ? 4 : 5)) {
          case 0 -> seen = seen * 31 + w.read(word);
          case 1 -> w.write(word, seen);
          case 2 -> w.add(word, 1);
          case 3 -> {
            if (!w.compareAndSet(word, 0, seen)) {
              seen += 7;
            }
          }
          default -> {
            Mutex lock = locks[word % locks.length];
            lock.lock();
            try {
              w.write(word, w.read(word) + seen);
            } finally {
              lock.unlock();
            }
          }
        }
      }
    };
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1, 2})
  void reductionLosesNoEnd(int manyLocks) {
    int fewer = 0;
    for (int seed = 0; seed < PROGRAMS; seed++) {
      Mutex[] locks = new Mutex[manyLocks];
      for (int i = 0; i < locks.length; i++) {
        locks[i] = new Mutex();
      }
      int threads = 2 + seed % 2;
      int steps = manyLocks > 0 || threads == 3 ? 2 : 4; // a section under a lock is four steps
      List<Scenario.Act<Toy>> acts = new ArrayList<>();
      for (int t = 0; t < threads; t++) {
        acts.add(random(seed * 31L + t, steps, 2, locks));
      }
      Set<String> all = new TreeSet<>();
      Set<String> some = new TreeSet<>();
      long each = run(scenario(2, all, acts), EACH).orders();
      long reduced = run(scenario(2, some, acts), Options.ALL).orders();
      assertThat(some).as("seed " + seed).isEqualTo(all);
      assertThat(reduced).isLessThanOrEqualTo(each);
      fewer += reduced < each ? 1 : 0;
    }
    assertThat(fewer).isGreaterThan(PROGRAMS / 2);
  }

  /** Threads that wait for what others write. */
  @Test
  void reductionLosesNoEndOfThreadsThatWait() {
    IdleStrategy idle = IdleStrategy.spinThenPark();
    for (int seed = 0; seed < PROGRAMS; seed++) {
      int word = seed % 2;
      int order = seed;
      List<Scenario.Act<Toy>> acts =
          List.of(
              w -> {
                Wait.await(idle, () -> w.read(0) > 0 && w.read(1) >= 0, 1_000);
                w.write(2, w.read(1) * 10 + w.read(0));
              },
              random(order * 7L, 2, 2, new Mutex[0]),
              w -> {
                w.add(word, 1);
                w.write(0, 3);
              });
      Set<String> all = new TreeSet<>();
      Set<String> some = new TreeSet<>();
      Explorer.Result each = run(scenario(3, all, acts), EACH);
      Explorer.Result reduced = run(scenario(3, some, acts), Options.ALL);
      assertThat(each.failure()).isNull();
      assertThat(reduced.failure()).isNull();
      assertThat(some).as("seed " + seed).isEqualTo(all);
    }
  }
}
