package io.github.guestmemfd.lab.report;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.ToDoubleFunction;
import java.util.function.ToLongFunction;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.HdrHistogram.Histogram;

/**
 * Some runs together. Counts are added. What is a rate, a share or a latency is an {@link Estimate}
 * from the rounds of the session.
 */
final class Totals {

  /** A percentile is told only if so many samples are beyond it. */
  static final int SAMPLES_BEYOND = 10;

  private final List<Measurement> runs;

  /** The runs of each round; not of one that was cut short, which compares with no other. */
  private final List<List<Measurement>> rounds;

  private Totals(Collection<Measurement> runs) {
    this.runs = List.copyOf(runs);
    Map<Integer, List<Measurement>> byRound = new TreeMap<>();
    runs.forEach(m -> byRound.computeIfAbsent(m.round(), n -> new ArrayList<>()).add(m));
    int whole = byRound.values().stream().mapToInt(List::size).max().orElse(0);
    rounds = byRound.values().stream().filter(round -> round.size() == whole).toList();
  }

  static Totals of(Collection<Measurement> runs) {
    return new Totals(runs);
  }

  int rounds() {
    return rounds.size();
  }

  long sum(ToLongFunction<Measurement> count) {
    return sum(count, runs);
  }

  private static long sum(ToLongFunction<Measurement> count, Collection<Measurement> runs) {
    return runs.stream().mapToLong(count).sum();
  }

  long conversionsToInaccessible() {
    return sum(Measurement::conversionsToInaccessible);
  }

  long refusedWithUnsafeHolder() {
    return sum(Measurement::refusedWithUnsafeHolder);
  }

  long refusedWithoutUnsafeHolder() {
    return sum(Measurement::refusedWithoutUnsafeHolder);
  }

  long refusedToAccessible() {
    return sum(Measurement::refusedToAccessible);
  }

  long gaveUp() {
    return sum(m -> m.gaveUp().getTotalCount());
  }

  long leaks() {
    return sum(Measurement::leaks);
  }

  long retries() {
    return sum(Measurement::retries);
  }

  long sigbus() {
    return sum(Measurement::sigbus);
  }

  long framesLeaked() {
    return sum(Measurement::framesLeaked);
  }

  /** The share of first looks at the counts that failed, of the attempts that no holder blocked. */
  Estimate firstLookMismatch() {
    return estimate(
        of -> share(sum(Measurement::firstLookMismatches, of), sum(Measurement::firstLooks, of)));
  }

  /** The share of conversions that were refused, of those that no holder blocked. */
  Estimate falseBusyRate() {
    return estimate(
        of -> {
          long busy = sum(Measurement::refusedWithoutUnsafeHolder, of);
          return share(busy, busy + sum(m -> m.latency().getTotalCount(), of));
        });
  }

  /** The bytes of a guest that both of its memories held, the mean over time. */
  Estimate doubledMean() {
    return estimate(of -> mean(Doubled::mean, of));
  }

  /** The share of the memory that a guest had that was there twice, in the mean. */
  Estimate doubledShare() {
    return estimate(of -> mean(Doubled::mean, of) / mean(Doubled::used, of));
  }

  /** The most bytes of a guest that both of its memories held; NaN if no run had two. */
  double doubledPeak() {
    return withTwo(runs).mapToDouble(Doubled::peak).max().orElse(Double.NaN);
  }

  /** NaN if no run had two memories. */
  private static double mean(ToDoubleFunction<Doubled> of, Collection<Measurement> runs) {
    return withTwo(runs).mapToDouble(of).average().orElse(Double.NaN);
  }

  private static Stream<Doubled> withTwo(Collection<Measurement> runs) {
    return runs.stream().filter(m -> m.monitor().hasTwoMemories()).map(Measurement::doubled);
  }

  private static double share(long some, long all) {
    return all == 0 ? Double.NaN : (double) some / all;
  }

  /**
   * Operations of the guest per second. For several combinations the geometric mean, so that each
   * counts the same, a slow one too.
   */
  Estimate guestOpsPerSecond() {
    return estimate(Totals::geometricMean);
  }

  private static double geometricMean(List<Measurement> round) {
    Map<Measurement.Cell, List<Measurement>> cells =
        round.stream().collect(Collectors.groupingBy(Measurement::cell));
    double logs = 0;
    for (List<Measurement> cell : cells.values()) {
      double seconds = cell.stream().mapToDouble(Measurement::seconds).sum();
      logs += Math.log(seconds > 0 ? sum(Measurement::guestOps, cell) / seconds : 0);
    }
    return Math.exp(logs / cells.size());
  }

  /**
   * How long it took from the first ask for a page to be inaccessible until it was.
   *
   * @param percentile from 0 to below 100
   * @return nanoseconds; not known if too few samples are beyond, without an interval if that is so
   *     of a round
   */
  Estimate nanosAt(double percentile) {
    Histogram all = latency(runs);
    if (!reaches(all, percentile)) {
      return Estimate.NONE;
    }
    double[] ofRounds =
        ofRounds(
            of -> {
              Histogram some = latency(of);
              return reaches(some, percentile) ? some.getValueAtPercentile(percentile) : Double.NaN;
            });
    return Arrays.stream(ofRounds).anyMatch(Double::isNaN) || ofRounds.length < Estimate.MIN_ROUNDS
        ? new Estimate(all.getValueAtPercentile(percentile), Double.NaN, Double.NaN)
        : Estimate.of(ofRounds);
  }

  private static boolean reaches(Histogram histogram, double percentile) {
    return histogram.getTotalCount() * (100 - percentile) / 100 >= SAMPLES_BEYOND;
  }

  /** The longest time that it took, in nanoseconds; 0 if no conversion was made. */
  long longestNanos() {
    return latency(runs).getMaxValue();
  }

  Histogram latency() {
    return latency(runs);
  }

  private static Histogram latency(Collection<Measurement> runs) {
    Histogram all = new Histogram(3);
    runs.forEach(m -> all.add(m.latency()));
    return all;
  }

  /** A figure of each round, in their order. */
  double[] ofRounds(ToDoubleFunction<List<Measurement>> figure) {
    return rounds.stream().mapToDouble(figure).toArray();
  }

  private Estimate estimate(ToDoubleFunction<List<Measurement>> figure) {
    return Estimate.of(ofRounds(figure));
  }
}
