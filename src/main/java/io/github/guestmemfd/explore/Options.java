package io.github.guestmemfd.explore;

/**
 * How far to explore.
 *
 * @param reduced whether orders that differ only by steps that commute count as one
 * @param preemptions how often a thread that could go on may be replaced by another; -1 for no
 *     bound
 * @param wholeCalls whether a thread goes on until its call is over or waits
 * @param maxSteps steps of a run after which it counts as a livelock
 * @param maxOrders runs after which the exploration is given up, incomplete
 */
public record Options(
    boolean reduced, int preemptions, boolean wholeCalls, int maxSteps, long maxOrders) {
  /** Every order, reduced, without a bound. */
  public static final Options ALL = new Options(true, -1, false, 20_000, Long.MAX_VALUE);

  /**
   * The same with a bound.
   *
   * @param bound the most pre-emptions
   * @return new options
   */
  public Options withPreemptions(int bound) {
    return new Options(reduced, bound, wholeCalls, maxSteps, maxOrders);
  }

  /**
   * The same with a limit of runs.
   *
   * @param limit the most runs
   * @return new options
   */
  public Options withMaxOrders(long limit) {
    return new Options(reduced, preemptions, wholeCalls, maxSteps, limit);
  }

  /**
   * The same without reduction.
   *
   * @return new options
   */
  public Options withoutReduction() {
    return new Options(false, preemptions, wholeCalls, maxSteps, maxOrders);
  }

  /**
   * Every order of whole calls.
   *
   * @return new options, without reduction and without a bound
   */
  public Options ofWholeCalls() {
    return new Options(false, -1, true, maxSteps, maxOrders);
  }
}
