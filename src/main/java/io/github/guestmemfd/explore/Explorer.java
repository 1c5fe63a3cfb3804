package io.github.guestmemfd.explore;

import io.github.guestmemfd.spi.Exploration;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/** Runs the orders of a scenario. */
public final class Explorer {
  private Explorer() {}

  /**
   * What an exploration has found.
   *
   * @param orders how many orders have been run, without those that repeat others
   * @param redundant how many runs were given up as repetitions
   * @param steps the steps of all runs
   * @param complete whether every order has been run, as far as the options want it
   * @param nanos how long it took
   * @param failure the first order that is wrong; null if none is
   */
  public record Result(
      long orders,
      long redundant,
      long steps,
      boolean complete,
      long nanos,
      @Nullable Failure failure) {}

  /** Is told how far an exploration has come. */
  @FunctionalInterface
  public interface Progress {
    /**
     * Is called after each order.
     *
     * @param orders how many orders have been run
     */
    void ran(long orders);
  }

  /**
   * Runs every order, until one is wrong.
   *
   * @param <W> the world of the scenario
   * @param scenario what is explored
   * @param options how far
   * @param progress is told
   * @return what was found
   */
  public static <W> Result explore(Scenario<W> scenario, Options options, Progress progress) {
    long begun = System.nanoTime();
    Search search = new Search(options, Execution.threads(scenario));
    return during(
        scenario,
        options,
        search,
        execution -> {
          long runs = 0;
          long steps = 0;
          boolean more = true;
          Failure failure = null;
          while (more && failure == null && runs < options.maxOrders()) {
            failure = execution.run(false);
            if (failure == null && execution.isInvariantLate() && !options.allOfInvariant()) {
              return explore(scenario, options.ofAnyInvariant(), progress); // from the start
            }
            runs++;
            steps += execution.steps();
            progress.ran(runs - search.redundantRuns());
            more = search.advance();
          }
          long redundant = search.redundantRuns();
          boolean complete = !more && failure == null;
          long nanos = System.nanoTime() - begun;
          return new Result(runs - redundant, redundant, steps, complete, nanos, failure);
        });
  }

  /**
   * Runs one order again, and records it.
   *
   * @param <W> the world of the scenario
   * @param scenario what was explored
   * @param options as then
   * @param order the decisions of the order
   * @return what is wrong with it; null if nothing is
   */
  public static <W> @Nullable Failure replay(Scenario<W> scenario, Options options, int[] order) {
    Search search = new Search(options, Execution.threads(scenario));
    search.follow(order);
    return during(scenario, options, search, execution -> execution.run(true));
  }

  private static <W, R extends @Nullable Object> R during(
      Scenario<W> scenario, Options options, Search search, Function<Execution<W>, R> runs) {
    return Exploration.during(
        () -> {
          Execution<W> execution = new Execution<>(scenario, options, search);
          try {
            return runs.apply(execution);
          } finally {
            execution.shutDown();
          }
        });
  }
}
