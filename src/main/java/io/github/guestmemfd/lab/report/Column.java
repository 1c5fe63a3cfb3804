package io.github.guestmemfd.lab.report;

import java.util.List;
import java.util.function.Function;
import java.util.function.ToDoubleFunction;

/**
 * One number of the summaries, the same in the text and in the page.
 *
 * @param top the head's first line
 * @param bottom the head's second line; may be empty
 * @param meaning what it is, in a sentence
 * @param value what to order by
 * @param text what to show
 */
record Column(
    String top,
    String bottom,
    String meaning,
    ToDoubleFunction<Totals> value,
    Function<Totals, String> text) {

  static final List<Column> ALL =
      List.of(
          count(
              "made",
              "private",
              "Ranges that were converted from accessible to inaccessible.",
              Totals::conversionsToInaccessible),
          count(
              "refused",
              "held",
              "Conversions to inaccessible that were refused while somebody on the host held a page.",
              Totals::refusedWithUnsafeHolder),
          count(
              "false",
              "busy",
              "Conversions to inaccessible that were refused although nobody on the host held a page.",
              Totals::refusedWithoutUnsafeHolder),
          new Column(
              "false",
              "rate",
              "False busy, of all conversions that nobody on the host was in the way of.",
              Totals::falseBusyRate,
              t -> Numbers.percent(t.falseBusyRate())),
          count(
              "leaks",
              "",
              "How often the host reached content after its page had become inaccessible.",
              Totals::leaks),
          count(
              "retries",
              "",
              "How often a conversion looked at the counts once more.",
              Totals::retries),
          latency("p50", "The median of what a conversion to inaccessible took, in µs.", 50),
          latency("p99", "99 of 100 conversions took this long or less, in µs.", 99),
          latency("max", "The longest conversion to inaccessible, in µs.", 100),
          new Column(
              "guest",
              "ops/s",
              "Operations of the guest in a second, all vCPUs together.",
              Totals::guestOpsPerSecond,
              t -> Numbers.count(t.guestOpsPerSecond())),
          count(
              "SIGBUS",
              "",
              "Accesses of the host that ended in SIGBUS, as they must on an inaccessible page.",
              Totals::sigbus),
          count(
              "frames",
              "leaked",
              "Frames still in use when everything had been closed.",
              Totals::framesLeaked));

  private static Column count(
      String top, String bottom, String meaning, ToDoubleFunction<Totals> value) {
    return new Column(top, bottom, meaning, value, t -> Numbers.count(value.applyAsDouble(t)));
  }

  private static Column latency(String top, String meaning, double percentile) {
    return new Column(
        top,
        "µs",
        meaning,
        t -> t.nanosAt(percentile),
        t -> t.hasLatency() ? Numbers.micros(t.nanosAt(percentile)) : Numbers.NONE);
  }
}
