package io.github.guestmemfd.lab.report;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.lab.report.PageMap.State;
import java.io.IOException;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.function.ToLongFunction;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import org.HdrHistogram.Histogram;
import org.assertj.core.data.Percentage;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** The page: complete in itself, with the numbers of the runs, whatever their names. */
class HtmlReportTest {

  private static final List<Measurement> SAMPLE = Measurements.sample(1);

  private static final List<State> CODES =
      List.of(State.HOLE, State.ACCESSIBLE, State.INACCESSIBLE, State.BUSY);

  private static final String HOSTILE =
      "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> & \"' {{script}} $1 \\";

  /** The page of the sample, and without the charting library. */
  private static String wholeSample;

  private static String sample;

  @BeforeAll
  static void makeTheSample() throws IOException {
    wholeSample = whole(SAMPLE);
    sample = withoutLibrary(wholeSample);
  }

  private static String whole(List<Measurement> runs) throws IOException {
    StringWriter out = new StringWriter();
    HtmlReport.write(Measurements.session(runs), out);
    return out.toString();
  }

  private static String page(List<Measurement> runs) throws IOException {
    return withoutLibrary(whole(runs));
  }

  /** The library is the longest part. */
  private static String withoutLibrary(String page) {
    String library = HtmlReport.echarts(HtmlReport.class.getClassLoader());
    return page.replace(library, "[the library]");
  }

  private static List<String> all(String pattern, String text) {
    return Pattern.compile(pattern, Pattern.DOTALL)
        .matcher(text)
        .results()
        .map(MatchResult::group)
        .toList();
  }

  /** The numbers as the script gets them. */
  private static Map<String, Object> data(String page) throws IOException {
    String start = "<script type=\"application/json\" id=\"data\">";
    int from = page.indexOf(start) + start.length();
    return Json.object(Json.parse(page.substring(from, page.indexOf("</script>", from))));
  }

  private static List<Map<String, Object>> cells(String page) throws IOException {
    return Json.array(data(page).get("cells")).stream().map(Json::object).toList();
  }

  private static long sum(ToLongFunction<Measurement> count, List<Measurement> runs) {
    return runs.stream().mapToLong(count).sum();
  }

  @Test
  void nothingIsLoadedFromAnywhere() throws IOException {
    String page = wholeSample;
    assertThat(all("(?i)\\b(src|href|action|data)\\s*=\\s*[\"']?\\s*(\\w+:)?//[^\"' >]*", page))
        .isEmpty();
    assertThat(all("(?i)(url\\(\\s*[\"']?\\s*(https?:)?//|@import)[^)]*", page)).isEmpty();
    assertThat(all("<(link|iframe|object|embed|base)\\b[^>]*>", sample)).isEmpty();
    assertThat(all("(?<=Policy\" content=\")[^;]+", page)).containsExactly("default-src 'none'");
  }

  @Test
  void everyPlaceOfTheTemplateIsFilled() throws IOException {
    String page = sample;
    assertThat(all(".{20}\\{\\{.{20}", page)).isEmpty();
    assertThat(all("(?<=<script>\n)\\[the library]", page)).hasSize(1);
    assertThat(all("Apache ECharts [0-9.]+[0-9]", page))
        .containsExactly("Apache ECharts " + HtmlReport.ECHARTS_VERSION);
    assertThat(all("(?<=<dt>).*?(?=</dd>)", page))
        .containsExactly(
            "When</dt><dd>2 January 2026, 03:04 UTC",
            "Runs</dt><dd>780 of 2 s, in 5 rounds",
            "Guest memory</dt><dd>64 MiB",
            "Seed</dt><dd>1",
            "Options</dt><dd>--seed 1",
            "JVM</dt><dd>A VM 17.0.1",
            "System</dt><dd>Linux 6.18 amd64",
            "Cores</dt><dd>8");
  }

  @Test
  void theSummaryNamesEachProtocolInItsOrder() throws IOException {
    String page = sample;
    String table = page.substring(page.indexOf("<table"), page.indexOf("</table>"));
    assertThat(all("(?<=<th scope=\"row\">)[a-z-]+", table))
        .containsExactlyElementsOf(
            ConversionProtocol.all().stream().map(ConversionProtocol::id).toList());
    assertThat(all("<th scope=\"row\">[a-z-]+ <span class=\"mark\">unsound", table))
        .containsExactly("<th scope=\"row\">pin-check <span class=\"mark\">unsound");
    assertThat(Json.array(data(page).get("protocols"))).hasSameSizeAs(ConversionProtocol.all());
  }

  @Test
  void theSummaryHasTheNumbersOfTheText() throws IOException {
    List<Measurement> last =
        Runs.comparable(Measurement::protocol, Runs.policy(SAMPLE), SAMPLE).stream()
            .filter(m -> m.protocol().equals("atomic-pair"))
            .toList();
    assertThat(sample).contains("<caption>");
    assertThat(row("figures", "atomic-pair"))
        .containsExactlyElementsOf(cells(Column.FIGURES, last));
    assertThat(row("totals", "atomic-pair")).containsExactlyElementsOf(cells(Column.TOTALS, last));
  }

  private static List<String> cells(List<Column> columns, List<Measurement> runs) {
    return columns.stream().map(c -> c.text().apply(Totals.of(runs)).replace("<", "&lt;")).toList();
  }

  /** The cells of a protocol in a table of the sample. */
  private static List<String> row(String table, String protocol) {
    String rest = sample.substring(sample.indexOf("id=\"" + table + "\""));
    rest = rest.substring(rest.indexOf("<th scope=\"row\">" + protocol));
    return all("(?<=\">|<td>)[^<]+(?=</td>)", rest.substring(0, rest.indexOf("</tr>")));
  }

  @Test
  void everyHeadSaysWhatItsColumnMeans() throws IOException {
    String two = page(Measurements.monitors());
    for (Column column : Column.ALL) {
      String title = "title=\"" + column.meaning();
      assertThat(two).contains(title);
      if (!Column.OF_MONITORS.contains(column)) {
        assertThat(sample).contains(title);
      }
    }
    for (VerdictColumn column : VerdictColumn.ALL) {
      assertThat(sample).contains("title=\"" + column.meaning() + "\">" + column.head());
    }
  }

  @Test
  void twoMemoriesHaveASectionIfThereAreSome() throws IOException {
    List<Measurement> runs = Measurements.monitors();
    String page = page(runs);
    assertThat(page)
        .contains("<h2 id=\"h-monitors\">Two memories</h2>")
        .contains("<th scope=\"row\">two, discard both, pins 1 MiB</th>")
        .contains("Runs with pages that are converted in place; two memories follow.")
        .contains(Verdict.of(runs).twoMemories());
    String table = page.substring(page.indexOf("<table id=\"monitors\""));
    List<Measurement> never =
        runs.stream().filter(m -> m.monitor().name().equals("two, discard never")).toList();
    for (String cell : cells(Column.OF_MONITORS, never)) {
      assertThat(table).contains(">" + cell + "</td>");
    }
    assertThat(cells(page))
        .extracting(c -> c.get("memory") + " " + c.get("discard") + " " + c.get("pins"))
        .contains("in-place never none", "two never none", "two both 1 MiB");
    assertThat(sample).doesNotContain("h-monitors", "wo memories");
  }

  @Test
  void theVerdictStandsAtTheEnd() {
    List<Measurement> runs = SAMPLE;
    Verdict verdict = Verdict.of(runs);
    int end = sample.lastIndexOf("<h2");
    assertThat(sample.substring(end))
        .startsWith("<h2 id=\"h-verdict\">Verdict")
        .contains(verdict.sentence());
    for (Verdict.Row row : verdict.rows()) {
      assertThat(row("verdict", row.id()))
          .containsExactlyElementsOf(
              VerdictColumn.ALL.stream()
                  .map(c -> c.text().apply(row).replace("<", "&lt;"))
                  .toList());
    }
    assertThat(sample).contains("atomic-pair <span class=\"default\">default</span>");
  }

  @Test
  void theScriptGetsTheNumbersOfEveryCombination() throws IOException {
    List<Map<String, Object>> shown = cells(sample);
    List<List<Measurement>> cells = Runs.byCell(SAMPLE);
    assertThat(shown).hasSameSizeAs(cells);
    for (int i = 0; i < shown.size(); i++) {
      List<Measurement> its = cells.get(i);
      Measurement m = its.get(0);
      assertThat(shown.get(i))
          .containsEntry("protocol", m.protocol())
          .containsEntry("policy", m.policy())
          .containsEntry("memory", "in-place")
          .containsEntry("discard", "never")
          .containsEntry("pins", "none")
          .containsEntry("workload", m.workload())
          .containsEntry("vcpus", (long) m.vcpus())
          .containsEntry("toInaccessible", sum(Measurement::conversionsToInaccessible, its))
          .containsEntry("toAccessible", sum(Measurement::conversionsToAccessible, its))
          .containsEntry("held", sum(Measurement::refusedWithUnsafeHolder, its))
          .containsEntry("falseBusy", sum(Measurement::refusedWithoutUnsafeHolder, its))
          .containsEntry("leaks", sum(Measurement::leaks, its))
          .containsEntry("retries", sum(Measurement::retries, its))
          .containsEntry("guestFaults", sum(Measurement::guestFaults, its))
          .containsEntry("hostFaults", sum(Measurement::hostFaults, its))
          .containsEntry("sigbus", sum(Measurement::sigbus, its))
          .containsEntry("hostOps", sum(Measurement::hostOps, its))
          .containsEntry("corruptions", 0L)
          .containsEntry("framesLeaked", 0L)
          .containsEntry("longest", Totals.of(its).longestNanos());
      List<Object> rounds = Json.array(shown.get(i).get("rounds"));
      assertThat(rounds).hasSize(Measurements.ROUNDS);
      for (int round = 0; round < rounds.size(); round++) {
        Measurement of = its.get(round);
        assertThat(Json.object(rounds.get(round)))
            .containsEntry("seconds", of.seconds())
            .containsEntry("guestOps", of.guestOps())
            .containsEntry("converted", of.latency().getTotalCount())
            .containsEntry("falseBusy", of.refusedWithoutUnsafeHolder())
            .containsEntry("looks", of.firstLooks())
            .containsEntry("mismatches", of.firstLookMismatches());
      }
    }
  }

  /** Every value is counted, and in a bucket that starts at most 4.4 % below it. */
  @Test
  void latenciesSurviveTheirBuckets() throws IOException {
    Map<String, Object> page = data(sample);
    long perOctave = (Long) page.get("bucketsPerOctave");
    List<Map<String, Object>> shown = cells(sample);
    List<List<Measurement>> cells = Runs.byCell(SAMPLE);
    for (int i = 0; i < shown.size(); i++) {
      List<Object> pairs = Json.array(shown.get(i).get("latency"));
      Histogram latency = Totals.of(cells.get(i)).latency();
      long before99 = (long) Math.ceil(latency.getTotalCount() * 0.99);
      long bucket = 0;
      long total = 0;
      double p99 = 0;
      for (int k = 0; k < pairs.size(); k += 2) {
        bucket += (Long) pairs.get(k);
        if (total < before99) {
          p99 = Math.pow(2, (bucket + 0.5) / perOctave);
        }
        total += (Long) pairs.get(k + 1);
      }
      assertThat(total).isEqualTo(latency.getTotalCount());
      assertThat(p99)
          .isCloseTo((double) latency.getValueAtPercentile(99), Percentage.withPercentage(3));
    }
  }

  @Test
  void mapsSurviveTheirPacking() throws IOException {
    List<Map<String, Object>> shown = cells(sample);
    List<List<Measurement>> cells = Runs.byCell(SAMPLE);
    for (int i = 0; i < shown.size(); i++) {
      PageMap map = cells.get(i).get(Measurements.ROUNDS - 1).map();
      assertThat(columns(shown.get(i)))
          .isEqualTo(map.columns().stream().map(PageMap.Column::rows).toList());
      assertThat(Json.object(shown.get(i).get("map")))
          .containsEntry("bytesPerRow", map.bytesPerRow());
    }
  }

  @Test
  void whatIsTooLargeToSeeIsShownSmallerAndTheBusyPagesStay() throws IOException {
    List<State> rows = new ArrayList<>(Collections.nCopies(Pictures.MAX_ROWS * 3, State.HOLE));
    rows.set(0, State.ACCESSIBLE); // of three that are one, less than most
    rows.set(4, State.INACCESSIBLE);
    rows.set(5, State.INACCESSIBLE);
    rows.set(8, State.BUSY);
    List<PageMap.Column> columns = new ArrayList<>();
    for (int x = 0; x < 2 * Pictures.MAX_COLUMNS; x++) {
      columns.add(new PageMap.Column(x, rows));
    }
    Measurement run = Measurements.run(b -> b.map = new PageMap(4096, columns));
    Map<String, Object> shown = cells(page(List.of(run))).get(0);
    List<List<State>> small = columns(shown);
    assertThat(small).hasSize(Pictures.MAX_COLUMNS);
    assertThat(small.get(0)).hasSize(Pictures.MAX_ROWS);
    assertThat(small.get(7).subList(0, 4))
        .containsExactly(State.HOLE, State.INACCESSIBLE, State.BUSY, State.HOLE);
    assertThat(Json.object(shown.get("map"))).containsEntry("bytesPerRow", 3 * 4096L);
    assertThat(Json.array(Json.object(shown.get("map")).get("millis"))).startsWith(0.0, 2.0, 4.0);
  }

  private static List<List<State>> columns(Map<String, Object> run) {
    Map<String, Object> map = Json.object(run.get("map"));
    byte[] cells = Base64.getDecoder().decode((String) map.get("cells"));
    int rows = Math.toIntExact((Long) map.get("rows"));
    List<List<State>> columns = new ArrayList<>();
    for (int x = 0; x < Json.array(map.get("millis")).size(); x++) {
      List<State> column = new ArrayList<>();
      for (int y = 0; y < rows; y++) {
        int cell = x * rows + y;
        column.add(CODES.get((cells[cell / 4] >> (cell % 4 * 2)) & 3));
      }
      columns.add(column);
    }
    return columns;
  }

  @Test
  void namesAreNeverMarkup() throws IOException {
    Measurement run =
        Measurements.run(
            b -> {
              b.protocol = HOSTILE;
              b.sound = false;
              b.policy = HOSTILE;
              b.workload = HOSTILE;
              b.leaks = 1;
              b.firstLeak = HOSTILE;
            });
    String page = page(List.of(run));
    assertThat(all("(<script>alert|<img|<!--).{20}", page)).isEmpty();
    assertThat(all("<script\\b", page)).hasSize(4);
    assertThat(all("</script>", page)).hasSize(4);
    assertThat(page)
        .contains("First: &lt;/script&gt;&lt;script&gt;alert(1)")
        .contains("{{script}}");
    assertThat(cells(page).get(0))
        .containsEntry("protocol", HOSTILE)
        .containsEntry("workload", HOSTILE)
        .containsEntry("policy", HOSTILE)
        .containsEntry("firstLeak", HOSTILE);
  }

  @Test
  void noRunsMakeAPageToo() throws IOException {
    String page = page(List.of());
    assertThat(cells(page)).isEmpty();
    assertThat(page).contains("Nothing was measured.");
  }

  @Test
  void whetherItIsCleanComesFirst() throws IOException {
    String bad = page(List.of(Measurements.run("atomic-pair", true, "boot", 1, 1, 0)));
    assertThat(bad).contains("<p class=\"clean bad\">NOT CLEAN", "<li class=\"bad\">FAILURE");
    assertThat(sample).contains("<p class=\"clean good\">Clean", "<li>pin-check, which");
  }

  @Test
  void withoutTheChartingLibraryTheErrorSaysWhatIsMissing() {
    ClassLoader empty = new ClassLoader(null) {};
    assertThatThrownBy(() -> HtmlReport.echarts(empty))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("add org.webjars:echarts:" + HtmlReport.ECHARTS_VERSION);
  }

  @Test
  void theVersionOfTheChartingLibraryIsTheBuildFiles() throws IOException {
    assertThat(all("(?<=<echarts.version>)[^<]+", Files.readString(Path.of("pom.xml"))))
        .containsExactly(HtmlReport.ECHARTS_VERSION);
  }
}
