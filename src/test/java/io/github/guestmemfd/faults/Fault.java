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
    /** From one callback on every one refuses, also those that are called to undo. */
    ALL_CALLBACKS_REFUSE,
    /** From one callback on every one throws. */
    ALL_CALLBACKS_THROW,
    /** The hook throws at a race point: whatever step it stands for fails. */
    RACE_POINT_THROWS,
    /** The thread is interrupted at a race point. */
    INTERRUPT_AT_RACE_POINT,
    /** The thread is interrupted before the call. */
    INTERRUPT_BEFORE,
    /** The host has no frames left. */
    NO_MEMORY;

    boolean isOfCallbacks() {
      return compareTo(ALL_CALLBACKS_THROW) <= 0;
    }

    boolean isRefusal() {
      return this == CALLBACK_REFUSES || this == ALL_CALLBACKS_REFUSE;
    }

    boolean isInterrupt() {
      return this == INTERRUPT_AT_RACE_POINT || this == INTERRUPT_BEFORE;
    }

    /** Whether it goes on to the end of the step. */
    boolean isLasting() {
      return this == ALL_CALLBACKS_REFUSE || this == ALL_CALLBACKS_THROW;
    }
  }
}
