package io.github.guestmemfd.lab.report;

import java.util.List;
import java.util.function.Function;

/**
 * What the verdict says of a protocol, the same in the text and in the page.
 *
 * @param head the column's head
 * @param isText whether it is read from the left, as words are
 * @param meaning what it is, in a sentence
 * @param text what to show
 */
record VerdictColumn(
    String head, boolean isText, String meaning, Function<Verdict.Row, String> text) {

  /** When to choose a protocol: a sentence, for which a text report has no room in a table. */
  static final VerdictColumn WHEN =
      new VerdictColumn("choose it", true, "When to choose it.", Verdict.Row::when);

  static final List<VerdictColumn> ALL =
      List.of(
          new VerdictColumn(
              "sound",
              true,
              "Whether it claims that the host cannot reach content of an inaccessible page; refuted if"
                  + " these runs show the contrary, or lost content or frames.",
              row -> row.fit() ? "yes" : row.sound() ? "refuted" : "NO"),
          new VerdictColumn(
              "leaks", false, Column.LEAKS, row -> Numbers.count((double) row.leaks())),
          new VerdictColumn(
              "false busy",
              false,
              Column.FALSE_BUSY,
              row -> Numbers.count((double) row.falseBusy())),
          new VerdictColumn(
              "first-look mismatch",
              false,
              Column.FIRST_LOOK,
              row -> Numbers.estimate(row.firstLook(), Numbers::percent)),
          new VerdictColumn(
              "on a mismatch",
              true,
              "What it does when the counts are not as they must be, unless it is given another"
                  + " policy: it spins and looks again, it waits up to a time, it refuses, or it"
                  + " completes later.",
              Verdict.Row::onMismatch),
          new VerdictColumn("cost", true, Verdict.COST, Verdict.Row::costText),
          WHEN);
}
