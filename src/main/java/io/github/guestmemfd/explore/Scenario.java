package io.github.guestmemfd.explore;

import java.util.List;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;

/**
 * What is explored: a world that is made anew for each run, threads that each do something with it,
 * and what must hold.
 *
 * @param <W> the world
 * @param world makes one, by the calling thread, whose accesses are no steps
 * @param threads what they do
 * @param interrupts names of threads that may be interrupted, each once, whenever it waits
 * @param invariant what must hold after each step; may only read; null for nothing
 * @param end what must hold when every thread has finished; gives the world up, too
 */
public record Scenario<W>(
    Callable<? extends W> world,
    List<Actor<W>> threads,
    List<String> interrupts,
    @Nullable Act<? super W> invariant,
    Act<? super W> end) {

  /**
   * Does something with a world, or checks it.
   *
   * @param <W> the world
   */
  @FunctionalInterface
  public interface Act<W> {
    /**
     * Does it.
     *
     * @param world the world of this run
     * @throws Exception if something is wrong
     */
    void on(W world) throws Exception;
  }

  /**
   * A thread.
   *
   * @param <W> the world
   * @param name for reports
   * @param act what it does
   */
  public record Actor<W>(String name, Act<? super W> act) {}
}
