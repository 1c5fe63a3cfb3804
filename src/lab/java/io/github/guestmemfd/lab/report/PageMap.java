package io.github.guestmemfd.lab.report;

import java.util.List;

/**
 * The state of a guest's pages over the time of a run: a picture with a column for each moment and
 * a row for each part of the guest's memory.
 *
 * @param bytesPerRow how much of the memory a row stands for, in bytes
 * @param columns the moments, in their order
 */
public record PageMap(long bytesPerRow, List<Column> columns) {

  /** The state of most of a row's pages. The report lists them in this order. */
  public enum State {
    /** No memory behind it. */
    HOLE,
    /** The host may map it. */
    ACCESSIBLE,
    /** Only the guest may use it. */
    INACCESSIBLE,
    /** A host thread holds a reference on one of its pages. */
    BUSY
  }

  /**
   * One moment.
   *
   * @param millis when, from the start of the run
   * @param rows one state for each row, from the lowest address
   */
  public record Column(double millis, List<State> rows) {}
}
