package io.github.guestmemfd.lab.report;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.conversion.ConversionProtocol;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What the text says of measurements. */
class TableReportTest {

  private static final List<Measurement> SAMPLE = Measurements.sample(1);

  private static List<String> lines(List<Measurement> runs, boolean everyRun) {
    StringWriter text = new StringWriter();
    TableReport.print(runs, everyRun, new PrintWriter(text));
    return text.toString().lines().toList();
  }

  /** The lines of one table, from its head to the blank line. */
  private static List<String> table(String title, List<String> lines) {
    return lines.stream()
        .dropWhile(line -> !line.startsWith(title))
        .takeWhile(line -> !line.isBlank())
        .toList();
  }

  private static List<String> words(String line) {
    return List.of(line.trim().split("\\s{2,}", -1));
  }

  @Test
  void theSummaryHasEachProtocolInItsOrderAndMarksWhatIsNotSound() {
    List<String> rows = table("By protocol", lines(SAMPLE, false));
    assertThat(rows.subList(2, rows.size()).stream().map(row -> words(row).get(0)))
        .containsExactlyElementsOf(
            ConversionProtocol.all().stream()
                .map(p -> p.isSound() ? p.id() : p.id() + " !")
                .toList());
    assertThat(lines(SAMPLE, false)).anyMatch(line -> line.startsWith("!  does not claim"));
  }

  @Test
  void protocolsOfOthersComeLast() {
    List<Measurement> runs =
        List.of(
            Measurements.run("mine", true, "boot", 1, 0, 0),
            Measurements.run("atomic-pair", true, "boot", 1, 0, 0));
    List<String> lines = lines(runs, false);
    assertThat(table("By protocol", lines).get(2)).startsWith("atomic-pair");
    assertThat(table("By protocol", lines).get(3)).startsWith("mine");
    assertThat(lines).noneMatch(line -> line.startsWith("!"));
  }

  @Test
  void runsOfOneProtocolAreAddedAndTheirHistogramsMerged() {
    Measurement one = Measurements.run("atomic-pair", true, "boot", 1, 2, 1);
    Measurement fast = Measurements.with(one, Measurements.latency(1000, 1000, 1000));
    Measurement slow = Measurements.with(one, Measurements.latency(500_000));
    List<String> rows = table("By protocol", lines(List.of(fast, slow), false));
    assertThat(words(rows.get(0)))
        .containsExactly(
            "By protocol",
            "runs",
            "made",
            "refused",
            "false",
            "false",
            "leaks",
            "retries",
            "p50",
            "p99",
            "max",
            "guest",
            "SIGBUS",
            "frames");
    assertThat(words(rows.get(1)))
        .containsExactly("private", "held", "busy", "rate", "µs", "µs", "µs", "ops/s", "leaked");
    assertThat(words(rows.get(2)))
        .containsExactly(
            "atomic-pair",
            "2",
            "2.0 k",
            "40",
            "60",
            "93.8%",
            "4",
            "14",
            "1.0",
            "500",
            "500",
            "2.5 k",
            "26",
            "2");
  }

  @Test
  void withoutAConversionThereIsNoLatency() {
    Measurement none =
        Measurements.with(
            Measurements.run("atomic-pair", true, "boot", 1, 0, 0), Measurements.latency());
    List<String> row = words(table("By protocol", lines(List.of(none), false)).get(2));
    assertThat(row.subList(8, 11)).containsExactly("-", "-", "-");
  }

  @Test
  void policiesAreComparedIfThereAreSeveral() {
    assertThat(table("By policy", lines(SAMPLE, false))).hasSize(2 + 3);
    List<Measurement> one = SAMPLE.stream().filter(m -> m.policy().equals("eager")).toList();
    assertThat(table("By policy", lines(one, false))).isEmpty();
    assertThat(table("By workload", lines(one, false))).hasSize(2 + Measurements.WORKLOADS.size());
  }

  @Test
  void everyRunHasARowIfAskedFor() {
    List<String> lines = lines(SAMPLE, true);
    for (String workload : Measurements.WORKLOADS) {
      assertThat(table("Workload " + workload + ", policy on-fault", lines)).hasSize(3 + 8 * 3);
      assertThat(table("Workload " + workload + ", policy eager", lines)).hasSize(3 + 1);
    }
    assertThat(lines(SAMPLE, false)).noneMatch(line -> line.startsWith("Workload"));
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void linesFitATerminal(boolean everyRun) {
    assertThat(lines(SAMPLE, everyRun)).allMatch(line -> line.length() <= 120);
    assertThat(lines(SAMPLE, everyRun)).allMatch(line -> line.equals(line.stripTrailing()));
  }

  @Test
  void aLeakOfAnUnsoundProtocolIsToldAndIsNoFailure() {
    List<Measurement> runs =
        List.of(
            Measurements.run("pin-check", false, "boot", 1, 0, 0),
            Measurements.run("pin-check", false, "dma", 1, 2, 0),
            Measurements.run("pin-check", false, "dma", 4, 3, 0),
            Measurements.run("pin-check", false, "dma", 4, 1, 0),
            Measurements.run("atomic-pair", true, "dma", 4, 0, 0));
    List<String> lines = lines(runs, false);
    assertThat(lines.subList(lines.size() - 3, lines.size()))
        .containsExactly(
            "pin-check, which does not claim to be sound, leaked 6 times, in 3 of 4 runs, with 1, 4"
                + " vCPUs: dma 6.",
            "    first: host read 0x2a at offset 8192 after its conversion",
            "Clean: no protocol that claims to be sound leaked, no content was changed, every frame was"
                + " given back.");
    assertThat(TableReport.isClean(runs)).isTrue();
  }

  @Test
  void aLeakOfASoundProtocolIsAFailure() {
    List<Measurement> runs = List.of(Measurements.run("last-put", true, "dma", 1, 1, 0));
    List<String> lines = lines(runs, false);
    assertThat(lines.subList(lines.size() - 3, lines.size()))
        .containsExactly(
            "FAILURE: last-put, which claims to be sound, leaked 1 time, in 1 of 1 run, with 1 vCPU:"
                + " dma 1.",
            "    first: host read 0x2a at offset 8192 after its conversion",
            "NOT CLEAN: 1 failure; what claims to be sound must not leak, no content may change, and"
                + " every frame must be given back.");
    assertThat(TableReport.isClean(runs)).isFalse();
  }

  @Test
  void aFrameThatIsNotGivenBackIsAFailureOfAnyProtocol() {
    List<Measurement> runs = List.of(Measurements.run("pin-check", false, "boot", 2, 0, 3));
    List<String> lines = lines(runs, false);
    assertThat(lines.subList(lines.size() - 3, lines.size()))
        .containsExactly(
            "pin-check, which does not claim to be sound, did not leak in these runs.",
            "FAILURE: pin-check did not give back all memory: 3 frames, in 1 of 1 run, with 2 vCPUs:"
                + " boot 3.",
            "NOT CLEAN: 1 failure; what claims to be sound must not leak, no content may change, and"
                + " every frame must be given back.");
    assertThat(TableReport.isClean(runs)).isFalse();
  }

  @Test
  void contentThatWasChangedIsAFailureOfAnyProtocol() {
    Measurement m = Measurements.corrupted(Measurements.run("pin-check", false, "boot", 2, 0, 0));
    assertThat(lines(List.of(m), false))
        .contains(
            "FAILURE: pin-check changed content: 1 time, in 1 of 1 run, with 2 vCPUs: boot 1.");
    assertThat(TableReport.isClean(List.of(m))).isFalse();
  }

  @Test
  void protocolsAreComparedByThePoliciesThatAllRanWith() {
    List<Measurement> runs =
        List.of(
            Measurements.run("pin-check", false, "boot", 1, 0, 0),
            Measurements.run("atomic-pair", true, "boot", 1, 0, 0),
            Measurements.withPolicy(
                "eager", Measurements.run("atomic-pair", true, "boot", 1, 0, 0)));
    String policy = runs.get(0).policy();
    List<String> lines = lines(runs, false);
    assertThat(lines).anyMatch(l -> l.startsWith("By protocol, " + policy + " "));
    assertThat(lines).anyMatch(l -> l.matches("atomic-pair +1 .*"));
    assertThat(lines).anyMatch(l -> l.startsWith("By policy, atomic-pair "));
    assertThat(lines).anyMatch(l -> l.matches("eager +1 .*"));
    assertThat(lines).anyMatch(l -> l.matches("boot +3 .*"));
  }

  @Test
  void nothingMeasuredIsSaid() {
    assertThat(lines(List.of(), true)).containsExactly("Nothing was measured.");
    assertThat(TableReport.isClean(List.of())).isTrue();
  }

  @ParameterizedTest
  @CsvSource({
    "0, 0",
    "999, 999",
    "0.25, 0.3",
    "1000, 1.0 k",
    "4149, 4.1 k",
    "12345, 12.3 k",
    "99949, 99.9 k",
    "99951, 100 k",
    "999499, 999 k",
    "999500, 1.0 M",
    "12300000, 12.3 M",
    "9.2e18, 9.2 E",
    "5e21, 5000 E"
  })
  void countsAreShort(double n, String text) {
    assertThat(Numbers.count(n)).isEqualTo(text);
  }

  @ParameterizedTest
  @CsvSource({
    "0, 0.00",
    "250, 0.25",
    "994, 0.99",
    "996, 1.0",
    "12345, 12.3",
    "99960, 100",
    "10012345, 10012",
    "99999600, 100 k",
    "3000000000, 3.0 M"
  })
  void microsecondsAreShort(long nanos, String text) {
    assertThat(Numbers.micros(nanos)).isEqualTo(text);
  }

  @ParameterizedTest
  @CsvSource({"0, 0", "0.00001, <0.01%", "0.0002, 0.02%", "0.041, 4.1%", "0.9999, 100%", "1, 100%"})
  void sharesAreShort(double share, String text) {
    assertThat(Numbers.percent(share)).isEqualTo(text);
  }

  @ParameterizedTest
  @CsvSource({
    "0, 0 B",
    "4096, 4 KiB",
    "1536, 1.5 KiB",
    "268435456, 256 MiB",
    "1099511627776, 1 TiB"
  })
  void sizesAreShort(long n, String text) {
    assertThat(Numbers.bytes(n)).isEqualTo(text);
  }

  @ParameterizedTest
  @CsvSource({"2, 2 s", "0.5, 0.50 s", "1.25, 1.3 s", "0, 0 s"})
  void secondsAreShort(double n, String text) {
    assertThat(Numbers.seconds(n)).isEqualTo(text);
  }
}
