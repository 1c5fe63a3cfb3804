package io.github.guestmemfd.spi;

import java.util.Objects;

/** Thrown instead of a callback's own exception by an {@link Exploration} that has it fail. */
public final class InjectedFault extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /**
   * Says what fails.
   *
   * @param what for instance "invalidateBegin"
   */
  public InjectedFault(String what) {
    super(Objects.requireNonNull(what, "what") + " throws, by fault injection");
  }
}
