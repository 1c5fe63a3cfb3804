package io.github.guestmemfd.explore;

/**
 * Something that happens to a thread once, at any place where it can, or not at all.
 *
 * @param kind what happens
 * @param thread the name of the thread
 */
public record Event(Kind kind, String thread) {

  /** What happens to a thread. */
  public enum Kind {
    /** It is interrupted while it waits. */
    INTERRUPT(StepKind.INTERRUPT, "interrupt of "),
    /** The time of a wait is up that has a limit, whatever other threads could still do. */
    TIMEOUT(StepKind.TIMEOUT, "time-out of "),
    /** Something fails that may fail. */
    FAILURE(StepKind.FAILURE, "failure of ");

    private final StepKind step;
    private final String prefix;

    Kind(StepKind step, String prefix) {
      this.step = step;
      this.prefix = prefix;
    }

    /** Whether it can happen at a step of some kind. */
    boolean isAt(StepKind step) {
      return switch (this) {
        case INTERRUPT -> step.isWait();
        case TIMEOUT -> step.isBlocking();
        case FAILURE -> step == StepKind.MAY_FAIL;
      };
    }
  }

  StepKind step() {
    return kind.step;
  }

  /** Whether it can happen where a thread stands. */
  boolean isPossible(Strand target) {
    if (target.finished || !kind.isAt(target.kind)) {
      return false;
    }
    return switch (kind) {
      case INTERRUPT -> !target.interrupted;
      case TIMEOUT -> target.deadline != Long.MAX_VALUE && !target.expired;
      case FAILURE -> !target.failing;
    };
  }

  /**
   * Its name in reports.
   *
   * @return for instance "interrupt of vmm"
   */
  @Override
  public String toString() {
    return kind.prefix + thread;
  }
}
