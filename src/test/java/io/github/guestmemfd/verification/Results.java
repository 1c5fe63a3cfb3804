package io.github.guestmemfd.verification;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The results of checks, from which the tables of docs/verification.md are written: for each table
 * a file {@code target/verification/TABLE.tsv}, with a line for each row. A line has the row's name
 * and its figures, separated by tabs.
 */
public final class Results {
  static final Path DIRECTORY = Path.of("target", "verification");

  private Results() {}

  /** Adds a row to the results for a table, or replaces the one of the same name. */
  public static void add(String table, String row, Object... figures) {
    try {
      Map<String, List<String>> rows = read(DIRECTORY, table);
      rows.put(row, Arrays.stream(figures).map(String::valueOf).toList());
      List<String> lines =
          rows.entrySet().stream()
              .map(r -> r.getKey() + "\t" + String.join("\t", r.getValue()))
              .toList();
      Files.createDirectories(DIRECTORY);
      Files.write(DIRECTORY.resolve(table + ".tsv"), lines);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Returns the figures by the name of the row, in the order of the file; none without a file. */
  static Map<String, List<String>> read(Path directory, String table) throws IOException {
    Map<String, List<String>> rows = new LinkedHashMap<>();
    Path file = directory.resolve(table + ".tsv");
    if (Files.exists(file)) {
      for (String line : Files.readAllLines(file)) {
        List<String> cells = List.of(line.split("\t", -1));
        rows.put(cells.get(0), cells.subList(1, cells.size()));
      }
    }
    return rows;
  }
}
