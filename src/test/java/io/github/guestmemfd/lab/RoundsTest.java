package io.github.guestmemfd.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.lab.report.Doubled;
import io.github.guestmemfd.lab.report.Measurement;
import io.github.guestmemfd.lab.report.Monitor;
import io.github.guestmemfd.lab.report.PageMap;
import io.github.guestmemfd.lab.workload.Run;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.BooleanSupplier;
import java.util.function.ToLongFunction;
import java.util.stream.IntStream;
import org.HdrHistogram.Histogram;
import org.junit.jupiter.api.Test;

/** In which order a session runs what, and for how long. */
class RoundsTest {

  private static final Rounds.Plan PLAN = new Rounds.Plan(10, 0.25, 6, 0.05);

  /** What has run, in its order, with the time it was given. */
  private final List<String> ran = new ArrayList<>();

  private final class Fake implements Run {
    private final String name;
    private final double seconds;
    private final ToLongFunction<Integer> ops;

    Fake(String name, double seconds, ToLongFunction<Integer> ops) {
      this.name = name;
      this.seconds = seconds;
      this.ops = ops;
    }

    @Override
    public String name() {
      return name;
    }

    @Override
    public double seconds() {
      return seconds;
    }

    @Override
    public Run withSeconds(double time) {
      return new Fake(name, time, ops);
    }

    @Override
    public Measurement measure(HostMemory host, BooleanSupplier stopped) {
      String what = name + " " + seconds;
      int before = (int) ran.stream().filter(what::equals).count();
      ran.add(what);
      return measurement(name, seconds, (long) (ops.applyAsLong(before) * seconds));
    }
  }

  private static Measurement measurement(String name, double seconds, long guestOps) {
    return new Measurement(
        name,
        true,
        "p",
        Monitor.IN_PLACE,
        "w",
        1,
        0,
        seconds,
        1,
        4096,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        "",
        0,
        0,
        0,
        0,
        0,
        guestOps,
        0,
        new Histogram(2),
        new Histogram(2),
        Doubled.NONE,
        0,
        new PageMap(4096, List.of()));
  }

  private List<Run> fakes(int n) {
    return IntStream.range(0, n).<Run>mapToObj(i -> new Fake("r" + i, 1, round -> 1000)).toList();
  }

  private Rounds.Result run(List<Run> runs, Rounds.Plan plan, long seed) {
    Rounds rounds = new Rounds(runs, plan, seed);
    try (HostMemory host = HostMemory.builder(1 << 20).build()) {
      rounds.run(host, SILENT, () -> false);
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
    return rounds.result();
  }

  private static final Rounds.Listener SILENT =
      new Rounds.Listener() {
        @Override
        public void warmingUp(int round) {}

        @Override
        public void measuring(int round, Run run) {}
      };

  private List<String> measured(double seconds) {
    return ran.stream().filter(r -> r.endsWith(" " + seconds)).toList();
  }

  @Test
  void eachRoundHasEachRunOnceInAnOrderOfItsOwn() {
    Rounds.Result result = run(fakes(8), PLAN, 1);
    List<String> all = measured(0.25);
    assertThat(all).hasSize(80);
    Set<List<String>> orders = new HashSet<>();
    for (int round = 0; round < 10; round++) {
      List<String> order = all.subList(round * 8, round * 8 + 8);
      assertThat(order).doesNotHaveDuplicates();
      orders.add(order);
    }
    assertThat(orders).hasSize(10);
    assertThat(result.measured()).hasSize(80);
    assertThat(result.measured().subList(0, 10).stream().map(Measurement::protocol))
        .containsOnly("r0");
    assertThat(result.measured().subList(0, 10).stream().map(Measurement::round))
        .containsExactly(0, 1, 2, 3, 4, 5, 6, 7, 8, 9);
  }

  @Test
  void theOrderComesFromTheSeed() {
    run(fakes(8), PLAN, 7);
    List<String> once = List.copyOf(ran);
    ran.clear();
    run(fakes(8), PLAN, 7);
    assertThat(ran).isEqualTo(once);
    ran.clear();
    run(fakes(8), PLAN, 8);
    assertThat(ran).isNotEqualTo(once);
  }

  /** How long that takes is up to the machine. */
  @Test
  void theOrderDoesNotDependOnHowLongTheWarmUpTook() {
    run(fakes(8), PLAN, 7);
    List<String> once = measured(0.25);
    ran.clear();
    List<Run> faster = new ArrayList<>(fakes(7));
    faster.add(new Fake("r7", 1, round -> 1000L << round));
    run(faster, PLAN, 7);
    assertThat(measured(0.05)).hasSizeGreaterThan(8 * 3);
    assertThat(measured(0.25)).isEqualTo(once);
  }

  @Test
  void theWarmUpEndsWhenNoRunGetsFaster() {
    Rounds.Result result = run(fakes(4), PLAN, 1);
    assertThat(measured(0.05)).hasSize(4 * 3); // the first sight, and two that are no faster
    assertThat(result.unsettled()).isEmpty();
  }

  @Test
  void aRunThatStillGetsFasterIsNamed() {
    List<Run> runs = new ArrayList<>(fakes(3));
    runs.add(new Fake("jit", 1, round -> 1000L << round));
    Rounds.Result result = run(runs, PLAN, 1);
    assertThat(measured(0.05)).hasSize(4 * 6);
    assertThat(result.unsettled()).containsExactly("jit");
    assertThat(result.measured().stream().map(Measurement::round).max(Integer::compare))
        .contains(9);
  }

  @Test
  void whatHasBeenMeasuredIsThereWhenItIsStopped() throws InterruptedException {
    Rounds rounds = new Rounds(fakes(4), PLAN, 1);
    try (HostMemory host = HostMemory.builder(1 << 20).build()) {
      rounds.run(host, SILENT, () -> measured(0.25).size() == 6);
    }
    assertThat(rounds.result().measured()).hasSize(6);
  }

  @Test
  void whatHasBeenMeasuredIsThereWhenARunFails() {
    List<Run> runs = new ArrayList<>(fakes(2));
    runs.add(
        new Fake(
            "bad",
            1,
            round -> {
              if (measured(0.25).size() > 4) {
                throw new IllegalStateException("bad");
              }
              return 1000;
            }));
    Rounds rounds = new Rounds(runs, PLAN, 1);
    try (HostMemory host = HostMemory.builder(1 << 20).build()) {
      assertThatThrownBy(() -> rounds.run(host, SILENT, () -> false))
          .isInstanceOf(IllegalStateException.class);
    }
    assertThat(rounds.result().measured()).isNotEmpty();
  }

  @Test
  void twentySecondsAreFiveRoundsOfSixteenRuns() {
    Rounds.Plan plan = Rounds.Plan.of(16, 20);
    assertThat(plan.rounds()).isEqualTo(5);
    assertThat(plan.isLongEnough()).isTrue();
    assertThat(plan.total(16)).isLessThanOrEqualTo(20.001);
  }

  @Test
  void manyRunsInALittleTimeAreSaidToBeTooShort() {
    Rounds.Plan plan = Rounds.Plan.of(200, 20);
    assertThat(plan.rounds()).isEqualTo(5);
    assertThat(plan.isLongEnough()).isFalse();
    assertThat(Rounds.Plan.of(200, Rounds.Plan.enoughSeconds(200)).isLongEnough()).isTrue();
  }
}
