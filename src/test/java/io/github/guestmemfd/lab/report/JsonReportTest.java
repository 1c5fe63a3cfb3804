package io.github.guestmemfd.lab.report;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.HdrHistogram.Histogram;
import org.junit.jupiter.api.Test;

/** What programs read. */
class JsonReportTest {

  private static String text(List<Measurement> runs) throws IOException {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    JsonReport.write(runs, out);
    return out.toString(StandardCharsets.UTF_8);
  }

  private static List<Map<String, Object>> parsed(List<Measurement> runs) throws IOException {
    return Json.array(Json.parse(text(runs))).stream().map(Json::object).toList();
  }

  @Test
  void eachRunIsAnObjectWithAllKeysInOrder() throws IOException {
    List<Map<String, Object>> objects = parsed(Measurements.sample(1));
    assertThat(objects).hasSameSizeAs(Measurements.sample(1));
    assertThat(objects)
        .allSatisfy(
            o ->
                assertThat(o.keySet())
                    .containsExactly(
                        "protocol",
                        "policy",
                        "workload",
                        "vcpus",
                        "seconds",
                        "seed",
                        "conversions_to_inaccessible",
                        "conversions_to_accessible",
                        "refused_with_unsafe_holder",
                        "refused_without_unsafe_holder",
                        "leaks",
                        "retries",
                        "guest_faults",
                        "host_faults",
                        "sigbus",
                        "p50_us",
                        "p99_us",
                        "max_us",
                        "frames_leaked",
                        "sound",
                        "on_shared",
                        "size_bytes",
                        "guest_ops",
                        "host_ops",
                        "first_leak",
                        "corruptions",
                        "guest_ops_per_second"));
  }

  @Test
  void valuesAreThoseOfTheRun() throws IOException {
    Measurement m =
        new Measurement(
            "p",
            false,
            "po",
            "discard",
            "w",
            3,
            2.5,
            Long.MIN_VALUE,
            1L << 40,
            101,
            102,
            103,
            104,
            105,
            "“µ” \"quoted\"\n</script>",
            113,
            106,
            107,
            108,
            109,
            1000,
            111,
            Measurements.latency(1250, 1250, 7000),
            112,
            new PageMap(4096, List.of()));
    assertThat(new ArrayList<>(parsed(List.of(m)).get(0).values()))
        .containsExactly(
            "p",
            "po",
            "w",
            3L,
            2.5,
            Long.MIN_VALUE,
            101L,
            102L,
            103L,
            104L,
            105L,
            106L,
            107L,
            108L,
            109L,
            1.25,
            7.003,
            7.003,
            112L,
            false,
            "discard",
            1L << 40,
            1000L,
            111L,
            "“µ” \"quoted\"\n</script>",
            113L,
            400.0);
  }

  @Test
  void latenciesHaveThreeDecimals() throws IOException {
    Measurement run = Measurements.run("p", true, "w", 1, 0, 0);
    Histogram exact = Measurements.latency(1250, 1250, 2_000_000);
    assertThat(text(List.of(Measurements.with(run, exact))))
        .contains("\"p50_us\" : 1.250,")
        .contains("\"max_us\" : 2000.895,"); // to three digits, as the histogram keeps it
  }

  @Test
  void withoutAConversionAllLatenciesAreZero() throws IOException {
    Measurement none =
        Measurements.with(Measurements.run("p", true, "w", 1, 0, 0), Measurements.latency());
    Map<String, Object> object = parsed(List.of(none)).get(0);
    assertThat(List.of(object.get("p50_us"), object.get("p99_us"), object.get("max_us")))
        .containsExactly(0.0, 0.0, 0.0);
  }

  @Test
  void noRunsAreAnEmptyArray() throws IOException {
    assertThat(text(List.of())).isEqualTo("[ ]\n");
  }

  @Test
  void itIsSpreadOverLinesAndTheStreamStaysOpen() throws IOException {
    boolean[] closed = {false};
    ByteArrayOutputStream out =
        new ByteArrayOutputStream() {
          @Override
          public void close() {
            closed[0] = true;
          }
        };
    JsonReport.write(List.of(Measurements.run("p", true, "w", 1, 0, 0)), out);
    assertThat(closed[0]).isFalse();
    assertThat(out.toString(StandardCharsets.UTF_8).lines()).hasSize(29);
  }
}
