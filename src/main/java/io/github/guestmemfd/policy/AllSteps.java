package io.github.guestmemfd.policy;

import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * Steps that are all made, whatever one of them throws. In the end the first that was thrown is
 * thrown, with the others suppressed in it.
 */
final class AllSteps {
  private @Nullable Throwable first;

  /** Makes a step. */
  void make(Runnable step) {
    answer(
        () -> {
          step.run();
          return "";
        },
        "");
  }

  /**
   * Makes a step that answers something.
   *
   * @param otherwise what to go on with if it throws
   */
  <T> T answer(Supplier<T> step, T otherwise) {
    try {
      return step.get();
    } catch (RuntimeException | Error e) {
      if (first == null) {
        first = e;
      } else if (first != e) {
        first.addSuppressed(e);
      }
      return otherwise;
    }
  }

  /** Throws what was thrown, if anything was. */
  void end() {
    if (first instanceof RuntimeException e) {
      throw e;
    }
    if (first instanceof Error e) {
      throw e;
    }
  }
}
