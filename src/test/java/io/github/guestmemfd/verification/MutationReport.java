package io.github.guestmemfd.verification;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** The report of a run of PIT, as figures of its table: mutants by package. */
final class MutationReport {
  static final List<String> PACKAGES = List.of("conversion", "memory", "cache", "kvm", "file");

  /** In a line: the file, the class, the mutator, the method, the line, the status, the test. */
  private static final int CLASS = 1;

  private static final int STATUS = 5;

  private static final class Sum {
    int survived;
    int uncovered;
    int all;

    void add(String status) {
      all++;
      switch (status) {
        case "SURVIVED" -> survived++;
        case "NO_COVERAGE" -> uncovered++;
        case "KILLED", "TIMED_OUT", "MEMORY_ERROR", "RUN_ERROR" -> {} // a test has told it apart
        default -> throw new IllegalArgumentException("unexpected status of a mutant: " + status);
      }
    }

    List<String> figures() {
      int killed = all - survived - uncovered;
      return List.of(
          String.valueOf(all),
          String.valueOf(killed),
          String.valueOf(survived),
          String.valueOf(uncovered),
          String.format(Locale.ROOT, "%.1f", 100.0 * killed / all));
    }
  }

  private MutationReport() {}

  /** Returns the name of the row for a package. */
  static String row(String name) {
    return "`" + name + "`";
  }

  /** Returns the figures by package; none without a file. */
  static Map<String, List<String>> read(Path file) throws IOException {
    Map<String, Sum> sums = new LinkedHashMap<>();
    if (Files.exists(file)) {
      for (String line : Files.readAllLines(file)) {
        String[] cells = line.split(",", -1);
        String[] names = cells[CLASS].split("\\.", -1);
        sums.computeIfAbsent(row(names[names.length - 2]), name -> new Sum()).add(cells[STATUS]);
      }
    }
    Map<String, List<String>> figures = new LinkedHashMap<>();
    sums.forEach((name, sum) -> figures.put(name, sum.figures()));
    return figures;
  }
}
