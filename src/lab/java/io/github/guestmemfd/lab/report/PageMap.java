package io.github.guestmemfd.lab.report;

import java.util.List;

/**
 * What the pages of a guest were over the time of a run: a picture with a column for each moment
 * and a row for each part of the guest's memory.
 *
 * @param bytesPerRow how much of the memory a row stands for, in bytes
 * @param columns the moments, in their order
 */
public record PageMap(long bytesPerRow, List<Column> columns) {

  /** What most of a row's pages are. In the report, in this order. */
  public enum State {
    /** No memory behind it. */
    HOLE,
    /** The host may map it. */
    ACCESSIBLE,
    /** Only the guest may use it. */
    INACCESSIBLE,
    /** Somebody on the host holds a reference on one of its pages. */
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
