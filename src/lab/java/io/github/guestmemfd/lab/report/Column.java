package io.github.guestmemfd.lab.report;

import java.util.List;
import java.util.function.DoubleFunction;
import java.util.function.Function;
import java.util.function.ToDoubleFunction;
import java.util.stream.Stream;

/**
 * One number of the summaries, the same in the text and in the page, with its explanation.
 *
 * @param top the head's first line
 * @param bottom the head's second line; may be empty
 * @param meaning what it is, in a sentence
 * @param value what to order by, -1 if it is not known
 * @param text what to show
 */
record Column(
    String top,
    String bottom,
    String meaning,
    ToDoubleFunction<Totals> value,
    Function<Totals, String> text) {

  static final String LEAKS =
      "How often the host reached content after its page had become inaccessible.";
  static final String FALSE_BUSY =
      "Attempts to convert to inaccessible that were refused although no holder on the host had a"
          + " page.";
  static final String FIRST_LOOK =
      "Of the attempts that no holder was in the way of, the share whose first look at the counts"
          + " failed all the same, whatever a second look mended.";

  /** What happened, in all rounds together. */
  static final List<Column> TOTALS =
      List.of(
          count(
              "made",
              "private",
              "Ranges that were converted from accessible to inaccessible.",
              Totals::conversionsToInaccessible),
          count(
              "refused",
              "held",
              "Attempts to convert to inaccessible that were refused while a holder on the host had a"
                  + " page.",
              Totals::refusedWithUnsafeHolder),
          count("false", "busy", FALSE_BUSY, Totals::refusedWithoutUnsafeHolder),
          count(
              "gave",
              "up",
              "How often a guest did without a page being inaccessible, after it had been refused"
                  + " several times.",
              Totals::gaveUp),
          count("leaks", "", LEAKS, Totals::leaks),
          count(
              "retries",
              "",
              "How often a conversion looked at the counts once more.",
              Totals::retries),
          count(
              "SIGBUS",
              "",
              "Accesses of the host that ended in SIGBUS, as they must on an inaccessible page.",
              Totals::sigbus),
          count(
              "frames",
              "leaked",
              "Frames still in use when everything had been closed.",
              Totals::framesLeaked),
          new Column(
              "longest",
              "µs",
              "The longest that a conversion took, from the first ask until the page was"
                  + " inaccessible.",
              Totals::longestNanos,
              t ->
                  t.longestNanos() == 0
                      ? Numbers.NONE
                      : Numbers.micros((double) t.longestNanos())));

  /** How it went: the median of the rounds, and the interval it may be off by. */
  static final List<Column> FIGURES =
      List.of(
          figure(
              "guest",
              "ops/s",
              "Operations of the guest in a second, all vCPUs together; of several combinations of"
                  + " workload and vCPUs the geometric mean.",
              Totals::guestOpsPerSecond,
              Numbers::count),
          figure("first-look", "mismatch", FIRST_LOOK, Totals::firstLookMismatch, Numbers::percent),
          figure(
              "false",
              "rate",
              "False busy, of all conversions that no holder on the host was in the way of.",
              Totals::falseBusyRate,
              Numbers::percent),
          figure(
              "p50",
              "µs",
              "Half of the conversions took this long or less, from the first ask until the page was"
                  + " inaccessible, refusals and waits included.",
              t -> t.nanosAt(50),
              Numbers::micros),
          figure(
              "p99",
              "µs",
              "99 of 100 conversions took this long or less, counted in the same way.",
              t -> t.nanosAt(99),
              Numbers::micros));

  /** What a kind of monitor costs: the rate of the guest, and the memory that is there twice. */
  static final List<Column> OF_MONITORS =
      List.of(
          FIGURES.get(0),
          new Column(
              "doubled",
              "mean",
              "With two memories: how much of the guest's memory was there twice, of which the guest"
                  + " used one; the mean over the time of a run.",
              t -> t.doubledMean().isKnown() ? t.doubledMean().median() : -1,
              t -> bytes(t.doubledMean().median())),
          new Column(
              "doubled",
              "peak",
              "The same, the most at any of the moments at which it was looked at.",
              t -> Double.isNaN(t.doubledPeak()) ? -1 : t.doubledPeak(),
              t -> bytes(t.doubledPeak())),
          new Column(
              "doubled",
              "share",
              "The mean, of the guest's memory that was there at all.",
              t -> t.doubledShare().isKnown() ? t.doubledShare().median() : -1,
              t ->
                  t.doubledShare().isKnown()
                      ? Numbers.percent(t.doubledShare().median())
                      : Numbers.NONE),
          count(
              "refused",
              "shared",
              "Attempts to convert to accessible that were refused: by a device that may not pin"
                  + " more, or because private pages could not be discarded.",
              Totals::refusedToAccessible));

  static final List<Column> ALL =
      Stream.of(TOTALS, FIGURES, OF_MONITORS.subList(1, OF_MONITORS.size()))
          .flatMap(List::stream)
          .toList();

  /** Its head, in one line. */
  String name() {
    return (top + " " + bottom).strip();
  }

  private static String bytes(double n) {
    return Double.isNaN(n) ? Numbers.NONE : Numbers.bytes(Math.round(n));
  }

  private static Column count(
      String top, String bottom, String meaning, ToDoubleFunction<Totals> value) {
    return new Column(top, bottom, meaning, value, t -> Numbers.count(value.applyAsDouble(t)));
  }

  private static Column figure(
      String top,
      String bottom,
      String meaning,
      Function<Totals, Estimate> estimate,
      DoubleFunction<String> text) {
    return new Column(
        top,
        bottom,
        meaning,
        t -> estimate.apply(t).isKnown() ? estimate.apply(t).median() : -1,
        t -> Numbers.estimate(estimate.apply(t), text));
  }
}
