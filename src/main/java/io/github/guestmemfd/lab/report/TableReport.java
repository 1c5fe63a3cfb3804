package io.github.guestmemfd.lab.report;

import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;

/**
 * Measurements as text, for the end of a run: a summary by protocol, by policy if there is more
 * than one, and by workload; then what was found, in words.
 */
public final class TableReport {

  private static final int WIDTH = 120;
  private static final String GAP = "  ";

  /** Marks a protocol that does not claim to be sound. */
  private static final String UNSOUND = " !";

  private TableReport() {}

  /**
   * Prints the report. Lines have at most 120 columns, unless names are long.
   *
   * @param runs what was measured, in the order it is to be shown
   * @param everyRun whether to print a row for each run too
   * @param out where to; flushed, not closed
   */
  public static void print(List<Measurement> runs, boolean everyRun, PrintWriter out) {
    if (!runs.isEmpty()) {
      Function<Measurement, String> policy = Runs.policy(runs);
      if (everyRun) {
        printEveryRun(runs, out);
      }
      Map<String, List<Measurement>> protocols = new LinkedHashMap<>();
      List<Measurement> samePolicies = Runs.comparable(Measurement::protocol, policy, runs);
      Runs.byProtocol(samePolicies).forEach((id, its) -> protocols.put(marked(id, its), its));
      printTable("By protocol" + only(policy, samePolicies, runs), protocols, out);
      List<Measurement> sameProtocols = Runs.comparable(policy, Measurement::protocol, runs);
      Map<String, List<Measurement>> policies = Runs.by(policy, sameProtocols);
      if (policies.size() > 1) {
        printTable("By policy" + only(Measurement::protocol, sameProtocols, runs), policies, out);
      }
      printTable("By workload", Runs.by(Measurement::workload, runs), out);
      if (!Runs.areSound(runs)) {
        out.println("!  does not claim to be sound: kept to show its flaw, its leaks are expected");
        out.println();
      }
    }
    for (Finding finding : Finding.of(runs)) {
      printWrapped("", finding.text(), out);
      if (!finding.example().isEmpty()) {
        printWrapped("    ", "first: " + finding.example(), out);
      }
    }
    out.flush();
  }

  /**
   * Whether the runs show what they should: no leak of a protocol that claims to be sound, and no
   * frame leaked and no content changed by any.
   *
   * @param runs what was measured
   * @return true if so, or if there are no runs
   */
  public static boolean isClean(List<Measurement> runs) {
    return Finding.isClean(runs);
  }

  /** Says what the runs of a table have in common, if they are not all. */
  private static String only(
      Function<Measurement, String> key, List<Measurement> some, List<Measurement> runs) {
    return some.size() == runs.size() ? "" : ", " + String.join(", ", Runs.by(key, some).keySet());
  }

  private static String marked(String id, List<Measurement> runs) {
    return Runs.areSound(runs) ? id : id + UNSOUND;
  }

  /** One table for each workload and policy, with a row for each run. */
  private static void printEveryRun(List<Measurement> runs, PrintWriter out) {
    Runs.by(Measurement::workload, runs)
        .forEach(
            (workload, ofWorkload) ->
                Runs.by(Runs.policy(runs), ofWorkload)
                    .forEach(
                        (policy, ofPolicy) -> {
                          List<List<String>> rows = new ArrayList<>();
                          rows.add(head("protocol", "vCPUs", c -> c.top()));
                          rows.add(head("", "", c -> c.bottom()));
                          for (Measurement m : ofPolicy) {
                            List<String> row = new ArrayList<>();
                            row.add(marked(m.protocol(), List.of(m)));
                            row.add(String.valueOf(m.vcpus()));
                            row.addAll(cells(List.of(m)));
                            rows.add(row);
                          }
                          out.println("Workload " + workload + ", policy " + policy);
                          printAligned(rows, 1, out);
                        }));
  }

  private static void printTable(
      String title, Map<String, List<Measurement>> groups, PrintWriter out) {
    List<List<String>> rows = new ArrayList<>();
    rows.add(head(title, "runs", Column::top));
    rows.add(head("", "", Column::bottom));
    groups.forEach(
        (name, runs) -> {
          List<String> row = new ArrayList<>();
          row.add(name);
          row.add(String.valueOf(runs.size()));
          row.addAll(cells(runs));
          rows.add(row);
        });
    printAligned(rows, 1, out);
  }

  private static List<String> head(String first, String second, Function<Column, String> line) {
    List<String> row = new ArrayList<>(List.of(first, second));
    Column.ALL.forEach(c -> row.add(line.apply(c)));
    return row;
  }

  private static List<String> cells(Collection<Measurement> runs) {
    Totals totals = Totals.of(runs);
    return Column.ALL.stream().map(c -> c.text().apply(totals)).toList();
  }

  /** The first columns to the left, the others to the right; a blank line after the last row. */
  private static void printAligned(List<List<String>> rows, int left, PrintWriter out) {
    int[] widths = new int[rows.get(0).size()];
    for (List<String> row : rows) {
      for (int i = 0; i < widths.length; i++) {
        widths[i] = Math.max(widths[i], row.get(i).length());
      }
    }
    for (List<String> row : rows) {
      StringBuilder line = new StringBuilder();
      for (int i = 0; i < widths.length; i++) {
        String padding = " ".repeat(widths[i] - row.get(i).length());
        line.append(i == 0 ? "" : GAP)
            .append(i < left ? row.get(i) + padding : padding + row.get(i));
      }
      out.println(line.toString().stripTrailing());
    }
    out.println();
  }

  private static void printWrapped(String indent, String text, PrintWriter out) {
    StringBuilder line = new StringBuilder(indent);
    for (String word : text.strip().split("\\s+", -1)) {
      if (line.length() + word.length() > WIDTH && !line.toString().isBlank()) {
        out.println(line.toString().stripTrailing());
        line = new StringBuilder(indent.isEmpty() ? GAP : indent);
      }
      line.append(word).append(' ');
    }
    out.println(line.toString().stripTrailing());
  }
}
