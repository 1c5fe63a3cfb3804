package io.github.guestmemfd.verification;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.faults.Fault;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * Writes the result tables of docs/verification.md. A table stands between two comments, the first
 * of which names it. Its rows come from the sources, its figures from the {@link Results}; without
 * results the figures stay that the document has.
 */
final class VerificationTables {
  static final Path DOCUMENT = Path.of("docs", "verification.md");

  private static final Pattern TABLE =
      Pattern.compile("(<!-- table: ([\\w-]+) -->\n)(.*?)(<!-- end of table -->)", Pattern.DOTALL);

  /** The figure of a row without a result. */
  static final String UNKNOWN = "-";

  /**
   * A table.
   *
   * @param columns the titles
   * @param figures how many columns are figures, the last ones
   * @param rows for each row its name, and its text where the table has a column of texts; empty if
   *     the rows are those that have results
   */
  record Table(List<String> columns, int figures, Map<String, String> rows) {

    static Table ofResults(String... columns) {
      return new Table(List.of(columns), columns.length - 1, Map.of());
    }

    static Table ofRows(List<String> rows, String... columns) {
      Map<String, String> names = new LinkedHashMap<>();
      rows.forEach(row -> names.put(row, ""));
      return new Table(List.of(columns), columns.length - 1, names);
    }

    private boolean hasTexts() {
      return columns.size() > 1 + figures;
    }

    String render(Map<String, List<String>> results) {
      List<String> lines = new ArrayList<>();
      lines.add(line(columns));
      lines.add("|---".repeat(columns.size()) + "|");
      for (String name : rows.isEmpty() ? results.keySet() : rows.keySet()) {
        List<String> cells = new ArrayList<>();
        cells.add(name);
        if (hasTexts()) {
          cells.add(rows.get(name));
        }
        List<String> unknown = Collections.nCopies(figures, UNKNOWN);
        results.getOrDefault(name, unknown).forEach(figure -> cells.add(grouped(figure)));
        lines.add(line(cells));
      }
      return String.join("\n", lines);
    }

    /** The figures by the name of the row. */
    Map<String, List<String>> parse(String table) {
      Map<String, List<String>> found = new LinkedHashMap<>();
      for (String line : table.strip().lines().skip(2).toList()) {
        List<String> cells = List.of(line.substring(2, line.length() - 2).split(" \\| ", -1));
        found.put(cells.get(0), cells.subList(cells.size() - figures, cells.size()));
      }
      return found;
    }

    private static String line(List<String> cells) {
      return "| " + String.join(" | ", cells) + " |";
    }

    private static String grouped(String figure) {
      return figure.matches("[0-9]{4,18}")
          ? String.format(Locale.ROOT, "%,d", Long.parseLong(figure))
          : figure;
    }
  }

  private static final List<String> FAULTS =
      Stream.concat(
              Arrays.stream(Fault.Kind.values()).map(Fault.Kind::text),
              Stream.of("all", "pairs of a scenario and a protocol"))
          .toList();

  private VerificationTables() {}

  /** Returns the tables that the document has, by name. */
  static Map<String, Table> tables() throws IOException {
    Map<String, Table> tables = new LinkedHashMap<>();
    tables.put(
        "suite",
        Table.ofResults("JDK", "tests", "of shipped code", "broken twins", "failed", "minutes"));
    for (String folder : List.of("memory", "cache", "file", "kvm")) {
      tables.put("jcstress-" + folder, jcstress(JcstressTests.of(folder)));
    }
    Map<String, String> facades = new LinkedHashMap<>(JcstressTests.of(""));
    facades.putAll(JcstressTests.of("testing"));
    tables.put("jcstress-facades", jcstress(facades));
    List<String> twins = new ArrayList<>();
    for (String folder : List.of("memory", "cache", "file", "", "testing", "kvm")) {
      JcstressTests.of(folder).keySet().forEach(name -> twins.add("`" + name + "`"));
    }
    tables.put("twins", Table.ofRows(twins, "jcstress test", "orders", "explored"));
    tables.put("models", Table.ofResults("model: case", "outcome", "states"));
    tables.put(
        "explored",
        Table.ofResults("what is explored", "combinations", "of them complete", "orders", "steps"));
    tables.put("false-refusals", Table.ofResults("protocol", "grab", "munmap", "migrate", "scan"));
    tables.put("faults", Table.ofRows(FAULTS, "fault", "played"));
    tables.put("differential", Table.ofResults("kernel, seed", "calls", "differences"));
    tables.put("bad-input", Table.ofResults("what is called", "number"));
    tables.put(
        "mutation",
        Table.ofRows(
            MutationReport.PACKAGES.stream().map(MutationReport::row).toList(),
            "package",
            "mutants",
            "killed",
            "survived",
            "not covered",
            "killed, %"));
    tables.put(
        "soak",
        Table.ofRows(
            ConversionProtocol.all().stream().map(p -> "`" + p.id() + "`").toList(),
            "protocol",
            "conversions to private",
            "refused while held",
            "false busy",
            "leaks",
            "contents changed",
            "frames lost"));
    return tables;
  }

  private static Table jcstress(Map<String, String> tests) {
    Map<String, String> rows = new LinkedHashMap<>();
    tests.forEach((name, text) -> rows.put("`" + name + "`", text));
    return new Table(
        List.of("test", "property, or what the twin leaves out", "samples", "forbidden, or broken"),
        2,
        rows);
  }

  /** Where PIT leaves its report: beside the results. */
  static Path mutants(Path results) {
    return results.resolveSibling(Path.of("pit-reports", "mutations.csv"));
  }

  private static Map<String, List<String>> fresh(String name, Path results) throws IOException {
    return switch (name) {
      case "soak" -> SoakReport.read(results.resolve("soak.json"));
      case "mutation" -> MutationReport.read(mutants(results));
      default -> Results.read(results, name.replaceFirst("^jcstress-.*", "jcstress"));
    };
  }

  /** Returns the document with each table written anew. */
  static String render(String document, Path results) throws IOException {
    Map<String, Table> tables = tables();
    Matcher found = TABLE.matcher(document);
    StringBuilder text = new StringBuilder();
    while (found.find()) {
      String name = found.group(2);
      Table table = tables.get(name);
      if (table == null) {
        throw new IllegalArgumentException(
            "expected one of " + tables.keySet() + ", actual " + name);
      }
      Map<String, List<String>> figures = table.parse(found.group(3));
      Map<String, List<String>> fresh = fresh(name, results);
      if (table.rows.isEmpty() && !fresh.isEmpty()) {
        figures.clear();
      }
      figures.putAll(fresh);
      String written = found.group(1) + "\n" + table.render(figures) + "\n\n" + found.group(4);
      found.appendReplacement(text, Matcher.quoteReplacement(written));
    }
    return found.appendTail(text).toString();
  }

  /** Returns the names of the tables in a document. */
  static List<String> names(String document) {
    return TABLE.matcher(document).results().map(m -> m.group(2)).toList();
  }
}
