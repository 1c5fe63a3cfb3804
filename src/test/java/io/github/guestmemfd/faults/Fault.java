package io.github.guestmemfd.faults;

/**
 * Something that goes wrong once.
 *
 * @param kind what
 * @param step in which step of the scenario, from 0
 * @param n at which callback or race point of that step, from 0; for {@link Kind#NO_MEMORY} how
 *     many frames the step still gets
 */
public record Fault(Kind kind, int step, int n) {

  /** What goes wrong. */
  public enum Kind {
    CALLBACK_REFUSES("a callback refuses with EPERM"),
    CALLBACK_THROWS("a callback throws a RuntimeException"),
    CALLBACK_THROWS_ERROR("a callback throws an Error"),
    CALLBACK_OVERFLOWS("a callback throws a StackOverflowError"),
    CALLBACK_RUNS_OUT_OF_MEMORY("a callback throws an OutOfMemoryError"),
    ALL_CALLBACKS_REFUSE("from one callback on, all refuse, also those that undo"),
    ALL_CALLBACKS_THROW("from one callback on, all throw"),
    RACE_POINT_THROWS("the hook throws at a race point"),
    RACE_POINT_OVERFLOWS("the hook throws a StackOverflowError at a race point"),
    RACE_POINT_RUNS_OUT_OF_MEMORY("the hook throws an OutOfMemoryError at a race point"),
    INTERRUPT_AT_RACE_POINT("the thread is interrupted at a race point"),
    INTERRUPT_BEFORE("the thread is interrupted before the call"),
    NO_MEMORY("the host has N frames left: 0, 1, ... until the call succeeds");

    private final String text;

    Kind(String text) {
      this.text = text;
    }

    /** What happens, in a few words. */
    public String text() {
      return text;
    }

    boolean isOfCallbacks() {
      return compareTo(ALL_CALLBACKS_THROW) <= 0;
    }

    boolean isOfRacePoints() {
      return compareTo(RACE_POINT_THROWS) >= 0 && compareTo(INTERRUPT_AT_RACE_POINT) <= 0;
    }

    boolean isRefusal() {
      return this == CALLBACK_REFUSES || this == ALL_CALLBACKS_REFUSE;
    }

    boolean isInterrupt() {
      return this == INTERRUPT_AT_RACE_POINT || this == INTERRUPT_BEFORE;
    }

    /** Whether it is an OutOfMemoryError, which some steps answer with ENOMEM. */
    boolean isOutOfMemory() {
      return this == CALLBACK_RUNS_OUT_OF_MEMORY || this == RACE_POINT_RUNS_OUT_OF_MEMORY;
    }

    /** Whether it goes on to the end of the step. */
    boolean isLasting() {
      return this == ALL_CALLBACKS_REFUSE || this == ALL_CALLBACKS_THROW;
    }
  }
}
