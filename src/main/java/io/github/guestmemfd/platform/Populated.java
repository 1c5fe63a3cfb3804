package io.github.guestmemfd.platform;

import io.github.guestmemfd.abi.Errno;
import java.util.Objects;

/**
 * How far a population has come: a launch that copies pages into a guest before it runs.
 *
 * @param done how many bytes have been done, from the first on: the call changes its arguments by
 *     that, and is made again for the rest
 * @param errno what the call answers: OK if anything has been done, for a later error is met again
 *     by the next call
 * @param cause why the page after those was not done, as the platform itself said; OK if all were
 */
public record Populated(long done, Errno errno, Errno cause) {

  /**
   * Checks that no part is missing.
   *
   * @param done how many bytes have been done
   * @param errno what the call answers
   * @param cause why the next page was not done
   */
  public Populated {
    Objects.requireNonNull(errno, "errno");
    Objects.requireNonNull(cause, "cause");
  }
}
