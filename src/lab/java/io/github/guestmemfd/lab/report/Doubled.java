package io.github.guestmemfd.lab.report;

/**
 * The pages of a guest that have memory in both of its memories, of which it uses one; sampled over
 * the time of a run.
 *
 * @param peak the most bytes
 * @param mean the mean of the bytes
 * @param used the mean of the bytes of guest memory that have memory at all, each counted once
 */
public record Doubled(long peak, double mean, double used) {

  /** Of a guest with one memory, or without samples. */
  public static final Doubled NONE = new Doubled(0, 0, 0);
}
