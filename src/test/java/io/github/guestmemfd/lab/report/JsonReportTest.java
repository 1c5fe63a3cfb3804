package io.github.guestmemfd.lab.report;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.conversion.ConversionProtocol;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.AbstractMap;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

/** What programs read. */
class JsonReportTest {

  private static final String TEXT = "“µ” \"quoted\"\n</script>";

  private static String text(Session session) throws IOException {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    JsonReport.write(session, out);
    return out.toString(StandardCharsets.UTF_8);
  }

  private static Map<String, Object> parsed(List<Measurement> runs) throws IOException {
    return Json.object(Json.parse(text(Measurements.session(runs))));
  }

  private static List<Map<String, Object>> objects(Map<String, Object> in, String key) {
    return Json.array(in.get(key)).stream().map(Json::object).toList();
  }

  @Test
  void aSessionIsAnObjectThatSaysWhereAndHowItWasMeasured() throws IOException {
    Session session =
        new Session(
            Measurements.rounds("p", 1, 2, 3),
            List.of("one"),
            false,
            "Stopped after 3 of 5 runs.",
            new Session.Options(List.of("--seed", "7", TEXT), 12.5, 7, 4096),
            Measurements.SOMEWHERE);
    Map<String, Object> json = Json.object(Json.parse(text(session)));
    assertThat(json.keySet())
        .containsExactly(
            "schema_version",
            "environment",
            "options",
            "rounds",
            "doubts",
            "runs",
            "cells",
            "verdict");
    assertThat(json).containsEntry("schema_version", 1L).containsEntry("rounds", 3L);
    assertThat(Json.object(json.get("environment")))
        .containsOnly(
            Map.entry("date", "2026-01-02T03:04:05Z"),
            Map.entry("jvm", "A VM 17.0.1"),
            Map.entry("os", "Linux 6.18 amd64"),
            Map.entry("cores", 8L));
    assertThat(Json.object(json.get("options")))
        .containsOnly(
            Map.entry("arguments", List.of("--seed", "7", TEXT)),
            Map.entry("seconds", 12.5),
            Map.entry("seed", 7L),
            Map.entry("size_bytes", 4096L));
    assertThat(Json.array(json.get("doubts")))
        .hasSize(3)
        .first()
        .isEqualTo("Stopped after 3 of 5 runs.");
  }

  @Test
  void eachRunIsAnObjectWithAllValues() throws IOException {
    Measurement m =
        Measurements.run(
            b -> {
              b.protocol = "mine";
              b.sound = false;
              b.policy = "po";
              b.monitor = new Monitor(Monitor.Memory.TWO, Monitor.Discard.BOTH, 8192);
              b.refusedToAccessible = 5;
              b.doubled = new Doubled(12_288, 4096.5, 16_386);
              b.vcpus = 3;
              b.round = 4;
              b.seconds = 2.5;
              b.seed = Long.MIN_VALUE;
              b.size = 1L << 40;
              b.leaks = 104;
              b.corruptions = 113;
              b.firstLeak = TEXT;
              b.framesLeaked = 112;
              b.latency = Measurements.latency(1250, 1250, 7000);
              b.gaveUp = Measurements.latency(1);
            });
    assertThat(objects(parsed(List.of(m)), "runs").get(0))
        .containsExactly(
            Map.entry("protocol", "mine"),
            Map.entry("sound", false),
            Map.entry("policy", "po"),
            Map.entry("memory", "two"),
            Map.entry("on_shared", "discard"),
            Map.entry("on_private", "discard"),
            Map.entry("pinnable_bytes", 8192L),
            Map.entry("workload", "w"),
            Map.entry("vcpus", 3L),
            Map.entry("round", 4L),
            Map.entry("seconds", 2.5),
            Map.entry("seed", Long.MIN_VALUE),
            Map.entry("size_bytes", 1L << 40),
            Map.entry("conversions_to_inaccessible", 1000L),
            Map.entry("conversions_to_accessible", 900L),
            Map.entry("refused_with_unsafe_holder", 20L),
            Map.entry("refused_without_unsafe_holder", 30L),
            Map.entry("refused_to_accessible", 5L),
            Map.entry("gave_up", 1L),
            Map.entry("first_looks", 1000L),
            Map.entry("first_look_mismatches", 10L),
            Map.entry("retries", 7L),
            Map.entry("leaks", 104L),
            Map.entry("corruptions", 113L),
            Map.entry("frames_leaked", 112L),
            Map.entry("guest_faults", 11L),
            Map.entry("host_faults", 12L),
            Map.entry("sigbus", 13L),
            Map.entry("guest_ops", 5000L),
            Map.entry("host_ops", 600L),
            Map.entry("first_leak", TEXT),
            Map.entry("guest_ops_per_second", 2000.0),
            Map.entry("first_look_mismatch", 0.01),
            Map.entry("false_busy_rate", 0.909091),
            entry("p50_us", null), // three samples do not tell a percentile
            entry("p99_us", null),
            Map.entry("doubled_mean_bytes", 4096.5),
            Map.entry("doubled_share", 0.25),
            Map.entry("doubled_peak_bytes", 12288L),
            Map.entry("longest_us", 7.003)); // to three digits, as the histogram keeps it
  }

  private static Map.Entry<String, Object> entry(String key, Object value) {
    return new AbstractMap.SimpleEntry<>(key, value);
  }

  @Test
  void aCombinationHasItsRoundsTogetherAndTheSpreadOfItsFigures() throws IOException {
    List<Map<String, Object>> cells =
        objects(parsed(Measurements.rounds("mine", 5000, 6000, 4000, 7000, 5500)), "cells");
    assertThat(cells).hasSize(1);
    assertThat(cells.get(0))
        .containsEntry("rounds", 5L)
        .containsEntry("guest_ops", 27500L)
        .containsEntry(
            "guest_ops_per_second", Map.of("median", 2750.0, "low", 2000.0, "high", 3500.0))
        .doesNotContainKeys("round", "first_leak");
  }

  @Test
  void whatTooFewRoundsDoNotTellIsNull() throws IOException {
    Map<String, Object> cell = objects(parsed(Measurements.rounds("mine", 5000)), "cells").get(0);
    Map<String, Object> rate = Json.object(cell.get("guest_ops_per_second"));
    assertThat(rate).containsEntry("median", 2500.0);
    assertThat(rate.get("low")).isNull();
    assertThat(rate.get("high")).isNull();
  }

  /** Nothing is a tie with nothing. */
  @Test
  void aProtocolThatCannotBeComparedIsNoTie() throws IOException {
    for (List<Measurement> runs :
        List.of(Measurements.rounds("p", 1, 2, 3, 4, 5), Measurements.rounds("p", 1, 2))) {
      Map<String, Object> verdict =
          Json.object(Json.object(Json.parse(text(Measurements.session(runs)))).get("verdict"));
      assertThat(Json.object(Json.array(verdict.get("protocols")).get(0)))
          .containsEntry("fastest_sound", false)
          .containsEntry("cost", null)
          .containsEntry("tie", false);
    }
  }

  @Test
  void theVerdictIsThere() throws IOException {
    List<Measurement> runs = new ArrayList<>(Measurements.sample(1));
    Map<String, Object> verdict = Json.object(parsed(runs).get("verdict"));
    assertThat(verdict).containsEntry("clean", true);
    assertThat(verdict.get("sentence"))
        .isEqualTo(Verdict.of(runs).sentence())
        .asString()
        .isNotEmpty();
    List<Map<String, Object>> rows = objects(verdict, "protocols");
    assertThat(rows)
        .extracting(row -> row.get("protocol"))
        .containsExactlyElementsOf(
            ConversionProtocol.all().stream().map(p -> (Object) p.id()).toList());
    assertThat(rows).filteredOn(r -> r.get("default").equals(true)).hasSize(1);
    assertThat(rows).filteredOn(r -> r.get("fastest_sound").equals(true)).hasSize(1);
    assertThat(rows)
        .allSatisfy(
            row ->
                assertThat(row.keySet())
                    .containsExactly(
                        "protocol",
                        "default",
                        "sound",
                        "on_mismatch",
                        "leaks",
                        "false_busy",
                        "first_look_mismatch",
                        "guest_ops_per_second",
                        "fastest_sound",
                        "cost",
                        "tie",
                        "choose"));
  }

  /** What docs/lab.md says of the keys. */
  @Test
  void everyKeyIsDocumented() throws IOException {
    String document = Files.readString(Path.of("docs/lab.md"));
    Map<String, Object> json = parsed(Measurements.sample(1));
    Set<String> keys = new TreeSet<>(json.keySet());
    for (String part : List.of("environment", "options", "verdict")) {
      keys.addAll(Json.object(json.get(part)).keySet());
    }
    for (String list : List.of("runs", "cells")) {
      keys.addAll(objects(json, list).get(0).keySet());
    }
    keys.addAll(objects(Json.object(json.get("verdict")), "protocols").get(0).keySet());
    assertThat(keys).allSatisfy(key -> assertThat(document).contains("`" + key + "`"));
  }

  @Test
  void noRunsAreASessionToo() throws IOException {
    Map<String, Object> json = parsed(List.of());
    assertThat(json).containsEntry("runs", List.of()).containsEntry("rounds", 0L);
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
    JsonReport.write(Measurements.session(Measurements.rounds("p", 1)), out);
    assertThat(closed[0]).isFalse();
    assertThat(out.toString(StandardCharsets.UTF_8))
        .endsWith("}\n")
        .contains("\n  \"runs\" : [ {\n");
  }
}
