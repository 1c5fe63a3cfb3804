package io.github.guestmemfd.explore;

/**
 * How far to explore.
 *
 * @param reduced whether orders that differ only by steps that commute count as one
 * @param preemptions how often a thread that could go on may be replaced by another; -1 for no
 *     bound
 * @param allOfInvariant whether every write counts as one that the invariant looks at
 * @param wholeCalls whether a thread goes on until its call is over or waits
 * @param maxSteps steps of a run after which it counts as a livelock
 * @param maxOrders runs after which the exploration is given up, incomplete
 */
public record Options(
    boolean reduced,
    int preemptions,
    boolean allOfInvariant,
    boolean wholeCalls,
    int maxSteps,
    long maxOrders) {
  /** Every order, reduced, without a bound. */
  public static final Options ALL = new Options(true, -1, false, false, 20_000, Long.MAX_VALUE);

  /**
   * The same with a bound.
   *
   * @param bound the most pre-emptions
   * @return new options
   */
  public Options withPreemptions(int bound) {
    return new Options(reduced, bound, allOfInvariant, wholeCalls, maxSteps, maxOrders);
  }

  /**
   * The same with a limit of runs.
   *
   * @param limit the most runs
   * @return new options
   */
  public Options withMaxOrders(long limit) {
    return new Options(reduced, preemptions, allOfInvariant, wholeCalls, maxSteps, limit);
  }

  /**
   * The same without reduction.
   *
   * @return new options
   */
  public Options withoutReduction() {
    return new Options(false, preemptions, allOfInvariant, wholeCalls, maxSteps, maxOrders);
  }

  /**
   * The same for an invariant that looks at other words from step to step.
   *
   * @return new options
   */
  Options ofAnyInvariant() {
    return new Options(reduced, preemptions, true, wholeCalls, maxSteps, maxOrders);
  }

  /**
   * Every order of whole calls.
   *
   * @return new options, without reduction and without limits
   */
  public Options ofWholeCalls() {
    return new Options(false, -1, false, true, maxSteps, Long.MAX_VALUE);
  }
}
