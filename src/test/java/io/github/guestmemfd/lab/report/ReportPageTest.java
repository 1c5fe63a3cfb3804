package io.github.guestmemfd.lab.report;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.github.guestmemfd.conversion.ConversionProtocol;
import java.io.IOException;
import java.io.InputStream;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * The page in a browser. {@code visit.js}, which is added to the page, does what a reader does and
 * tells what it saw; the page stands in a frame, since a window is never as narrow as a telephone.
 */
class ReportPageTest {
  private static final List<Measurement> SAMPLE = Measurements.sample(1);
  private static final List<String> CHARTS =
      List.of("latency", "firstlook", "busy", "throughput", "map");
  private static final int WIDE = 1280;
  private static final int NARROW = 420;

  /** What a visitor saw, by the width of the page. */
  private static final Map<Integer, Map<String, Object>> SEEN = new HashMap<>();

  private static Chromium chromium;

  @TempDir private static Path folder;

  @BeforeAll
  static void visitTheSample() throws IOException, InterruptedException {
    chromium = Chromium.required(folder);
    for (int width : List.of(WIDE, NARROW)) {
      SEEN.put(width, visit(SAMPLE, width, "light"));
    }
  }

  private static Map<String, Object> visit(List<Measurement> runs, int width, String theme)
      throws IOException, InterruptedException {
    StringWriter page = new StringWriter();
    HtmlReport.write(Measurements.session(runs), page);
    Path file = Files.createTempFile(folder, "report", ".html");
    String visitor = "<head>\n<script>" + visitor() + "</script>";
    Files.writeString(
        file, page.toString().replaceFirst("<head>", Matcher.quoteReplacement(visitor)));
    Path frame = Files.createTempFile(folder, "frame", ".html");
    Files.writeString(
        frame,
        """
        <!DOCTYPE html>
        <pre></pre>
        <script>addEventListener('message', e => { document.querySelector('pre').textContent = e.data; });</script>
        <iframe src="%s#%s" width="%d" height="900" style="border: 0"></iframe>
        """
            .formatted(file.toUri(), theme, width));
    String dom = chromium.dom(frame, 20_000);
    Matcher told = Pattern.compile("<pre>(.*?)</pre>", Pattern.DOTALL).matcher(dom);
    assertThat(told.find()).as(dom).isTrue();
    String json = told.group(1).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    assertThat(json).as("what the visitor told").isNotEmpty();
    return Json.object(Json.parse(json));
  }

  private static String visitor() throws IOException {
    try (InputStream in = ReportPageTest.class.getResourceAsStream("visit.js")) {
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    }
  }

  private static Map<String, Object> seen(int width) {
    return SEEN.get(width);
  }

  @SuppressWarnings("unchecked")
  private static <T> List<T> list(Object value) {
    return (List<T>) value;
  }

  /** Every chart is drawn, with something in it, and as wide as its place. */
  private static void areDrawn(Object charts) {
    List<Map<String, Object>> drawn = list(charts);
    assertThat(drawn).extracting(c -> c.get("section")).containsExactlyElementsOf(CHARTS);
    assertThat(drawn)
        .allSatisfy(
            chart -> {
              assertThat(chart).containsEntry("shown", true);
              assertThat((Long) chart.get("marks")).isPositive();
              assertThat((Long) chart.get("width")).isGreaterThan(200);
              assertThat(chart.get("drawn")).isEqualTo(chart.get("width"));
            });
  }

  @Test
  void nothingFails() {
    for (int width : List.of(WIDE, NARROW)) {
      assertThat(list(seen(width).get("errors"))).isEmpty();
    }
  }

  @Test
  void theChartsAreDrawnInBothThemesOnPaperAndWhenTheWidthChanges() {
    for (int width : List.of(WIDE, NARROW)) {
      for (String when : List.of("charts", "otherCharts", "paper", "narrowed")) {
        areDrawn(seen(width).get(when));
      }
    }
  }

  @Test
  void theButtonChangesTheThemeAndBack() {
    assertThat(seen(WIDE))
        .containsEntry("theme", "light")
        .containsEntry("button", "Dark theme")
        .containsEntry("otherTheme", "dark")
        .containsEntry("themeAgain", "light");
  }

  @Test
  void thePageIsNeverWiderThanItsFrameAndTablesScrollInSight() {
    for (int width : List.of(WIDE, NARROW)) {
      Map<String, Object> layout = Json.object(seen(width).get("layout"));
      assertThat((Long) layout.get("page")).isLessThanOrEqualTo((Long) layout.get("width"));
      List<Map<String, Object>> tables = list(layout.get("tables"));
      assertThat(tables).hasSizeGreaterThanOrEqualTo(3);
      assertThat(tables)
          .allSatisfy(
              table -> {
                assertThat(table).containsEntry("overflow", "auto");
                if ((Long) table.get("hides") > 0) {
                  assertThat((Long) table.get("bar")).as("height of the scroll bar").isPositive();
                }
              });
      if (width == NARROW) {
        assertThat(tables).anySatisfy(t -> assertThat((Long) t.get("hides")).isPositive());
      }
    }
  }

  @Test
  void aHeadSortsItsColumn() {
    List<Double> falling = numbers(seen(WIDE).get("falling"));
    List<Double> rising = numbers(seen(WIDE).get("rising"));
    assertThat(falling)
        .hasSize(ConversionProtocol.all().size())
        .isSortedAccordingTo(Comparator.reverseOrder());
    assertThat(rising).hasSameSizeAs(falling).isSorted();
    assertThat(falling.get(0)).isGreaterThan(rising.get(0));
  }

  private static List<Double> numbers(Object texts) {
    return ReportPageTest.<String>list(texts).stream().map(Double::valueOf).toList();
  }

  @Test
  void aChoiceChangesWhatIsShownAndCanBeTakenBack() {
    assertThat(list(seen(WIDE).get("boot"))).isNotEqualTo(seen(WIDE).get("before"));
    assertThat(list(seen(WIDE).get("after"))).isEqualTo(seen(WIDE).get("before"));
    assertThat(seen(WIDE))
        .containsEntry("unticked", "No protocol is ticked.")
        .containsEntry("untickedShown", false);
  }

  /** The script makes medians of its own; they are those of the text. */
  @Test
  void theCombinationsHaveTheNumbersOfTheText() {
    List<List<Measurement>> cells = Runs.byCell(SAMPLE);
    List<String> rows = list(seen(WIDE).get("runs"));
    List<List<String>> values = list(seen(WIDE).get("runValues"));
    assertThat(values).hasSameSizeAs(cells);
    List<String> heads = List.of(rows.get(0).split(" \\| "));
    for (int i = 0; i < cells.size(); i++) {
      Totals totals = Totals.of(cells.get(i));
      for (String head : List.of("made private", "leaks", "guest ops/s", "first-look mismatch")) {
        Column column =
            Column.ALL.stream().filter(c -> c.name().equals(head)).findFirst().orElseThrow();
        double expected = column.value().applyAsDouble(totals);
        assertThat(Double.parseDouble(values.get(i).get(heads.indexOf(head))))
            .as("%s of %s", head, rows.get(i + 1))
            .isCloseTo(expected, within(Math.abs(expected) * 1e-9));
      }
    }
  }

  /** So is the interval, however many rounds there are. */
  @Test
  void theCombinationsHaveTheIntervalsOfTheText() throws Exception {
    Random random = new Random(3);
    for (int rounds : new int[] {12, 39}) {
      List<Measurement> runs = Measurements.rounds("p", random.longs(rounds, 1000, 9000).toArray());
      Map<String, Object> seen = visit(runs, WIDE, "light");
      List<String> rows = list(seen.get("runs"));
      int column = List.of(rows.get(0).split(" \\| ")).indexOf("guest ops/s");
      assertThat(List.of(rows.get(1).split(" \\| ")).get(column))
          .isEqualTo(Numbers.estimate(Totals.of(runs).guestOpsPerSecond(), Numbers::count));
    }
  }

  @Test
  void namesAreNeverMarkupAndFewRunsFailNothing() throws Exception {
    String hostile = "</script><img src=x onerror=alert(2)><b onmouseover='alert(1)'>{{data}} \\";
    Measurement run =
        Measurements.run(
            b -> {
              b.protocol = hostile;
              b.workload = hostile;
              b.leaks = 1;
              b.firstLeak = hostile;
            });
    Map<String, Object> seen = visit(List.of(run), WIDE, "dark");
    assertThat(list(seen.get("errors"))).isEmpty();
    assertThat(seen).containsEntry("theme", "dark").containsEntry("otherTheme", "light");
    assertThat(ReportPageTest.<List<String>>list(seen.get("runValues")).get(0)).contains(hostile);
  }

  @Test
  void kindsOfMonitorsAreChosenAmong() throws Exception {
    Map<String, Object> seen = visit(Measurements.monitors(), NARROW, "dark");
    assertThat(list(seen.get("errors"))).isEmpty();
    List<String> rows = list(seen.get("runs"));
    List<String> heads = List.of(rows.get(0).split(" \\| "));
    assertThat(heads).contains("memory", "discard", "device pins", "doubled mean", "doubled peak");
    List<String> means =
        rows.stream()
            .map(row -> row.split(" \\| ", -1))
            .filter(row -> row[heads.indexOf("memory")].equals("two"))
            .filter(row -> row[heads.indexOf("discard")].equals("never"))
            .map(row -> row[heads.indexOf("doubled mean")])
            .toList();
    assertThat(means).as(rows.toString()).containsExactly("6 MiB (4–8 MiB)", "6 MiB (4–8 MiB)");
  }

  @Test
  void noRunsFailNothing() throws Exception {
    Map<String, Object> seen = visit(List.of(), WIDE, "light");
    assertThat(list(seen.get("errors"))).isEmpty();
    assertThat(ReportPageTest.<Map<String, Object>>list(seen.get("charts")))
        .allSatisfy(chart -> assertThat(chart).containsEntry("shown", false));
  }
}
