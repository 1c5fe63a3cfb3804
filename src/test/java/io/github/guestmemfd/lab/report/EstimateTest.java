package io.github.guestmemfd.lab.report;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Random;
import java.util.stream.DoubleStream;
import org.junit.jupiter.api.Test;

/** Medians and their intervals, and how often they are wrong. */
class EstimateTest {

  /** A figure of so many rounds, as lopsided as rates and latencies are. */
  private static Estimate drawn(int rounds, double factor, Random random) {
    return Estimate.of(
        DoubleStream.generate(() -> factor * Math.exp(random.nextGaussian() * 0.3))
            .limit(rounds)
            .toArray());
  }

  private static boolean isTie(Estimate one, Estimate other) {
    return !one.isAbove(other) && !other.isAbove(one);
  }

  @Test
  void theMedianOfAnOddAndOfAnEvenNumberOfRounds() {
    assertThat(Estimate.of(3, 1, 2).median()).isEqualTo(2);
    assertThat(Estimate.of(4, 1, 3, 2).median()).isEqualTo(2.5);
    assertThat(Estimate.of(7).median()).isEqualTo(7);
  }

  @Test
  void theIntervalOfFiveRoundsGoesFromTheLeastToTheGreatest() {
    Estimate e = Estimate.of(5, 1, 4, 2, 3);
    assertThat(e).isEqualTo(new Estimate(3, 1, 5));
    assertThat(e.hasInterval()).isTrue();
  }

  @Test
  void moreRoundsMakeItNarrower() {
    double[] rounds = DoubleStream.iterate(1, d -> d + 1).limit(39).toArray();
    Estimate e = Estimate.of(rounds);
    assertThat(e.median()).isEqualTo(20);
    assertThat(e.low()).isBetween(8.0, 13.0);
    assertThat(e.high()).isBetween(27.0, 32.0);
  }

  @Test
  void fewerThanFiveRoundsHaveNoneAndAreNeverBetter() {
    Estimate few = Estimate.of(100, 101, 102, 103);
    assertThat(few.isKnown()).isTrue();
    assertThat(few.hasInterval()).isFalse();
    assertThat(few.isAbove(Estimate.of(1, 1, 1, 1, 1))).isFalse();
    assertThat(Estimate.of(1000, 1000, 1000, 1000, 1000).isAbove(few)).isFalse();
  }

  @Test
  void roundsWithoutTheFigureDoNotCount() {
    assertThat(Estimate.of(Double.NaN, 1, 2, 3, 4, 5, Double.NaN)).isEqualTo(new Estimate(3, 1, 5));
    assertThat(Estimate.of(Double.NaN).isKnown()).isFalse();
    assertThat(Estimate.of().isKnown()).isFalse();
  }

  @Test
  void aboveMeansThatTheIntervalsDoNotMeet() {
    Estimate low = new Estimate(2, 1, 3);
    assertThat(new Estimate(4, 3.1, 5).isAbove(low)).isTrue();
    assertThat(new Estimate(4, 3, 5).isAbove(low)).isFalse();
    assertThat(low.isAbove(low)).isFalse();
  }

  /** So that a reader of the ratio sees the same as a reader of the two intervals. */
  @Test
  void oneIsInTheRatioIfTheIntervalsMeet() {
    Random random = new Random(5);
    for (int i = 0; i < 200; i++) {
      Estimate a = drawn(5, 1, random);
      Estimate b = drawn(5, 1 + random.nextDouble(), random);
      Estimate ratio = b.over(a);
      assertThat(ratio.low() <= 1 && 1 <= ratio.high()).isEqualTo(isTie(a, b));
    }
  }

  @Test
  void theSameRoundsHaveTheSameInterval() {
    double[] rounds = new Random(1).doubles(20).toArray();
    assertThat(Estimate.of(rounds)).isEqualTo(Estimate.of(rounds));
  }

  /** Fewer than one in a hundred says that two are different that are not. */
  @Test
  void twoThatAreTheSameAreATie() {
    for (int rounds : new int[] {5, 8, 20}) {
      Random random = new Random(rounds);
      int wrong = 0;
      for (int i = 0; i < 100; i++) {
        wrong += isTie(drawn(rounds, 1, random), drawn(rounds, 1, random)) ? 0 : 1;
      }
      assertThat(wrong).as("of 100 with %d rounds", rounds).isLessThanOrEqualTo(5);
    }
  }

  @Test
  void whatIsThreeTimesAsMuchIsFound() {
    Random random = new Random(9);
    int found = 0;
    for (int i = 0; i < 100; i++) {
      found += drawn(8, 3, random).isAbove(drawn(8, 1, random)) ? 1 : 0;
    }
    assertThat(found).isGreaterThan(85);
  }
}
