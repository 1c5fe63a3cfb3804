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
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.function.Function;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Measurements as one page for a browser: a summary, charts, and every run. The page has everything
 * inside, the charting library too, and loads nothing from anywhere.
 *
 * <p>The template, the styles and the script are resources of this package. The script gets the
 * numbers as JSON; what can be read without a script (facts, findings, summary) is in the page.
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
   * @param runs what was measured
   * @param environment where and when
   * @param out where to; in UTF-8, which the page says it is; flushed, not closed
   * @throws IllegalStateException if the charting library (org.webjars:echarts, an optional
   *     dependency) is not on the class path
   * @throws IOException if {@code out} throws it
   */
  public static void write(List<Measurement> runs, Environment environment, Writer out)
      throws IOException {
    Map<String, String> parts =
        Map.of(
            "style", resource("report.css"),
            "facts", facts(runs, environment),
            "findings", findings(runs),
            "summary", summary(runs),
            "unsound", Runs.areSound(runs) ? "" : UNSOUND_NOTE,
            "data", data(runs),
            "echarts", echarts(HtmlReport.class.getClassLoader()),
            "version", ECHARTS_VERSION,
            "script", resource("report.js"));
    Matcher place = PLACE.matcher(resource("report.html"));
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

  private static String resource(String name) {
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

  private static String facts(List<Measurement> runs, Environment environment) {
    StringBuilder html = new StringBuilder();
    fact(html, "When", WHEN.format(environment.when()));
    fact(html, "Runs", runs.size() + seconds(runs));
    fact(html, "Guest memory", distinct(runs, m -> Numbers.bytes(m.size())));
    fact(html, "Seed", distinct(runs, m -> String.valueOf(m.seed())));
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
    html.append(escaped(value)).append("</dd></div>\n");
  }

  private static String findings(List<Measurement> runs) {
    List<Finding> all = Finding.of(runs);
    Finding verdict = all.get(all.size() - 1);
    StringBuilder html = new StringBuilder();
    html.append("<p class=\"verdict ")
        .append(verdict.failure() ? "bad" : "good")
        .append("\">")
        .append(escaped(verdict.text()))
        .append("</p>\n");
    if (all.size() > 1) {
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
      html.append("</ul>\n");
    }
    return html.toString();
  }

  private static String summary(List<Measurement> runs) {
    Function<Measurement, String> policy = Runs.policy(runs);
    List<Measurement> fair = Runs.comparable(Measurement::protocol, policy, runs);
    StringBuilder html = new StringBuilder();
    if (fair.size() < runs.size()) {
      html.append("<caption>Runs with the policies that every protocol ran with: ")
          .append(escaped(String.join(", ", Runs.by(policy, fair).keySet())))
          .append("</caption>\n");
    }
    html.append("<thead><tr><th scope=\"col\">protocol</th>");
    for (Column column : Column.ALL) {
      html.append("<th scope=\"col\" title=\"")
          .append(escaped(column.meaning()))
          .append("\">")
          .append(escaped(column.top()))
          .append(column.bottom().isEmpty() ? "" : "<br>" + escaped(column.bottom()))
          .append("</th>");
    }
    html.append("</tr></thead>\n<tbody>\n");
    Runs.byProtocol(fair)
        .forEach(
            (id, its) -> {
              Totals totals = Totals.of(its);
              html.append("<tr><th scope=\"row\">").append(escaped(id));
              html.append(
                  Runs.areSound(its) ? "</th>" : " <span class=\"mark\">unsound</span></th>");
              for (Column column : Column.ALL) {
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

  private static String escaped(String text) {
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
      json.writeArrayFieldStart("runs");
      for (Measurement m : runs) {
        write(m, json);
      }
      json.writeEndArray();
      json.writeEndObject();
    }
    return text.toString().replace("<", "\\u003c");
  }

  private static void write(Measurement m, JsonGenerator json) throws IOException {
    Totals totals = Totals.of(List.of(m));
    json.writeStartObject();
    json.writeStringField("protocol", m.protocol());
    json.writeStringField("policy", m.policy());
    json.writeStringField("onShared", m.onShared());
    json.writeStringField("workload", m.workload());
    json.writeNumberField("vcpus", m.vcpus());
    json.writeStringField("seed", String.valueOf(m.seed())); // a script's numbers have 53 bits
    json.writeNumberField("seconds", m.seconds());
    json.writeNumberField("toInaccessible", m.conversionsToInaccessible());
    json.writeNumberField("toAccessible", m.conversionsToAccessible());
    json.writeNumberField("held", m.refusedWithUnsafeHolder());
    json.writeNumberField("falseBusy", m.refusedWithoutUnsafeHolder());
    json.writeNumberField("leaks", m.leaks());
    json.writeStringField("firstLeak", m.firstLeak());
    json.writeNumberField("retries", m.retries());
    json.writeNumberField("guestFaults", m.guestFaults());
    json.writeNumberField("hostFaults", m.hostFaults());
    json.writeNumberField("sigbus", m.sigbus());
    json.writeNumberField("guestOps", m.guestOps());
    json.writeNumberField("hostOps", m.hostOps());
    json.writeNumberField("corruptions", m.corruptions());
    json.writeNumberField("framesLeaked", m.framesLeaked());
    json.writeNumberField("p50", totals.nanosAt(50));
    json.writeNumberField("p99", totals.nanosAt(99));
    json.writeNumberField("max", totals.nanosAt(100));
    Latencies.write(m.latency(), json);
    Pictures.write(m.map(), json);
    json.writeEndObject();
  }
}
