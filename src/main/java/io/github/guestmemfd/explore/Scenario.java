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
 * @param events what may happen to threads, once each
 * @param invariant what must hold after each step; may only read; null for nothing
 * @param end what must hold when every thread has finished; gives the world up, too
 * @param oracle judges what the calls have returned; null for nothing
 * @param show what to show of a world that has been found wrong; null for nothing
 */
public record Scenario<W>(
    Callable<? extends W> world,
    List<Actor<W>> threads,
    List<Event> events,
    @Nullable Act<? super W> invariant,
    Act<? super W> end,
    @Nullable Oracle<W> oracle,
    @Nullable Call<? super W> show) {

  /** The name of the thread that runs what is handed to pools of threads. */
  public static final String EXECUTOR = "executor";

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
   * Makes a call, whose result counts.
   *
   * @param <W> the world
   */
  @FunctionalInterface
  public interface Call<W> {
    /**
     * Makes it.
     *
     * @param world the world of this run
     * @return what it answers, to be compared by {@code equals}
     * @throws Exception if something is wrong
     */
    @Nullable Object on(W world) throws Exception;
  }

  /**
   * A thread.
   *
   * @param <W> the world
   * @param name for reports
   * @param calls what it does, one after the other
   */
  public record Actor<W>(String name, List<Call<? super W>> calls) {
    /**
     * A thread that does one thing.
     *
     * @param name for reports
     * @param act what it does
     */
    public Actor(String name, Act<? super W> act) {
      this(
          name,
          List.of(
              w -> {
                act.on(w);
                return null;
              }));
    }

    /** Its calls on a world. */
    List<Strand.Body> bodies(W world) {
      return calls.stream().<Strand.Body>map(call -> () -> call.on(world)).toList();
    }
  }

  /**
   * Judges what the calls have returned.
   *
   * @param <W> the world
   * @param outcome what counts of the world at the end, before it is given up
   * @param check throws if that is wrong
   */
  public record Oracle<W>(Call<? super W> outcome, Check check) {}

  /** Looks at a history. */
  @FunctionalInterface
  public interface Check {
    /**
     * Looks at it.
     *
     * @param history what the calls have returned
     * @throws Exception if that is wrong; an {@code Error}, such as that of an assertion, too
     */
    void look(History history) throws Exception;
  }
}
