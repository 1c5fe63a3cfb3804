package io.github.guestmemfd.lab.report;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.conversion.ConversionProtocol;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What the text says of measurements. */
class TableReportTest {

  private static final List<Measurement> SAMPLE = Measurements.sample(1);

  private static List<String> lines(List<Measurement> runs, boolean everyRun) {
    StringWriter text = new StringWriter();
    TableReport.print(Measurements.session(runs), everyRun, new PrintWriter(text));
    return text.toString().lines().toList();
  }

  /** The lines of one table, from its head to the blank line. */
  private static List<String> table(String title, List<String> lines) {
    return lines.stream()
        .dropWhile(line -> !line.startsWith(title))
        .takeWhile(line -> !line.isBlank())
        .toList();
  }

  /** The second table of the same title: the first has the counts. */
  private static List<String> figures(String title, List<String> lines) {
    List<String> after = lines.stream().dropWhile(line -> !line.startsWith(title)).skip(1).toList();
    return table(title, after);
  }

  private static List<String> words(String line) {
    return List.of(line.trim().split("\\s{2,}", -1));
  }

  @Test
  void theSummaryHasEachProtocolInItsOrderAndMarksWhatIsNotSound() {
    List<String> rows = table("By protocol", lines(SAMPLE, false));
    assertThat(rows.subList(3, rows.size()).stream().map(row -> words(row).get(0)))
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
    assertThat(table("By protocol", lines).get(3)).startsWith("atomic-pair");
    assertThat(table("By protocol", lines).get(4)).startsWith("mine");
    assertThat(lines).noneMatch(line -> line.startsWith("!"));
  }

  @Test
  void countsOfOneProtocolAreAdded() {
    Measurement one = Measurements.run("atomic-pair", true, "boot", 1, 2, 1);
    List<String> rows = table("By protocol", lines(List.of(one, one), false));
    assertThat(words(rows.get(1)))
        .containsExactly(
            "protocol",
            "made",
            "refused",
            "false",
            "gave",
            "leaks",
            "retries",
            "SIGBUS",
            "frames",
            "longest");
    assertThat(words(rows.get(2))).containsExactly("private", "held", "busy", "up", "leaked", "µs");
    assertThat(words(rows.get(3)))
        .containsExactly("atomic-pair", "2.0 k", "40", "60", "0", "4", "14", "26", "2", "3.0");
  }

  @Test
  void figuresAreMediansOfTheRoundsWithTheirIntervals() {
    List<Measurement> runs = new ArrayList<>();
    for (int i = 0; i < 5; i++) {
      long rank = i;
      long[] latencies = new long[2000];
      Arrays.fill(latencies, 1000 * (rank + 1));
      runs.add(
          Measurements.run(
              b -> {
                b.protocol = "atomic-pair";
                b.round = (int) rank;
                b.guestOps = 2000 * (rank + 1);
                b.firstLookMismatches = 10 * rank;
                b.refusedWithoutHolder = 0;
                b.latency = Measurements.latency(latencies);
              }));
    }
    List<String> rows = figures("By protocol", lines(runs, false));
    assertThat(words(rows.get(1)))
        .containsExactly("protocol", "guest", "first-look", "false", "p50", "p99");
    assertThat(words(rows.get(2))).containsExactly("ops/s", "mismatch", "rate", "µs", "µs");
    assertThat(words(rows.get(3)))
        .containsExactly(
            "atomic-pair",
            "3.0 k (1.0–5.0 k)",
            "2.0% (0–4.0%)",
            "0 (0–0)",
            "3.0 (1.0–5.0)",
            "3.0 (1.0–5.0)");
  }

  @Test
  void withoutAConversionThereIsNoLatency() {
    Measurement none = Measurements.run(b -> b.latency = Measurements.latency());
    List<String> lines = lines(List.of(none), false);
    assertThat(words(figures("By protocol", lines).get(3)).subList(4, 6)).containsExactly("-", "-");
    assertThat(table("By protocol", lines).get(3)).endsWith(" -");
  }

  /** 1000 samples tell p99, of which ten are beyond; 999 do not. */
  @Test
  void percentilesAreToldOnlyIfTenSamplesAreBeyond() {
    long[] some = new long[999];
    Arrays.fill(some, 1000);
    Measurement few = Measurements.run(b -> b.latency = Measurements.latency(some));
    assertThat(figures("By protocol", lines(List.of(few), false)).get(3))
        .containsPattern(" 1\\.0 +-$");
    few.latency().recordValue(1000);
    assertThat(figures("By protocol", lines(List.of(few), false)).get(3))
        .containsPattern(" 1\\.0 +1\\.0$");
  }

  @Test
  void firstLooksAreToldByTheNumberOfVcpus() {
    List<String> rows = table("First-look mismatch", lines(SAMPLE, false));
    assertThat(words(rows.get(0)))
        .containsExactly("First-look mismatch", "1 vCPU", "2 vCPUs", "4 vCPUs");
    assertThat(rows).hasSize(1 + 8);
    assertThat(words(rows.get(8)).get(0)).isEqualTo("atomic-pair");
    assertThat(words(rows.get(8)).get(1)).matches("[0-9.]+% \\([0-9.]+–[0-9.]+%\\)");
  }

  @Test
  void doubtsAreTold() {
    Session session = Measurements.session(SAMPLE);
    StringWriter text = new StringWriter();
    TableReport.print(
        new Session(
            SAMPLE,
            List.of("a", "b", "c"),
            false,
            "Stopped early.",
            session.options(),
            session.environment()),
        false,
        new PrintWriter(text));
    assertThat(text.toString())
        .contains("Stopped early.")
        .contains("The runs were too short to compare rates")
        .contains("Still getting faster after the warm-up: a; and 2 more combinations.");
    assertThat(lines(SAMPLE, false))
        .noneMatch(l -> l.contains("too short") || l.contains("faster after"));
  }

  @Test
  void oneMoreIsOneCombination() {
    Session session = Measurements.session(SAMPLE);
    Session two =
        new Session(SAMPLE, List.of("a", "b"), true, "", session.options(), session.environment());
    assertThat(two.doubts())
        .containsExactly("Still getting faster after the warm-up: a; and 1 more combination.");
  }

  @Test
  void runsThatWereTooShortAreNotCompared() {
    Session good = Measurements.session(SAMPLE);
    Session hasty = new Session(SAMPLE, List.of(), false, "", good.options(), good.environment());
    assertThat(good.verdict()).isEqualTo(Verdict.of(SAMPLE));
    assertThat(hasty.verdict().rows()).isEqualTo(Verdict.of(SAMPLE).rows());
    assertThat(hasty.verdict().sentence())
        .isEqualTo("The runs were too short to say which protocol is faster.");
  }

  /** What claims to be sound and has leaked is not advised, however fast it is. */
  @Test
  void aProtocolThatLeakedIsNotAdvised() {
    List<Measurement> runs = new ArrayList<>(Measurements.rounds("slow", 10, 11, 12, 13, 14));
    for (int round = 0; round < 5; round++) {
      Measurement leaky = Measurements.run("leaky", true, "w", 1, 1, 0);
      runs.add(leaky.inRound(round));
    }
    Verdict verdict = Verdict.of(runs);
    assertThat(verdict.sentence()).startsWith("Choose slow: ").doesNotContain("leaky");
    assertThat(verdict.rows())
        .filteredOn(Verdict.Row::fastest)
        .extracting("id")
        .containsOnly("slow");
  }

  @Test
  void aProtocolThatHasDoneNothingHasNoFigureForItsCost() {
    List<Measurement> runs = new ArrayList<>(Measurements.rounds("p", 10, 11, 12, 13, 14));
    runs.addAll(Measurements.rounds("idle", 0, 0, 0, 0, 0));
    assertThat(Verdict.of(runs).rows())
        .extracting(Verdict.Row::costText)
        .containsExactly("fastest sound", "∞");
    runs = Measurements.rounds("idle", 0, 0, 0, 0, 0);
    runs.addAll(Measurements.rounds("idle too", 0, 0, 0, 0, 0));
    assertThat(Verdict.of(runs).rows()).extracting(Verdict.Row::costText).containsExactly("-", "-");
  }

  /** One round of five has too few conversions for its median. */
  @Test
  void aRoundWithoutAPercentileTakesItsInterval() {
    List<Measurement> runs = new ArrayList<>();
    for (int round = 0; round < 6; round++) {
      int n = round == 0 ? 5 : 100;
      long[] nanos = LongStream.rangeClosed(1, n).map(i -> i * 1000).toArray();
      runs.add(Measurements.run(b -> b.latency = Measurements.latency(nanos)).inRound(round));
    }
    assertThat(Totals.of(runs).nanosAt(50).isKnown()).isTrue();
    assertThat(Totals.of(runs).nanosAt(50).hasInterval()).isFalse();
    assertThat(Totals.of(runs.subList(1, 6)).nanosAt(50).hasInterval()).isTrue();
  }

  @Test
  void theExplanationNamesEveryHead() {
    StringWriter text = new StringWriter();
    TableReport.explain(new PrintWriter(text));
    List<String> lines = text.toString().lines().toList();
    assertThat(lines).containsAll(Column.ALL.stream().map(Column::name).toList());
    assertThat(lines)
        .containsAll(VerdictColumn.ALL.stream().map(c -> "verdict, " + c.head()).toList());
    assertThat(lines).allMatch(line -> line.length() <= 120);
  }

  /** docs/lab.md explains the columns under the same heads, in the same words. */
  @Test
  void theDocumentExplainsEveryColumn() throws IOException {
    List<String> document = Files.readAllLines(Path.of("docs/lab.md"));
    for (Column column : Column.ALL) {
      assertThat(document).contains("| " + column.name() + " | " + column.meaning() + " |");
    }
    for (VerdictColumn column : VerdictColumn.ALL) {
      assertThat(document).contains("| " + column.head() + " | " + column.meaning() + " |");
    }
  }

  @Test
  void policiesAreComparedIfThereAreSeveral() {
    assertThat(table("By policy", lines(SAMPLE, false))).hasSize(3 + 3);
    List<Measurement> one = SAMPLE.stream().filter(m -> m.policy().equals("eager")).toList();
    assertThat(table("By policy", lines(one, false))).isEmpty();
    assertThat(table("By workload", lines(one, false))).hasSize(3 + Measurements.WORKLOADS.size());
  }

  @Test
  void everyRunHasARowIfAskedFor() {
    List<String> lines = lines(SAMPLE, true);
    for (String workload : Measurements.WORKLOADS) {
      assertThat(table("Workload " + workload + ", policy on-fault", lines))
          .hasSize(3 + 8 * 3 * Measurements.ROUNDS);
      assertThat(table("Workload " + workload + ", policy eager", lines))
          .hasSize(3 + Measurements.ROUNDS);
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
    assertThat(lines)
        .containsSequence(
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
    assertThat(lines)
        .containsSequence(
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
    assertThat(lines)
        .containsSequence(
            "pin-check, which does not claim to be sound, did not leak in these runs.",
            "FAILURE: pin-check did not give back all memory: 3 frames, in 1 of 1 run, with 2 vCPUs:"
                + " boot 3.",
            "NOT CLEAN: 1 failure; what claims to be sound must not leak, no content may change, and"
                + " every frame must be given back.");
    assertThat(TableReport.isClean(runs)).isFalse();
  }

  @Test
  void contentThatWasChangedIsAFailureOfAnyProtocol() {
    Measurement m =
        Measurements.run(
            b -> {
              b.protocol = "pin-check";
              b.workload = "boot";
              b.vcpus = 2;
              b.corruptions = 1;
            });
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
            Measurements.run(
                b -> {
                  b.protocol = "atomic-pair";
                  b.workload = "boot";
                  b.policy = "eager";
                }));
    String policy = runs.get(0).policy();
    List<String> lines = lines(runs, false);
    assertThat(lines).anyMatch(l -> l.equals("By protocol, " + policy));
    assertThat(lines).anyMatch(l -> l.matches("atomic-pair +1\\.0 k .*"));
    assertThat(lines).anyMatch(l -> l.equals("By policy, atomic-pair"));
    assertThat(lines).anyMatch(l -> l.matches("eager +1\\.0 k .*"));
  }

  /** Protocols are compared in place, and with two memories apart from that; monitors by all. */
  @Test
  void kindsOfMonitorsAreComparedIfSomeHaveTwoMemories() {
    List<String> lines = lines(Measurements.monitors(), false);
    assertThat(words(table("By protocol, in place", lines).get(4)))
        .startsWith("atomic-pair", "5.0 k", "100");
    List<String> two = figures("By protocol, two memories", lines);
    assertThat(words(two.get(3))).contains("lock-only", "5.0 k (5.0–5.1 k)").contains("-");
    List<String> monitors = table("By monitor", lines);
    assertThat(monitors.stream().map(TableReportTest::words))
        .contains(
            List.of("monitor", "guest", "doubled", "doubled", "doubled", "refused"),
            List.of("ops/s", "mean", "peak", "share", "shared"),
            List.of("in place", "10.1 k (10.0–10.2 k)", "-", "-", "-", "0"),
            List.of("two, discard never", "7.1 k (7.1–7.2 k)", "6 MiB", "16 MiB", "37.5%", "0"),
            List.of(
                "two, discard both, pins 1 MiB",
                "7.1 k (7.1–7.2 k)",
                "8 KiB",
                "16 KiB",
                "0.05%",
                "30"));
    List<Measurement> withoutDevice =
        Measurements.monitors().stream().filter(m -> m.monitor().pinnable() == 0).toList();
    assertThat(table("By monitor", lines(withoutDevice, false)))
        .allSatisfy(line -> assertThat(line.length()).isLessThanOrEqualTo(80));
    assertThat(String.join(" ", lines).replaceAll(" +", " "))
        .contains("With two memories the choice of a protocol makes no difference to conversions")
        .contains("None was refused for a holder, and no protocol leaked.")
        .contains("In times as long as the fastest sound one, beyond doubt: lock-only 2.0");
    assertThat(lines(SAMPLE, false))
        .noneMatch(line -> line.contains("two memories") || line.contains("By monitor"));
  }

  /** It does not hide what should not be. */
  @Test
  void aLeakWithTwoMemoriesIsTold() {
    List<Measurement> runs =
        List.of(
            Measurements.run(
                b -> {
                  b.monitor = new Monitor(Monitor.Memory.TWO, Monitor.Discard.NEVER, 0);
                  b.leaks = 3;
                }));
    assertThat(Verdict.of(runs).twoMemories())
        .contains("50 were refused, and the host reached content 3 times.");
    assertThat(Verdict.of(Measurements.monitors(), false).twoMemories())
        .doesNotContain("beyond doubt");
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
  void microsecondsAreShort(double nanos, String text) {
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
