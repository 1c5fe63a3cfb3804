package io.github.guestmemfd.lab.report;

import java.util.Arrays;

/**
 * A figure that was measured once a round: the median of the rounds, and how far that may be off.
 *
 * <p>The interval is a bootstrap one: as many rounds as there are, drawn from them with putting
 * back, give a median; 99 of 100 such medians are in it. It is NaN to NaN if there are fewer than
 * {@link #MIN_ROUNDS} rounds, of which not even the least and the greatest say enough.
 *
 * @param median of the rounds; NaN if there is none
 * @param low where the interval begins
 * @param high where it ends
 * @see <a href="https://doi.org/10.1214/aos/1176344552">Efron: Bootstrap Methods, 1979</a>
 */
public record Estimate(double median, double low, double high) {

  /**
   * The fewest rounds that give an interval. Two protocols that are the same then have intervals
   * that do not meet in 1 of 126 sessions.
   */
  public static final int MIN_ROUNDS = 5;

  /** Nothing was measured. */
  static final Estimate NONE = new Estimate(Double.NaN, Double.NaN, Double.NaN);

  private static final int DRAWS = 4000;
  private static final double OUTSIDE = 0.01;

  /**
   * Where the draws start, so that the same rounds have the same interval in every report. The
   * page's script draws the same.
   */
  private static final int SEED = 0x5eed;

  /** The estimate from the figures of the rounds; those that are NaN do not count. */
  static Estimate of(double... rounds) {
    double[] known = Arrays.stream(rounds).filter(v -> !Double.isNaN(v)).sorted().toArray();
    if (known.length == 0) {
      return NONE;
    }
    double median = median(known);
    if (known.length < MIN_ROUNDS) {
      return new Estimate(median, Double.NaN, Double.NaN);
    }
    int state = SEED;
    double[] medians = new double[DRAWS];
    double[] drawn = new double[known.length];
    for (int i = 0; i < DRAWS; i++) {
      for (int j = 0; j < drawn.length; j++) {
        state += 0x6D2B79F5;
        drawn[j] = known[(int) ((mixed(state) * known.length) >>> 32)];
      }
      Arrays.sort(drawn);
      medians[i] = median(drawn);
    }
    Arrays.sort(medians);
    int cut = (int) (DRAWS * OUTSIDE / 2);
    return new Estimate(median, medians[cut], medians[DRAWS - 1 - cut]);
  }

  /** Mulberry32, by Tommy Ettinger: 32 bits that look random, from a counter. */
  private static long mixed(int state) {
    int t = (state ^ (state >>> 15)) * (state | 1);
    t = (t + (t ^ (t >>> 7)) * (t | 61)) ^ t;
    return Integer.toUnsignedLong(t ^ (t >>> 14));
  }

  private static double median(double[] sorted) {
    int half = sorted.length / 2;
    return sorted.length % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  }

  boolean isKnown() {
    return !Double.isNaN(median);
  }

  boolean hasInterval() {
    return !Double.isNaN(low);
  }

  /**
   * Whether this is the greater one beyond doubt: its interval begins where the other has ended.
   *
   * @param other another estimate of the same figure
   * @return false if the intervals meet, or there is none
   */
  public boolean isAbove(Estimate other) {
    return low > other.high; // false for NaN
  }

  /** The same in a unit that is so many times as large. */
  Estimate over(double unit) {
    return new Estimate(median / unit, low / unit, high / unit);
  }

  /**
   * How many times as great this is: an interval without 1 in it says that the two do not meet.
   *
   * @return the ratio; NaN if it is not known
   */
  Estimate over(Estimate other) {
    return new Estimate(median / other.median, low / other.high, high / other.low);
  }
}
