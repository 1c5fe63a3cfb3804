package io.github.guestmemfd.explore;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What the calls of a run have returned, and which were over before others began.
 *
 * @param calls the calls, by thread and in its order
 * @param outcome what the scenario says of the world at the end
 */
public record History(List<Done> calls, @Nullable Object outcome) {

  /**
   * A call that has been made.
   *
   * @param thread the number of its thread
   * @param begun the number of its first step
   * @param ended the number of its last step
   * @param result what it returned
   */
  public record Done(int thread, int begun, int ended, @Nullable Object result) {}

  /**
   * Takes a copy of the list.
   *
   * @param calls the calls
   * @param outcome the outcome
   */
  public History {
    calls = List.copyOf(calls);
  }
}
