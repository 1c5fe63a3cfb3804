package io.github.guestmemfd.explore;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What is wrong with an order.
 *
 * @param kind what sort of fault
 * @param message what happened
 * @param cause what was thrown; null if nothing was
 * @param order the decisions, by which the run can be repeated
 * @param preemptions how often a thread that could go on was replaced by another
 * @param steps what happened, step by step; empty unless the run was recorded
 * @param state what is shown of the world at the end; empty unless the run was recorded
 */
public record Failure(
    Kind kind,
    String message,
    @Nullable Throwable cause,
    List<Integer> order,
    int preemptions,
    List<Taken> steps,
    String state) {

  /** Sorts of faults. */
  public enum Kind {
    /** A thread of the scenario has thrown. */
    THREAD,
    /** What must hold after each step does not. */
    INVARIANT,
    /** What must hold at the end does not. */
    END,
    /** What the calls have returned is wrong. */
    HISTORY,
    /** No thread can go on, and not all have finished: a deadlock or a lost wake-up. */
    DEADLOCK,
    /** A run does not end. */
    LIVELOCK,
    /** A thread blocks where the explorer does not see it. */
    BLOCKED,
    /** A run does something else when it is repeated. */
    NONDETERMINISM
  }

  /**
   * A step that was taken.
   *
   * @param thread the number of the thread
   * @param kind what it did
   * @param word the word or lock, by number and class; empty if there is none
   * @param where the place in the code
   */
  public record Taken(int thread, StepKind kind, String word, String where) {}

  /**
   * Takes copies of the lists.
   *
   * @param kind what sort of fault
   * @param message what happened
   * @param cause what was thrown; null if nothing was
   * @param order the decisions
   * @param preemptions how often a thread that could go on was replaced by another
   * @param steps what happened, step by step
   * @param state what is shown of the world at the end
   */
  public Failure {
    order = List.copyOf(order);
    steps = List.copyOf(steps);
  }
}
