package io.github.guestmemfd.lab.report;

import com.fasterxml.jackson.core.JsonEncoding;
import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.StreamWriteFeature;
import java.io.IOException;
import java.io.OutputStream;
import java.math.BigDecimal;
import java.util.List;

/** Measurements as JSON, for programs: an array with an object for each run. */
public final class JsonReport {

  private static final JsonFactory FACTORY =
      JsonFactory.builder().disable(StreamWriteFeature.AUTO_CLOSE_TARGET).build();

  private JsonReport() {}

  /**
   * Writes the report in UTF-8. Latencies are in microseconds, and 0 if no conversion succeeded.
   *
   * @param runs what was measured
   * @param out where to; flushed, not closed
   * @throws IOException if {@code out} throws it
   */
  public static void write(List<Measurement> runs, OutputStream out) throws IOException {
    try (JsonGenerator json = FACTORY.createGenerator(out, JsonEncoding.UTF8)) {
      json.useDefaultPrettyPrinter();
      json.writeStartArray();
      for (Measurement m : runs) {
        write(m, json);
      }
      json.writeEndArray();
      json.writeRaw('\n');
    }
  }

  private static void write(Measurement m, JsonGenerator json) throws IOException {
    Totals totals = Totals.of(List.of(m));
    json.writeStartObject();
    json.writeStringField("protocol", m.protocol());
    json.writeStringField("policy", m.policy());
    json.writeStringField("workload", m.workload());
    json.writeNumberField("vcpus", m.vcpus());
    json.writeNumberField("seconds", m.seconds());
    json.writeNumberField("seed", m.seed());
    json.writeNumberField("conversions_to_inaccessible", m.conversionsToInaccessible());
    json.writeNumberField("conversions_to_accessible", m.conversionsToAccessible());
    json.writeNumberField("refused_with_unsafe_holder", m.refusedWithUnsafeHolder());
    json.writeNumberField("refused_without_unsafe_holder", m.refusedWithoutUnsafeHolder());
    json.writeNumberField("leaks", m.leaks());
    json.writeNumberField("retries", m.retries());
    json.writeNumberField("guest_faults", m.guestFaults());
    json.writeNumberField("host_faults", m.hostFaults());
    json.writeNumberField("sigbus", m.sigbus());
    json.writeNumberField("p50_us", micros(totals.nanosAt(50)));
    json.writeNumberField("p99_us", micros(totals.nanosAt(99)));
    json.writeNumberField("max_us", micros(totals.nanosAt(100)));
    json.writeNumberField("frames_leaked", m.framesLeaked());
    json.writeBooleanField("sound", m.sound());
    json.writeStringField("on_shared", m.onShared());
    json.writeNumberField("size_bytes", m.size());
    json.writeNumberField("guest_ops", m.guestOps());
    json.writeNumberField("host_ops", m.hostOps());
    json.writeStringField("first_leak", m.firstLeak());
    json.writeNumberField("corruptions", m.corruptions());
    json.writeNumberField("guest_ops_per_second", totals.guestOpsPerSecond());
    json.writeEndObject();
  }

  private static BigDecimal micros(long nanos) {
    return BigDecimal.valueOf(nanos, 3);
  }
}
