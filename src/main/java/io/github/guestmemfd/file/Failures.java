package io.github.guestmemfd.file;

import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;

/**
 * The failures of a sequence of steps that is carried to its end although some of them throw. In
 * the end the first is thrown, with the others suppressed in it.
 */
public final class Failures {
  private @Nullable Throwable first;

  /** Makes one that has seen none. */
  public Failures() {}

  /**
   * Runs a step, and keeps what it throws.
   *
   * @param step the step
   */
  public void attempt(Runnable step) {
    try {
      step.run();
    } catch (RuntimeException | Error e) {
      add(e);
    }
  }

  /**
   * Keeps what was thrown.
   *
   * @param e the exception or error
   */
  public void add(Throwable e) {
    if (first == null) {
      first = e;
    } else if (first != e) {
      first.addSuppressed(e);
    }
  }

  /** Logs what was thrown, where there is no caller to throw it to. */
  void logIfAny(Logger log, String what) {
    if (first != null) {
      log.warn(what, first);
    }
  }

  /** Throws what was thrown first, if anything was, with the others suppressed in it. */
  public void throwIfAny() {
    if (first instanceof RuntimeException e) {
      throw e;
    }
    if (first instanceof Error e) {
      throw e;
    }
  }
}
