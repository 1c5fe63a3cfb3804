package io.github.guestmemfd.lab.report;

import java.util.ArrayList;
import java.util.List;

/**
 * The contents of a report.
 *
 * @param runs what was measured, in the order it is to be shown, each run in each round
 * @param unsettled the names of the runs that were still getting faster when measuring began
 * @param longEnough whether each run had room for the longest waits
 * @param cutShort why not all runs were made that were to be; empty if they were
 * @param options what was asked for
 * @param environment where and when it was measured
 */
public record Session(
    List<Measurement> runs,
    List<String> unsettled,
    boolean longEnough,
    String cutShort,
    Options options,
    Environment environment) {

  /** Explains the figures of a report. */
  static final String ABOUT_FIGURES =
      "Figures are medians of the rounds, with 99 % bootstrap intervals; if two intervals meet, it is"
          + " a tie.";

  /**
   * What was asked for.
   *
   * @param arguments the command line, without the program
   * @param seconds how long everything was to take
   * @param seed what the requested operations and the order of the runs came from
   * @param size the guest's memory in bytes
   */
  public record Options(List<String> arguments, double seconds, long seed, long size) {}

  /**
   * Copies the lists.
   *
   * @param runs what was measured, in the order it is to be shown, each run in each round
   * @param unsettled the names of the runs that were still getting faster when measuring began
   * @param longEnough whether each run had room for the longest waits
   * @param cutShort why not all runs were made that were to be; empty if they were
   * @param options what was asked for
   * @param environment where and when it was measured
   */
  public Session {
    runs = List.copyOf(runs);
    unsettled = List.copyOf(unsettled);
  }

  /** Why the figures may not be trusted, or are not all; nothing if they may, and are. */
  List<String> doubts() {
    List<String> doubts = new ArrayList<>();
    if (!cutShort.isEmpty()) {
      doubts.add(cutShort);
    }
    if (!longEnough && !runs.isEmpty()) {
      doubts.add(
          "The runs were too short to compare rates: waits take up to 100 ms. Give more --seconds, or"
              + " fewer protocols, workloads or vCPUs.");
    }
    if (!unsettled.isEmpty()) {
      doubts.add(
          "Still getting faster after the warm-up: "
              + unsettled.get(0)
              + switch (unsettled.size()) {
                case 1 -> ".";
                case 2 -> "; and 1 more combination.";
                default -> "; and " + (unsettled.size() - 1) + " more combinations.";
              });
    }
    return doubts;
  }

  /** The verdict; runs that were too short are not compared in words. */
  Verdict verdict() {
    return Verdict.of(runs, longEnough);
  }

  /** How many rounds were begun. */
  int rounds() {
    return 1 + runs.stream().mapToInt(Measurement::round).max().orElse(-1);
  }
}
