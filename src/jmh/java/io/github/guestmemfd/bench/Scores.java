package io.github.guestmemfd.bench;

import org.openjdk.jmh.results.RunResult;

/**
 * What JMH measured of a row: the scores of all iterations of all forks.
 *
 * @param median the median
 * @param lowest the lowest
 * @param highest the highest
 */
record Scores(double median, double lowest, double highest) {

  static Scores of(RunResult result) {
    double[] all =
        result.getBenchmarkResults().stream()
            .flatMap(fork -> fork.getIterationResults().stream())
            .mapToDouble(iteration -> iteration.getPrimaryResult().getScore())
            .sorted()
            .toArray();
    return new Scores(all[all.length / 2], all[0], all[all.length - 1]);
  }

  Scores per(Scores other) {
    return new Scores(median / other.median, lowest / other.highest, highest / other.lowest);
  }

  Scores minus(Scores other) {
    return new Scores(median - other.median, lowest - other.highest, highest - other.lowest);
  }

  Scores dividedBy(double number) {
    return new Scores(median / number, lowest / number, highest / number);
  }
}
