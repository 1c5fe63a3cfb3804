package io.github.guestmemfd.lab.report;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import io.github.guestmemfd.conversion.ConversionProtocol;
import java.io.IOException;
import java.io.InputStream;
import java.io.StringWriter;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.function.Function;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * A session as one page for a browser: a summary, charts, every combination, and a verdict. The
 * page has everything inside, the charting library too, and loads nothing from anywhere.
 *
 * <p>The template, the styles and the script are resources of this package. The script gets the
 * numbers as JSON; what can be read without a script (facts, findings, summary, verdict) is in the
 * page.
 */
public final class HtmlReport {

  /** The version of the charting library; the one of the build file. */
  static final String ECHARTS_VERSION = "5.5.0";

  private static final String ECHARTS =
      "META-INF/resources/webjars/echarts/" + ECHARTS_VERSION + "/echarts.min.js";

  private static final Pattern PLACE = Pattern.compile("\\{\\{(\\w+)}}");

  private static final DateTimeFormatter WHEN =
      DateTimeFormatter.ofPattern("d MMMM uuuu, HH:mm 'UTC'", Locale.ENGLISH)
          .withZone(ZoneOffset.UTC);

  private HtmlReport() {}

  /**
   * Writes the page.
   *
   * @param session what was measured
   * @param out where to; in UTF-8, which the page says it is; flushed, not closed
   * @throws IllegalStateException if the charting library (org.webjars:echarts, an optional
   *     dependency) is not on the class path
   * @throws IOException if {@code out} throws it
   */
  public static void write(Session session, Writer out) throws IOException {
    List<Measurement> runs = session.runs();
    Verdict verdict = session.verdict();
    Map<String, String> parts =
        Map.ofEntries(
            Map.entry("style", resource("report.css")),
            Map.entry("facts", facts(session)),
            Map.entry("findings", findings(session, verdict)),
            Map.entry("spread", escaped(Session.ABOUT_FIGURES)),
            Map.entry("figures", summary(Column.FIGURES, runs)),
            Map.entry("totals", summary(Column.TOTALS, runs)),
            Map.entry("monitors", monitors(runs)),
            Map.entry("unsound", Runs.areSound(runs) ? "" : UNSOUND_NOTE),
            Map.entry("verdict", verdict(verdict)),
            Map.entry("data", data(runs)),
            Map.entry("echarts", echarts(HtmlReport.class.getClassLoader())),
            Map.entry("version", ECHARTS_VERSION),
            Map.entry("script", resource("report.js")));
    write("report.html", parts, out);
  }

  /** Writes a template with its parts. */
  static void write(String template, Map<String, String> parts, Writer out) throws IOException {
    Matcher place = PLACE.matcher(resource(template));
    out.write(
        place.replaceAll(
            match ->
                Matcher.quoteReplacement(
                    Objects.requireNonNull(parts.get(match.group(1)), match.group(1)))));
    out.flush();
  }

  private static final String UNSOUND_NOTE =
      "<p class=\"note\"><span class=\"mark\">unsound</span> does not claim to be sound: kept to"
          + " show its flaw, its leaks are expected.</p>";

  /** The library's text, from where a class loader finds it. */
  static String echarts(@Nullable ClassLoader loader) {
    InputStream in =
        loader == null
            ? ClassLoader.getSystemResourceAsStream(ECHARTS)
            : loader.getResourceAsStream(ECHARTS);
    if (in == null) {
      throw new IllegalStateException(
          "no charts: "
              + ECHARTS
              + " is not on the class path; add org.webjars:echarts:"
              + ECHARTS_VERSION
              + ", an optional dependency");
    }
    return text(in);
  }

  static String resource(String name) {
    return text(Objects.requireNonNull(HtmlReport.class.getResourceAsStream(name), name));
  }

  private static String text(InputStream stream) {
    try (InputStream in = stream) {
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  // What is read without a script.

  private static String facts(Session session) {
    List<Measurement> runs = session.runs();
    return facts(
        runs.size() + seconds(runs) + ", in " + session.rounds() + " rounds",
        distinct(runs, m -> Numbers.bytes(m.size())),
        session.options(),
        session.environment());
  }

  /** What was run, what was asked for, and where and when. */
  static String facts(
      String runs, String memory, Session.Options options, Environment environment) {
    StringBuilder html = new StringBuilder();
    fact(html, "When", WHEN.format(environment.when()));
    fact(html, "Runs", runs);
    fact(html, "Guest memory", memory);
    fact(html, "Seed", String.valueOf(options.seed()));
    fact(html, "Options", String.join(" ", options.arguments()));
    fact(html, "JVM", environment.jvm());
    fact(html, "System", environment.os());
    fact(html, "Cores", String.valueOf(environment.cores()));
    return html.toString();
  }

  private static String seconds(List<Measurement> runs) {
    return runs.isEmpty() ? "" : " of " + distinct(runs, m -> Numbers.seconds(m.seconds()));
  }

  /** One value, or a few, or how many there are. */
  private static String distinct(List<Measurement> runs, Function<Measurement, String> value) {
    List<String> values = runs.stream().map(value).distinct().toList();
    if (values.size() > 3) {
      return values.get(0) + " and " + (values.size() - 1) + " others";
    }
    return values.isEmpty() ? Numbers.NONE : String.join(", ", values);
  }

  private static void fact(StringBuilder html, String name, String value) {
    html.append("<div><dt>").append(name).append("</dt><dd>");
    html.append(value.isEmpty() ? Numbers.NONE : escaped(value)).append("</dd></div>\n");
  }

  private static String findings(Session session, Verdict verdict) {
    List<Finding> all = Finding.of(session.runs());
    Finding last = all.get(all.size() - 1);
    StringBuilder html = new StringBuilder();
    html.append("<p class=\"clean ")
        .append(last.failure() ? "bad" : "good")
        .append("\">")
        .append(escaped(last.text()))
        .append("</p>\n");
    List<String> sentences = verdict.sentences();
    for (String sentence : sentences) {
      html.append("<p>")
          .append(escaped(sentence))
          .append(
              sentence.equals(sentences.get(0))
                  ? " <a href=\"#verdict\">Why: the verdict</a></p>\n"
                  : "</p>\n");
    }
    html.append("<ul>\n");
    for (Finding finding : all.subList(0, all.size() - 1)) {
      html.append(finding.failure() ? "<li class=\"bad\">" : "<li>")
          .append(escaped(finding.text()));
      if (!finding.example().isEmpty()) {
        html.append("<br><span class=\"first\">First: ")
            .append(escaped(finding.example()))
            .append("</span>");
      }
      html.append("</li>\n");
    }
    session.doubts().forEach(doubt -> html.append("<li>").append(escaped(doubt)).append("</li>\n"));
    return html.append("</ul>\n").toString();
  }

  /** The protocols, by the runs that compare them. */
  private static String summary(List<Column> columns, List<Measurement> runs) {
    List<Measurement> judged = Runs.judged(runs);
    Function<Measurement, String> policy = Runs.policy(judged);
    List<Measurement> fair = Runs.comparable(Measurement::protocol, policy, judged);
    List<String> captions = new ArrayList<>();
    if (!Runs.withTwoMemories(runs).isEmpty()) {
      captions.add(
          judged.size() < runs.size()
              ? "Runs with pages that are converted in place; two memories follow."
              : "Runs with two memories.");
    }
    if (fair.size() < judged.size()) {
      captions.add(
          "Runs with the policies that every protocol ran with: "
              + String.join(", ", Runs.by(policy, fair).keySet()));
    }
    Map<String, List<Measurement>> rows = new LinkedHashMap<>();
    Runs.byProtocol(fair)
        .forEach((id, its) -> rows.put(rowHead(id, Runs.areSound(its), false), its));
    return table(String.join(" ", captions), "protocol", columns, rows);
  }

  /** The kinds of monitors, if some have two memories; then each protocol with those. */
  private static String monitors(List<Measurement> runs) {
    List<Measurement> two = Runs.withTwoMemories(runs);
    if (two.isEmpty()) {
      return "";
    }
    Function<Measurement, String> monitor = Runs.monitor(runs);
    Map<String, List<Measurement>> rows = new LinkedHashMap<>();
    Runs.by(monitor, Runs.comparable(monitor, Measurement::protocol, runs))
        .forEach((name, its) -> rows.put(rowHead(name, true, false), its));
    Map<String, List<Measurement>> protocols = new LinkedHashMap<>();
    Runs.byProtocol(Runs.comparable(Measurement::protocol, Runs.policy(two), two))
        .forEach((id, its) -> protocols.put(rowHead(id, Runs.areSound(its), false), its));
    return """
        <section aria-labelledby="h-monitors">
        <h2 id="h-monitors">Two memories</h2>
        <p class="how">By kind of monitor, all protocols together; then by protocol, all monitors \
        with two memories together. Doubled is memory that a page has in both, of which the guest \
        uses one.</p>
        <div class="wide" tabindex="0" role="region" aria-labelledby="h-monitors">
        <table id="monitors" class="numbers">
        """
        + table("", "monitor", Column.OF_MONITORS, rows)
        + """

        </table>
        </div>
        <div class="wide" tabindex="0" role="region" aria-label="Protocols with two memories">
        <table id="protocols-of-two" class="numbers">
        """
        + table("", "protocol", Column.OF_MONITORS, protocols)
        + "\n</table>\n</div>\n</section>\n";
  }

  /** What is inside a table, with a row for each group of runs, by its head. */
  private static String table(
      String caption, String what, List<Column> columns, Map<String, List<Measurement>> rows) {
    StringBuilder html = new StringBuilder();
    if (!caption.isEmpty()) {
      html.append("<caption>").append(escaped(caption)).append("</caption>\n");
    }
    html.append("<thead><tr><th scope=\"col\">").append(what).append("</th>");
    for (Column column : columns) {
      head(html, false, column.top(), column.bottom(), column.meaning());
    }
    html.append("</tr></thead>\n<tbody>\n");
    rows.forEach(
        (head, its) -> {
          Totals totals = Totals.of(its);
          html.append("<tr>").append(head);
          for (Column column : columns) {
            html.append("<td data-v=\"")
                .append(column.value().applyAsDouble(totals))
                .append("\">")
                .append(escaped(column.text().apply(totals)))
                .append("</td>");
          }
          html.append("</tr>\n");
        });
    return html.append("</tbody>").toString();
  }

  private static String verdict(Verdict verdict) {
    StringBuilder html = new StringBuilder();
    html.append("<thead><tr><th scope=\"col\">protocol</th>");
    for (VerdictColumn column : VerdictColumn.ALL) {
      head(html, column.isText(), column.head(), "", column.meaning());
    }
    html.append("</tr></thead>\n<tbody>\n");
    for (Verdict.Row row : verdict.rows()) {
      html.append("<tr>").append(rowHead(row.id(), row.sound(), row.isDefault()));
      for (VerdictColumn column : VerdictColumn.ALL) {
        html.append(column.isText() ? "<td class=\"text\">" : "<td>")
            .append(escaped(column.text().apply(row)))
            .append("</td>");
      }
      html.append("</tr>\n");
    }
    html.append("</tbody></table></div>\n");
    for (String sentence : verdict.sentences()) {
      html.append("<p class=\"choice\">").append(escaped(sentence)).append("</p>\n");
    }
    return html.toString();
  }

  private static void head(
      StringBuilder html, boolean isText, String top, String bottom, String meaning) {
    html.append(isText ? "<th class=\"text\"" : "<th")
        .append(" scope=\"col\" title=\"")
        .append(escaped(meaning))
        .append("\">")
        .append(escaped(top))
        .append(bottom.isEmpty() ? "" : "<br>" + escaped(bottom))
        .append("</th>");
  }

  private static String rowHead(String id, boolean sound, boolean isDefault) {
    return "<th scope=\"row\">"
        + escaped(id)
        + (isDefault ? " <span class=\"default\">default</span>" : "")
        + (sound ? "" : " <span class=\"mark\">unsound</span>")
        + "</th>";
  }

  static String escaped(String text) {
    return text.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace("\"", "&quot;");
  }

  // What the script gets.

  /** The numbers; without a less-than sign, so that nothing in them ends the script element. */
  private static String data(List<Measurement> runs) throws IOException {
    StringWriter text = new StringWriter();
    try (JsonGenerator json = new JsonFactory().createGenerator(text)) {
      json.writeStartObject();
      json.writeArrayFieldStart("protocols");
      List<String> shipped = ConversionProtocol.all().stream().map(ConversionProtocol::id).toList();
      int others = shipped.size();
      for (Map.Entry<String, List<Measurement>> protocol : Runs.byProtocol(runs).entrySet()) {
        int look = shipped.indexOf(protocol.getKey()); // one protocol looks alike in all reports
        json.writeStartObject();
        json.writeStringField("id", protocol.getKey());
        json.writeBooleanField("sound", Runs.areSound(protocol.getValue()));
        json.writeNumberField("look", look >= 0 ? look : others++);
        json.writeEndObject();
      }
      json.writeEndArray();
      json.writeNumberField("bucketsPerOctave", Latencies.BUCKETS_PER_OCTAVE);
      json.writeArrayFieldStart("cells");
      for (List<Measurement> cell : Runs.byCell(runs)) {
        write(cell, json);
      }
      json.writeEndArray();
      json.writeEndObject();
    }
    return text.toString().replace("<", "\\u003c");
  }

  /**
   * A combination: sums over its rounds, what the figures of each round come from, the last map.
   */
  private static void write(List<Measurement> rounds, JsonGenerator json) throws IOException {
    Totals totals = Totals.of(rounds);
    Measurement last = rounds.get(rounds.size() - 1);
    json.writeStartObject();
    json.writeStringField("protocol", last.protocol());
    json.writeStringField("policy", last.policy());
    json.writeStringField("memory", last.monitor().memory().id());
    json.writeStringField("discard", last.monitor().discard().id());
    json.writeStringField("pins", pins(last.monitor()));
    json.writeStringField("workload", last.workload());
    json.writeNumberField("vcpus", last.vcpus());
    json.writeNumberField("toInaccessible", totals.conversionsToInaccessible());
    json.writeNumberField("toAccessible", totals.sum(Measurement::conversionsToAccessible));
    json.writeNumberField("held", totals.refusedWithUnsafeHolder());
    json.writeNumberField("falseBusy", totals.refusedWithoutUnsafeHolder());
    json.writeNumberField("refusedShared", totals.refusedToAccessible());
    json.writeNumberField("gaveUp", totals.gaveUp());
    json.writeNumberField("leaks", totals.leaks());
    json.writeStringField("firstLeak", firstLeak(rounds));
    json.writeNumberField("retries", totals.retries());
    json.writeNumberField("guestFaults", totals.sum(Measurement::guestFaults));
    json.writeNumberField("hostFaults", totals.sum(Measurement::hostFaults));
    json.writeNumberField("sigbus", totals.sigbus());
    json.writeNumberField("hostOps", totals.sum(Measurement::hostOps));
    json.writeNumberField("corruptions", totals.sum(Measurement::corruptions));
    json.writeNumberField("framesLeaked", totals.framesLeaked());
    json.writeNumberField(
        "doubledPeak", rounds.stream().mapToLong(m -> m.doubled().peak()).max().orElse(0));
    json.writeNumberField("longest", totals.longestNanos());
    json.writeArrayFieldStart("rounds");
    for (Measurement m : rounds) {
      json.writeStartObject();
      json.writeNumberField("seconds", m.seconds());
      json.writeNumberField("guestOps", m.guestOps());
      json.writeNumberField("converted", m.latency().getTotalCount());
      json.writeNumberField("falseBusy", m.refusedWithoutUnsafeHolder());
      json.writeNumberField("looks", m.firstLooks());
      json.writeNumberField("mismatches", m.firstLookMismatches());
      json.writeNumberField("doubled", m.doubled().mean());
      json.writeEndObject();
    }
    json.writeEndArray();
    Latencies.write(totals.latency(), json);
    Pictures.write(last.map(), json);
    json.writeEndObject();
  }

  private static String pins(Monitor monitor) {
    return monitor.pinnable() == 0 ? "none" : Numbers.bytes(monitor.pinnable());
  }

  private static String firstLeak(List<Measurement> rounds) {
    return rounds.stream()
        .map(Measurement::firstLeak)
        .filter(text -> !text.isEmpty())
        .findFirst()
        .orElse("");
  }
}
