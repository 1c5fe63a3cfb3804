package io.github.guestmemfd.faults;

/**
 * Something that goes wrong once.
 *
 * @param kind what
 * @param step in which step of the scenario, from 0
 * @param n at which callback or race point of that step, from 0; for {@link Kind#NO_MEMORY} how
 *     many frames the step still gets
 */
record Fault(Kind kind, int step, int n) {

  enum Kind {
    /** A callback answers EPERM. */
    CALLBACK_REFUSES,
    /** A callback throws a RuntimeException. */
    CALLBACK_THROWS,
    /** A callback throws an Error. */
    CALLBACK_THROWS_ERROR,
    /** A callback runs out of stack. */
    CALLBACK_OVERFLOWS,
    /** A callback runs out of memory. */
    CALLBACK_RUNS_OUT_OF_MEMORY,
    /** From one callback on every one refuses, also those that are called to undo. */
    ALL_CALLBACKS_REFUSE,
    /** From one callback on every one throws. */
    ALL_CALLBACKS_THROW,
    /** The hook throws at a race point: whatever step it stands for fails. */
    RACE_POINT_THROWS,
    /** The stack ends at a race point. */
    RACE_POINT_OVERFLOWS,
    /** The memory of the JVM ends at a race point. */
    RACE_POINT_RUNS_OUT_OF_MEMORY,
    /** The thread is interrupted at a race point. */
    INTERRUPT_AT_RACE_POINT,
    /** The thread is interrupted before the call. */
    INTERRUPT_BEFORE,
    /** The host has no frames left. */
    NO_MEMORY;

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
