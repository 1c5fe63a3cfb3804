package io.github.guestmemfd.lab.report;

import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;

/**
 * Measurements as text, for the end of a session: summaries by protocol, by policy and by workload
 * if there is more than one; then what was found, in words, and a verdict.
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
   * @param session what was measured
   * @param everyRun whether to print a row for each run too
   * @param out where to; flushed, not closed
   */
  public static void print(Session session, boolean everyRun, PrintWriter out) {
    List<Measurement> runs = session.runs();
    if (!runs.isEmpty()) {
      if (everyRun) {
        printEveryRun(runs, out);
      }
      List<Measurement> judged = Runs.judged(runs);
      List<Measurement> two = Runs.withTwoMemories(runs);
      printByProtocol(judged, two.isEmpty() ? "" : kind(judged), out);
      if (judged.size() < runs.size()) {
        printByProtocol(two, kind(two), out);
      }
      List<Measurement> sameProtocols =
          Runs.comparable(Runs.policy(judged), Measurement::protocol, judged);
      Map<String, List<Measurement>> policies = Runs.by(Runs.policy(judged), sameProtocols);
      if (policies.size() > 1) {
        String only = only(Measurement::protocol, sameProtocols, judged);
        printTables("policy", only, policies, out);
      }
      if (!two.isEmpty()) {
        printMonitors(runs, out);
      }
      Map<String, List<Measurement>> workloads = Runs.by(Measurement::workload, runs);
      if (workloads.size() > 1) {
        printTable("workload", "", Column.TOTALS, workloads, out);
      }
      out.println(Session.ABOUT_FIGURES);
      if (!Runs.areSound(runs)) {
        out.println("!  does not claim to be sound: kept to show its flaw, its leaks are expected");
      }
      out.println();
    }
    for (String doubt : session.doubts()) {
      printWrapped("", doubt, out);
    }
    for (Finding finding : Finding.of(runs)) {
      printWrapped("", finding.text(), out);
      if (!finding.example().isEmpty()) {
        printWrapped("    ", "first: " + finding.example(), out);
      }
    }
    if (!runs.isEmpty()) {
      out.println();
      printVerdict(session.verdict(), out);
    }
    out.flush();
  }

  /**
   * Prints what every column means.
   *
   * @param out where to; flushed, not closed
   */
  public static void explain(PrintWriter out) {
    for (Column column : Column.ALL) {
      out.println(column.name());
      printWrapped("    ", column.meaning(), out);
    }
    for (VerdictColumn column : VerdictColumn.ALL) {
      out.println("verdict, " + column.head());
      printWrapped("    ", column.meaning(), out);
    }
    out.println();
    out.println(Session.ABOUT_FIGURES);
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

  private static String kind(List<Measurement> runs) {
    return Runs.withTwoMemories(runs).isEmpty() ? ", in place" : ", two memories";
  }

  private static void printByProtocol(List<Measurement> runs, String kind, PrintWriter out) {
    Function<Measurement, String> policy = Runs.policy(runs);
    List<Measurement> fair = Runs.comparable(Measurement::protocol, policy, runs);
    Map<String, List<Measurement>> protocols = new LinkedHashMap<>();
    Runs.byProtocol(fair).forEach((id, its) -> protocols.put(marked(id, its), its));
    printTables("protocol", kind + only(policy, fair, runs), protocols, out);
    if (Runs.withTwoMemories(runs).isEmpty()) {
      printFirstLooks(fair, out);
    }
  }

  private static void printMonitors(List<Measurement> runs, PrintWriter out) {
    Function<Measurement, String> monitor = Runs.monitor(runs);
    List<Measurement> fair = Runs.comparable(monitor, Measurement::protocol, runs);
    printTable(
        "monitor",
        only(Measurement::protocol, fair, runs),
        Column.OF_MONITORS,
        Runs.by(monitor, fair),
        out);
  }

  /** The counts and the figures of each workload and policy, with a row for each run. */
  private static void printEveryRun(List<Measurement> runs, PrintWriter out) {
    Runs.by(Measurement::workload, runs)
        .forEach(
            (workload, ofWorkload) ->
                Runs.by(Runs.policy(runs), ofWorkload)
                    .forEach(
                        (policy, ofPolicy) -> {
                          out.println("Workload " + workload + ", policy " + policy);
                          printRows(Column.TOTALS, ofPolicy, out);
                          printRows(Column.FIGURES, ofPolicy, out);
                        }));
  }

  private static void printRows(List<Column> columns, List<Measurement> runs, PrintWriter out) {
    List<List<String>> rows = heads(List.of("protocol", "vCPUs", "round"), columns);
    for (Measurement m : runs) {
      List<String> row = new ArrayList<>();
      row.add(marked(m.protocol(), List.of(m)));
      row.add(String.valueOf(m.vcpus()));
      row.add(String.valueOf(m.round() + 1));
      row.addAll(cells(columns, List.of(m)));
      rows.add(row);
    }
    printAligned(rows, 1, out);
  }

  private static void printTables(
      String what, String only, Map<String, List<Measurement>> groups, PrintWriter out) {
    printTable(what, only, Column.TOTALS, groups, out);
    printTable(what, only, Column.FIGURES, groups, out);
  }

  private static void printTable(
      String what,
      String only,
      List<Column> columns,
      Map<String, List<Measurement>> groups,
      PrintWriter out) {
    out.println("By " + what + only);
    List<List<String>> rows = heads(List.of(what), columns);
    groups.forEach(
        (name, runs) -> {
          List<String> row = new ArrayList<>(List.of(name));
          row.addAll(cells(columns, runs));
          rows.add(row);
        });
    printAligned(rows, 1, out);
  }

  /** The thread's central problem: how often a first look fails for nothing, and with how many. */
  private static void printFirstLooks(List<Measurement> runs, PrintWriter out) {
    List<Integer> vcpus = runs.stream().map(Measurement::vcpus).distinct().sorted().toList();
    List<List<String>> rows = new ArrayList<>();
    List<String> head = new ArrayList<>(List.of("First-look mismatch"));
    vcpus.forEach(n -> head.add(n == 1 ? "1 vCPU" : n + " vCPUs"));
    rows.add(head);
    Runs.byProtocol(runs)
        .forEach(
            (id, its) -> {
              List<String> row = new ArrayList<>(List.of(marked(id, its)));
              for (int n : vcpus) {
                Totals totals = Totals.of(its.stream().filter(m -> m.vcpus() == n).toList());
                row.add(Numbers.estimate(totals.firstLookMismatch(), Numbers::percent));
              }
              rows.add(row);
            });
    printAligned(rows, 1, out);
  }

  private static void printVerdict(Verdict verdict, PrintWriter out) {
    List<VerdictColumn> columns = new ArrayList<>(VerdictColumn.ALL);
    columns.remove(VerdictColumn.WHEN); // a sentence; they follow
    List<List<String>> rows = new ArrayList<>();
    rows.add(new ArrayList<>(List.of("Verdict")));
    columns.forEach(c -> rows.get(0).add(c.head()));
    for (Verdict.Row row : verdict.rows()) {
      List<String> cells = new ArrayList<>(List.of(named(row)));
      columns.forEach(c -> cells.add(c.text().apply(row)));
      rows.add(cells);
    }
    printAligned(rows, 2, out);
    out.println("Choose");
    int widest = verdict.rows().stream().mapToInt(r -> r.id().length()).max().orElse(0);
    for (Verdict.Row row : verdict.rows()) {
      out.println(GAP + row.id() + " ".repeat(widest - row.id().length()) + GAP + row.when());
    }
    for (String sentence : verdict.sentences()) {
      out.println();
      printWrapped("", sentence, out);
    }
    out.println();
    out.println("--explain says what each column means; --html FILE makes a page with charts.");
  }

  private static String named(Verdict.Row row) {
    return row.id() + (row.isDefault() ? " (default)" : "");
  }

  /** The two lines of a head. */
  private static List<List<String>> heads(List<String> first, List<Column> columns) {
    List<String> top = new ArrayList<>(first);
    List<String> bottom = new ArrayList<>(Collections.nCopies(first.size(), ""));
    for (Column column : columns) {
      top.add(column.top());
      bottom.add(column.bottom());
    }
    return new ArrayList<>(List.of(top, bottom));
  }

  private static List<String> cells(List<Column> columns, Collection<Measurement> runs) {
    Totals totals = Totals.of(runs);
    return columns.stream().map(c -> c.text().apply(totals)).toList();
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
