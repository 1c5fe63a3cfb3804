package io.github.guestmemfd.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.openjdk.jmh.runner.RunnerException;

/**
 * How costs grow, as tables and plots for docs/performance.md: with the pages of a file, with
 * threads, with the range of a conversion, and with mappings. About four minutes with one fork:
 * {@code java -cp target/guest-memfd-jmh.jar io.github.guestmemfd.bench.GrowthTable -f 1}.
 */
public final class GrowthTable {
  private static final String[] PAGES = {
    "64", "4096", "65536", "262144", "1048576", "4194304", "16777216"
  };
  private static final String[] THREADS = {"1", "2", "4"};
  private static final String[] RANGES = {"1", "8", "64", "512", "4096", "32768", "262144"};
  private static final String[] MAPPINGS = {"0", "1", "4", "16", "64"};

  /** A line of a plot: what it shows, and its value for each point of the other axis. */
  private record Series(String what, List<Scores> values) {}

  private GrowthTable() {}

  /**
   * Runs the benchmarks and prints tables and plots.
   *
   * @param args {@code -f N} for N forks of each, 2 by default; anything else is an error
   * @throws RunnerException if JMH cannot run them
   */
  public static void main(String[] args) throws RunnerException {
    int forks = Rows.forks(args);
    Rows rows = new Rows();
    rows.run(Rows.options(forks, "GrabPutBenchmark.(grabPut|twoAtomics)").param("pages", PAGES));
    rows.run(Rows.options(forks, "ConvertBenchmark.presentPages").param("pages", RANGES));
    rows.run(
        Rows.options(forks, "ConvertBenchmark.(presentPages|mappedPages|populateAndDrop)")
            .param("pages", "512")
            .param("mappings", MAPPINGS));
    List<Scores> neighbours = new ArrayList<>();
    List<Scores> onePage = new ArrayList<>();
    for (String threads : THREADS) {
      Rows of = new Rows();
      of.run(
          Rows.options(forks, "TwoThreadsBenchmark.(neighbours|onePage)")
              .threads(Integer.parseInt(threads)));
      neighbours.add(of.of("TwoThreads.neighbours"));
      onePage.add(of.of("TwoThreads.onePage"));
    }
    System.out.println();
    System.out.println(Rows.where());
    print(
        "Grab and put of a random page",
        "pages of the file",
        "ns",
        PAGES,
        series("grab and put", PAGES, n -> rows.of("GrabPut.grabPut " + n)),
        series("two atomic adds", PAGES, n -> rows.of("GrabPut.twoAtomics " + n)));
    print(
        "Grab and put by several threads",
        "threads",
        "in a microsecond",
        THREADS,
        new Series("neighbouring pages", neighbours),
        new Series("one page", onePage));
    print(
        "Conversion of present pages, a page and way",
        "pages of the range",
        "ns",
        RANGES,
        series(
            "conversion",
            RANGES,
            n -> rows.of("Convert.presentPages 0 " + n).dividedBy(2.0 * Long.parseLong(n))));
    print(
        "Conversion of 512 pages, a page and way, with mappings",
        "mappings",
        "ns",
        MAPPINGS,
        series(
            "that map nothing",
            MAPPINGS,
            n -> rows.of("Convert.presentPages " + n + " 512").dividedBy(2 * 512)),
        series(
            "that map every page",
            MAPPINGS,
            n ->
                rows.of("Convert.mappedPages " + n + " 512")
                    .minus(rows.of("Convert.populateAndDrop " + n + " 512"))
                    .dividedBy(2 * 512)));
  }

  private static Series series(String what, String[] points, Function<String, Scores> of) {
    return new Series(what, Arrays.stream(points).map(of).toList());
  }

  /** A table, and the medians as a plot. */
  private static void print(
      String title, String axis, String unit, String[] points, Series... all) {
    System.out.println();
    System.out.println("| " + axis + " | " + join(all, s -> s.what + ", " + unit, " | ") + " |");
    System.out.println("|" + "---|".repeat(all.length + 1));
    for (int i = 0; i < points.length; i++) {
      int at = i;
      System.out.println("| " + points[i] + " | " + join(all, s -> text(s, at), " | ") + " |");
    }
    System.out.println();
    System.out.println("```mermaid");
    System.out.println("xychart-beta");
    System.out.println("  title \"" + title + "\"");
    System.out.println("  x-axis \"" + axis + "\" [" + String.join(", ", points) + "]");
    System.out.println("  y-axis \"" + unit + "\"");
    for (Series s : all) {
      System.out.println(
          "  line ["
              + s.values.stream().map(v -> number(v.median())).collect(Collectors.joining(", "))
              + "]");
    }
    System.out.println("```");
  }

  private static String text(Series series, int at) {
    Scores v = series.values.get(at);
    return number(v.median()) + " (" + number(v.lowest()) + " to " + number(v.highest()) + ")";
  }

  private static String join(Series[] all, Function<Series, String> text, String between) {
    return Arrays.stream(all).map(text).collect(Collectors.joining(between));
  }

  private static String number(double value) {
    return String.format(Locale.ROOT, "%.1f", value);
  }
}
