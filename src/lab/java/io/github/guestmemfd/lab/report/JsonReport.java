package io.github.guestmemfd.lab.report;

import com.fasterxml.jackson.core.JsonEncoding;
import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.StreamWriteFeature;
import java.io.IOException;
import java.io.OutputStream;
import java.math.BigDecimal;
import java.math.MathContext;
import java.util.List;

/**
 * A session as JSON, for programs: where and how it was measured, every run, every combination over
 * its rounds, and the verdict. docs/lab.md describes it.
 */
public final class JsonReport {

  /** What {@code schema_version} says; greater if a key has gone or means something else. */
  static final int SCHEMA_VERSION = 1;

  private static final MathContext DIGITS = new MathContext(6);

  private static final JsonFactory FACTORY =
      JsonFactory.builder().disable(StreamWriteFeature.AUTO_CLOSE_TARGET).build();

  private final JsonGenerator json;

  private JsonReport(JsonGenerator json) {
    this.json = json;
  }

  /**
   * Writes the report in UTF-8. Latencies are in microseconds; what is not known is null.
   *
   * @param session what was measured
   * @param out where to; flushed, not closed
   * @throws IOException if {@code out} throws it
   */
  public static void write(Session session, OutputStream out) throws IOException {
    write(out, report -> report.write(session));
  }

  /**
   * Writes what guests of platforms have survived, in UTF-8.
   *
   * @param survivals what was found
   * @param out where to; flushed, not closed
   * @throws IOException if {@code out} throws it
   */
  public static void write(Survivals survivals, OutputStream out) throws IOException {
    write(out, report -> report.write(survivals));
  }

  private interface Body {
    void write(JsonReport report) throws IOException;
  }

  private static void write(OutputStream out, Body body) throws IOException {
    try (JsonGenerator json = FACTORY.createGenerator(out, JsonEncoding.UTF8)) {
      json.useDefaultPrettyPrinter();
      body.write(new JsonReport(json));
      json.writeRaw('\n');
    }
  }

  private void write(Survivals survivals) throws IOException {
    json.writeStartObject();
    json.writeNumberField("schema_version", SCHEMA_VERSION);
    write(survivals.environment());
    write(survivals.options());
    writeStrings(
        "doubts", survivals.cutShort().isEmpty() ? List.of() : List.of(survivals.cutShort()));
    writeStrings("platforms", survivals.platforms());
    json.writeBooleanField("clean", survivals.isClean());
    json.writeArrayFieldStart("survival_runs");
    for (Survival s : survivals.runs()) {
      json.writeStartObject();
      writeNames(s);
      json.writeStringField("workload", s.workload());
      json.writeNumberField("vcpus", s.vcpus());
      writeStrings("findings", s.findings());
      json.writeStringField("death", s.death());
      json.writeNumberField("leaks", s.leaks());
      json.writeNumberField("aborts", s.aborts());
      json.writeNumberField("corruptions", s.corruptions());
      json.writeNumberField("frames_kept", s.owned());
      json.writeNumberField("frames_leaked", s.framesLeaked());
      json.writeNumberField("faults_refused", s.refused());
      json.writeNumberField("guest_ops", s.guestOps());
      json.writeEndObject();
    }
    json.writeEndArray();
    json.writeArrayFieldStart("survival");
    for (List<Survival> cell : survivals.cells()) {
      json.writeStartObject();
      writeNames(cell.get(0));
      List<String> findings = List.copyOf(Survivals.findings(cell));
      json.writeBooleanField("survives", findings.isEmpty());
      writeStrings("findings", findings);
      json.writeEndObject();
    }
    json.writeEndArray();
    json.writeEndObject();
  }

  private void writeNames(Survival s) throws IOException {
    json.writeStringField("platform", s.platform());
    json.writeStringField("hardware", s.condition().id());
    json.writeStringField("protocol", s.protocol());
    json.writeBooleanField("sound", s.sound());
    json.writeStringField("policy", s.policy());
    write(s.monitor());
  }

  private void write(Session session) throws IOException {
    List<Measurement> runs = session.runs();
    json.writeStartObject();
    json.writeNumberField("schema_version", SCHEMA_VERSION);
    write(session.environment());
    write(session.options());
    json.writeNumberField("rounds", session.rounds());
    writeStrings("doubts", session.doubts());
    json.writeArrayFieldStart("runs");
    for (Measurement m : runs) {
      write(m);
    }
    json.writeEndArray();
    json.writeArrayFieldStart("cells");
    for (List<Measurement> cell : Runs.byCell(runs)) {
      writeCell(cell);
    }
    json.writeEndArray();
    write(session.verdict(), Finding.of(runs), Finding.isClean(runs));
    json.writeEndObject();
  }

  private void write(Environment environment) throws IOException {
    json.writeObjectFieldStart("environment");
    json.writeStringField("date", environment.when().toString());
    json.writeStringField("jvm", environment.jvm());
    json.writeStringField("os", environment.os());
    json.writeNumberField("cores", environment.cores());
    json.writeEndObject();
  }

  private void write(Session.Options options) throws IOException {
    json.writeObjectFieldStart("options");
    writeStrings("arguments", options.arguments());
    json.writeNumberField("seconds", options.seconds());
    json.writeNumberField("seed", options.seed());
    json.writeNumberField("size_bytes", options.size());
    json.writeEndObject();
  }

  private void write(Measurement m) throws IOException {
    json.writeStartObject();
    writeNames(m);
    json.writeNumberField("round", m.round());
    json.writeNumberField("seconds", m.seconds());
    json.writeNumberField("seed", m.seed());
    json.writeNumberField("size_bytes", m.size());
    writeCounts(List.of(m));
    json.writeStringField("first_leak", m.firstLeak());
    writeFigures(Totals.of(List.of(m)), false);
    json.writeEndObject();
  }

  private void writeCell(List<Measurement> cell) throws IOException {
    json.writeStartObject();
    writeNames(cell.get(0));
    json.writeNumberField("rounds", cell.size());
    writeCounts(cell);
    writeFigures(Totals.of(cell), true);
    json.writeEndObject();
  }

  private void writeNames(Measurement m) throws IOException {
    json.writeStringField("protocol", m.protocol());
    json.writeBooleanField("sound", m.sound());
    json.writeStringField("policy", m.policy());
    write(m.monitor());
    json.writeStringField("workload", m.workload());
    json.writeNumberField("vcpus", m.vcpus());
  }

  private void write(Monitor monitor) throws IOException {
    json.writeStringField("memory", monitor.memory().id());
    json.writeStringField("on_shared", monitor.discard().onShared().id());
    json.writeStringField("on_private", monitor.discard().onPrivate().id());
    json.writeNumberField("pinnable_bytes", monitor.pinnable());
  }

  private void writeCounts(List<Measurement> runs) throws IOException {
    Totals totals = Totals.of(runs);
    json.writeNumberField("conversions_to_inaccessible", totals.conversionsToInaccessible());
    json.writeNumberField(
        "conversions_to_accessible", totals.sum(Measurement::conversionsToAccessible));
    json.writeNumberField("refused_with_unsafe_holder", totals.refusedWithUnsafeHolder());
    json.writeNumberField("refused_without_unsafe_holder", totals.refusedWithoutUnsafeHolder());
    json.writeNumberField("refused_to_accessible", totals.refusedToAccessible());
    json.writeNumberField("gave_up", totals.gaveUp());
    json.writeNumberField("first_looks", totals.sum(Measurement::firstLooks));
    json.writeNumberField("first_look_mismatches", totals.sum(Measurement::firstLookMismatches));
    json.writeNumberField("retries", totals.retries());
    json.writeNumberField("leaks", totals.leaks());
    json.writeNumberField("corruptions", totals.sum(Measurement::corruptions));
    json.writeNumberField("frames_leaked", totals.framesLeaked());
    json.writeNumberField("guest_faults", totals.sum(Measurement::guestFaults));
    json.writeNumberField("host_faults", totals.sum(Measurement::hostFaults));
    json.writeNumberField("sigbus", totals.sigbus());
    json.writeNumberField("guest_ops", totals.sum(Measurement::guestOps));
    json.writeNumberField("host_ops", totals.sum(Measurement::hostOps));
  }

  private void writeFigures(Totals totals, boolean spread) throws IOException {
    write("guest_ops_per_second", totals.guestOpsPerSecond(), spread);
    write("first_look_mismatch", totals.firstLookMismatch(), spread);
    write("false_busy_rate", totals.falseBusyRate(), spread);
    write("p50_us", totals.nanosAt(50).over(1000), spread);
    write("p99_us", totals.nanosAt(99).over(1000), spread);
    write("doubled_mean_bytes", totals.doubledMean(), spread);
    write("doubled_share", totals.doubledShare(), spread);
    json.writeFieldName("doubled_peak_bytes");
    write(totals.doubledPeak());
    json.writeFieldName("longest_us");
    write(totals.longestNanos() == 0 ? Double.NaN : totals.longestNanos() / 1000.0);
  }

  /** A figure with its interval, or without. */
  private void write(String name, Estimate estimate, boolean spread) throws IOException {
    json.writeFieldName(name);
    if (!spread || !estimate.isKnown()) {
      write(estimate.median());
      return;
    }
    json.writeStartObject();
    json.writeFieldName("median");
    write(estimate.median());
    json.writeFieldName("low");
    write(estimate.low());
    json.writeFieldName("high");
    write(estimate.high());
    json.writeEndObject();
  }

  /** JSON has no NaN, and no more digits are measured than these. */
  private void write(double number) throws IOException {
    if (Double.isFinite(number)) {
      json.writeNumber(new BigDecimal(number).round(DIGITS).toPlainString());
    } else {
      json.writeNull();
    }
  }

  private void write(Verdict verdict, List<Finding> findings, boolean clean) throws IOException {
    json.writeObjectFieldStart("verdict");
    json.writeBooleanField("clean", clean);
    writeStrings("findings", findings.stream().map(Finding::text).toList());
    json.writeArrayFieldStart("protocols");
    for (Verdict.Row row : verdict.rows()) {
      json.writeStartObject();
      json.writeStringField("protocol", row.id());
      json.writeBooleanField("default", row.isDefault());
      json.writeBooleanField("sound", row.sound());
      json.writeStringField("on_mismatch", row.onMismatch());
      json.writeNumberField("leaks", row.leaks());
      json.writeNumberField("false_busy", row.falseBusy());
      write("first_look_mismatch", row.firstLook(), true);
      write("guest_ops_per_second", row.rate(), true);
      json.writeBooleanField("fastest_sound", row.fastest());
      write("cost", row.cost(), true);
      json.writeBooleanField("tie", row.isTie());
      json.writeStringField("choose", row.when());
      json.writeEndObject();
    }
    json.writeEndArray();
    json.writeStringField("sentence", verdict.sentence());
    json.writeStringField("two_memories", verdict.twoMemories());
    json.writeEndObject();
  }

  private void writeStrings(String name, List<String> texts) throws IOException {
    json.writeArrayFieldStart(name);
    for (String text : texts) {
      json.writeString(text);
    }
    json.writeEndArray();
  }
}
