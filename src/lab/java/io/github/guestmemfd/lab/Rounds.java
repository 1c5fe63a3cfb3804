package io.github.guestmemfd.lab;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.lab.report.Measurement;
import io.github.guestmemfd.lab.workload.Run;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.function.BooleanSupplier;
import java.util.stream.IntStream;

/**
 * Makes a session measure fairly: every run once per round, in a new order each round. So a
 * disturbance of the machine, or a JVM that gets faster, favours no protocol, and the rounds show
 * how far a figure can be trusted.
 *
 * <p>Before that the JVM warms up, in rounds that are discarded, until no run is much faster than
 * it was in an earlier round.
 */
final class Rounds {
  /** A run has settled when it has not been faster than before by more than this. */
  private static final double FASTER = 1.15;

  /** How often in a row it must not have been. */
  private static final int CALM = 2;

  private final List<Run> runs;
  private final Plan plan;
  private final long seed;

  /**
   * The time for a session.
   *
   * @param rounds how many rounds are measured
   * @param seconds how long a run takes in each of them
   * @param warmUpRounds how many rounds the warm-up may have, at least 2
   * @param warmUpSeconds how long a run takes in each of these
   */
  record Plan(int rounds, double seconds, int warmUpRounds, double warmUpSeconds) {

    /** The part of the time that may go to the warm-up. */
    private static final double WARM_UP_PART = 0.2;

    private static final int WARM_UP_ROUNDS = 6;
    private static final int MIN_ROUNDS = 5;
    private static final int MAX_ROUNDS = 40;

    /** A run shorter than this has not even room for two of the longest waits. */
    static final double ENOUGH_SECONDS = 0.2;

    /** A plan for so many runs in so much time: as many rounds as runs that are long enough let. */
    static Plan of(int runs, double seconds) {
      double warmUp = seconds * WARM_UP_PART;
      double measured = (seconds - warmUp) / runs;
      int rounds =
          (int) Math.max(MIN_ROUNDS, Math.min(MAX_ROUNDS, measured / ENOUGH_SECONDS + 1e-9));
      return new Plan(rounds, measured / rounds, WARM_UP_ROUNDS, warmUp / runs / WARM_UP_ROUNDS);
    }

    /** How much time so many runs need, in seconds, so that each is long enough in some rounds. */
    static double enoughSeconds(int runs) {
      return runs * (MIN_ROUNDS + 1) * ENOUGH_SECONDS / (1 - WARM_UP_PART);
    }

    /** How long so many runs take at most, in seconds. */
    double total(int runs) {
      return runs * (rounds * seconds + warmUpRounds * warmUpSeconds);
    }

    /** Whether the runs are long enough for what the longest waits take. */
    boolean isLongEnough() {
      return seconds >= ENOUGH_SECONDS - 1e-9;
    }
  }

  /**
   * The results of a session.
   *
   * @param measured the measurements, in the order of the runs, and of each run in that of the
   *     rounds
   * @param unsettled the names of the runs that were still getting faster when measuring began
   */
  record Result(List<Measurement> measured, List<String> unsettled) {}

  /** Is told what is about to run. */
  interface Listener {
    void warmingUp(int round);

    void measuring(int round, Run run);
  }

  /** What was measured of each run. */
  private final List<List<Measurement>> measured = new ArrayList<>();

  private List<String> unsettled = List.of();

  Rounds(List<? extends Run> runs, Plan plan, long seed) {
    this.runs = List.copyOf(runs);
    this.plan = plan;
    this.seed = seed;
    runs.forEach(run -> measured.add(new ArrayList<>()));
  }

  /**
   * Warms up and measures, until all is done or it is stopped.
   *
   * @throws InterruptedException if the thread is interrupted; {@link #result} has what there is
   * @throws IllegalStateException if a run failed; the same
   */
  void run(HostMemory host, Listener listener, BooleanSupplier stopped)
      throws InterruptedException {
    warmUp(host, listener, stopped);
    Random random = new Random(seed); // not the warm-up's, whose length the machine decides
    for (int round = 0; round < plan.rounds && !stopped.getAsBoolean(); round++) {
      for (int index : shuffled(random)) {
        if (stopped.getAsBoolean()) {
          return;
        }
        Run run = runs.get(index).withSeconds(plan.seconds);
        listener.measuring(round, run);
        measured.get(index).add(run.measure(host, stopped).inRound(round));
      }
    }
  }

  /** The results so far. */
  Result result() {
    return new Result(measured.stream().flatMap(List::stream).toList(), unsettled);
  }

  private void warmUp(HostMemory host, Listener listener, BooleanSupplier stopped)
      throws InterruptedException {
    double[] fastest = new double[runs.size()];
    int[] calm = new int[runs.size()];
    Random random = new Random(~seed);
    for (int round = 0; round < plan.warmUpRounds; round++) {
      listener.warmingUp(round);
      for (int index : shuffled(random)) {
        if (stopped.getAsBoolean()) {
          return;
        }
        Measurement m = runs.get(index).withSeconds(plan.warmUpSeconds).measure(host, stopped);
        double rate = m.guestOps() / m.seconds();
        calm[index] = rate <= fastest[index] * FASTER ? calm[index] + 1 : 0;
        fastest[index] = Math.max(fastest[index], rate);
      }
      if (IntStream.of(calm).allMatch(n -> n >= CALM)) {
        return;
      }
    }
    unsettled =
        IntStream.range(0, runs.size())
            .filter(i -> calm[i] == 0)
            .mapToObj(i -> runs.get(i).name())
            .toList();
  }

  private List<Integer> shuffled(Random random) {
    List<Integer> order = new ArrayList<>(IntStream.range(0, runs.size()).boxed().toList());
    Collections.shuffle(order, random);
    return order;
  }
}
