package io.github.guestmemfd.lab;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.abort;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.lab.report.Json;
import io.github.guestmemfd.lab.workload.Workload;
import io.github.guestmemfd.policy.ConversionPolicy;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

/** What the commands print and which status they end with. */
class CommandLineTest {

  @TempDir Path folder;

  private final StringWriter out = new StringWriter();
  private final StringWriter err = new StringWriter();

  private int run(String... args) {
    CommandLine commandLine = Main.commandLine();
    commandLine.setOut(new PrintWriter(out, true));
    commandLine.setErr(new PrintWriter(err, true));
    return commandLine.execute(args);
  }

  private String file(String name, String... lines) throws IOException {
    return Files.write(folder.resolve(name), List.of(lines)).toString();
  }

  private int lab(String... args) {
    List<String> all = new ArrayList<>(List.of(args));
    for (String preset : List.of("--size=2m", "--seconds=0.5")) {
      if (!all.contains(preset.substring(0, preset.indexOf('=')))) {
        all.add(preset);
      }
    }
    return run(all.toArray(new String[0]));
  }

  @Test
  void withoutACommandTheLabRunsEveryProtocol() {
    assertThat(lab("--vcpus", "2")).as(err.toString()).isZero();
    for (ConversionProtocol protocol : ConversionProtocol.all()) {
      assertThat(out.toString()).contains(protocol.id());
    }
    assertThat(out.toString()).contains("share", "adversary", "Clean:", "Verdict");
    assertThat(out.toString()).doesNotContain("\r").doesNotContain("boot ");
  }

  /**
   * Without a terminal one line says at once what runs, and for how long; the table stays clean.
   */
  @Test
  void oneLineOnTheErrorStreamSaysWhatIsToCome() {
    assertThat(lab("--protocol=last-put", "--workload=share", "--vcpus=1")).isZero();
    assertThat(err.toString().lines())
        .singleElement()
        .asString()
        .startsWith("lab: 1 run a round, ")
        .endsWith("about 1 s");
    assertThat(out.toString()).doesNotContain("a round");
  }

  @Test
  void fullIsEveryWorkloadAndNumberOfVcpus() {
    assertThat(run("--full", "--requests=1")).isZero();
    for (Workload workload : Workload.values()) {
      assertThat(out.toString())
          .contains("# " + workload.id() + ", 1 vCPUs,", "# " + workload.id() + ", 4 vCPUs,");
    }
  }

  @Test
  void fullIsEveryPolicyWithTheDefaultProtocol() {
    assertThat(run("--full", "--workload=share", "--vcpus=1", "--size=2m", "--seconds=0.5", "-v"))
        .isZero();
    assertThat(err.toString()).startsWith("lab: 11 runs a round, ");
    for (String policy : ConversionPolicy.ids()) {
      assertThat(out.toString()).contains("Workload share, policy " + policy);
    }
    assertThat(out.toString()).contains("By policy, atomic-pair", "too short to compare rates");
  }

  @Test
  void theColumnsAreExplainedWithoutARun() {
    assertThat(run("--explain")).isZero();
    assertThat(out.toString()).contains("first-look mismatch").contains("verdict, cost");
    assertThat(err.toString()).isEmpty();
  }

  @Test
  void theLabIsACommandOfItsOwnToo() throws IOException {
    Path json = folder.resolve("lab.json");
    Path html = folder.resolve("lab.html");
    assertThat(
            run(
                "lab",
                "--size=1m",
                "--seconds=0.2",
                "--protocol=atomic-pair,pin-check",
                "--policy=batched",
                "--workload=share,adversary",
                "--vcpus=1,3",
                "--discard=never,private",
                "--seed=-5",
                "-v",
                "--json=" + json,
                "--html=" + html))
        .isZero();
    assertThat(Files.readString(html)).startsWith("<!DOCTYPE html>");
    List<String> lines = Files.readAllLines(json);
    int cells = 2 * 2 * 2 * 2;
    assertThat(lines).filteredOn(l -> l.contains("\"round\" : ")).hasSize(cells * 5);
    assertThat(lines).filteredOn(l -> l.contains("\"round\" : 4,")).hasSize(cells);
    assertThat(lines).filteredOn(l -> l.contains("\"rounds\" : 5,")).hasSize(1 + cells);
    assertThat(lines).filteredOn(l -> l.contains("\"seed\" : -5")).hasSize(1 + cells * 5);
    assertThat(lines)
        .filteredOn(l -> l.contains("\"frames_leaked\" : 0"))
        .hasSize(cells * 5 + cells);
    assertThat(lines).anyMatch(l -> l.contains("\"--size=1m\", \"--seconds=0.2\""));
  }

  @Test
  void wrongOptionsOfTheLabAreStatusTwoWithAMessage() {
    String[][] wrong = {
      {"--protocol", "wishful", "--protocol: expected pin-check, "},
      {"--protocol", "all,last-put", "atomic-pair, or all alone; actual 'all'"},
      {"--policy", "never", "--policy: expected eager, "},
      {"--workload", "idle", "--workload: expected boot, "},
      {"--memory", "three", "--memory: expected in-place, two, or both alone; actual 'three'"},
      {"--memory", "both,two", "--memory: expected in-place, two, or both alone; actual 'both'"},
      {"--discard", "burn", "--discard: expected never, private, shared, both, or all alone"},
      {"--discard", "never,shared", "expected never or private with --memory in-place"},
      {"--passthrough", "1m", "--passthrough: expected none with --memory in-place"},
      {"--passthrough", "1", "--passthrough: expected a multiple of 4096 up to 64g, or none"},
      {"--vcpus", "0", "--vcpus: expected 1 to 1024, actual 0"},
      {"--vcpus", "two", "--vcpus"},
      {"--vcpus", "9", "--size: expected at least 256k for each of 9 vCPUs"},
      {"--seconds", "0", "--seconds: expected more than 0"},
      {"--seconds", "NaN", "--seconds: expected more than 0"},
      {"--size", "12345", "--size: expected a multiple of 4096"},
      {"--size", "9999999999g", "--size: expected a multiple of 4096"},
      {"--size", "", "--size: expected a multiple of 4096"},
      {"--seed", "x", "--seed"},
      {"--requests", "-1", "--requests: expected 0 or more"},
      {"--json", folder.toString(), "--json: expected a file that can be written"},
      {"--html", folder.resolve("no/such").toString(), "--html: expected a file that can"},
    };
    for (String[] w : wrong) {
      err.getBuffer().setLength(0);
      assertThat(lab("--vcpus", "1", w[0], w[1])).as(w[0] + " " + w[1]).isEqualTo(2);
      assertThat(err.toString()).contains(w[2]).contains("--help");
      assertThat(err.toString().lines()).hasSizeLessThan(4);
    }
    assertThat(out.toString()).isEmpty();
  }

  @Test
  void whatIsNamedTwiceRunsOnce() {
    assertThat(
            lab(
                "--protocol=last-put,last-put",
                "--workload=share,share",
                "--policy=eager,eager",
                "--discard=never,never",
                "--vcpus=1,1"))
        .isZero();
    assertThat(err.toString()).startsWith("lab: 1 run a round, ");
  }

  /** In place there is nothing else to discard, and no device to tell: 2 of 8 are left there. */
  @Test
  void bothKindsOfMonitorsInOneSession() {
    assertThat(
            lab(
                "--memory=both",
                "--discard=all",
                "--passthrough=none,64k",
                "--protocol=atomic-pair",
                "--workload=share",
                "--vcpus=1"))
        .as(out + " " + err)
        .isZero();
    assertThat(err.toString()).startsWith("lab: 10 runs a round, ");
    assertThat(out.toString())
        .contains("By monitor", "in place, discard private ", "two, discard both, pins 64 KiB ")
        .contains("With two memories the choice of a protocol makes no difference");
  }

  /** Of pKVM there is no monitor with two memories: what there is is run. */
  @Test
  void platformsByKindOfMonitor() throws IOException {
    Path json = folder.resolve("platforms.json");
    Path html = folder.resolve("platforms.html");
    assertThat(
            lab(
                "--platform=snp,pkvm",
                "--memory=both",
                "--discard=never,private",
                "--protocol=atomic-pair",
                "--workload=share",
                "--json=" + json,
                "--html=" + html))
        .as(err.toString())
        .isZero();
    assertThat(err.toString()).startsWith("lab: 18 runs of 0.0");
    assertThat(out.toString())
        .contains(
            "| hardware | memory | protocol | snp | pkvm |",
            "| works | in place | `atomic-pair` |",
            "| keeps | two, discard private | `atomic-pair` |",
            "JSON: " + json,
            "HTML: " + html)
        .containsPattern("\\| works \\| two, discard never \\| `atomic-pair` \\| [^|]+ \\| – \\|")
        .doesNotContain("Which policy");
    Map<String, Object> parsed = Json.object(Json.parse(Files.readString(json)));
    assertThat(Json.array(parsed.get("survival_runs"))).hasSize(18);
    assertThat(Files.readString(html)).contains("<td class=\"none\">–</td>");

    assertThat(lab("--memory=two", "--platform=pkvm,cca")).isEqualTo(2);
    assertThat(err.toString()).contains("--memory: expected in-place for pkvm, cca");
    assertThat(lab("--platform=snp", "--html=" + folder)).isEqualTo(2);
    assertThat(err.toString()).contains("--html: expected a file that can be written");
  }

  @Test
  void aRecordingIsAWorkloadToo() throws IOException {
    String trace = "src/test/resources/kernel-traces/conversions-pinned.trace";
    Path json = folder.resolve("lab.json");
    assertThat(lab("--trace", trace, "--vcpus", "2", "--json", json.toString())).isZero();
    List<String> lines = Files.readAllLines(json);
    int runsAndCells = 8 * 5 + 8;
    assertThat(lines)
        .filteredOn(l -> l.contains("\"workload\" : \"conversions-pinned.trace\""))
        .hasSize(runsAndCells);
    assertThat(lines).filteredOn(l -> l.matches(".*\"guest_ops\" : [1-9].*")).hasSize(runsAndCells);
    assertThat(lines)
        .filteredOn(l -> l.matches(".*\"first_look_mismatch\" : null,"))
        .hasSize(runsAndCells + 8);
    assertThat(lines).filteredOn(l -> l.matches(" +\"leaks\" : [1-9].*")).hasSize(5 + 1 + 1);
    assertThat(out.toString()).contains("a held page was converted: convert ");
    String bad = file("bad", "no trace");
    assertThat(lab("--trace", bad)).isEqualTo(2);
    assertThat(lab("--trace", folder.resolve("none").toString())).isEqualTo(2);
    assertThat(err.toString()).contains("--trace: expected a trace file, actual ");
  }

  @Test
  void platformsAreATableOfWhatSurvives() {
    assertThat(lab("--platform=none,snp", "--protocol=atomic-pair,safe-only", "--workload=share"))
        .as(err.toString())
        .isZero();
    assertThat(out.toString())
        .contains(
            "Which protocol survives, with the policy hypercall:",
            "| hardware | protocol | none | snp |",
            "| works | `safe-only` | yes | yes |")
        .doesNotContain("Verdict", "Which policy");
    assertThat(err.toString()).startsWith("lab: 12 runs of 0.04 s");
    out.getBuffer().setLength(0);
    assertThat(lab("--platform=none", "--policy=eager,hypercall", "--workload=share")).isZero();
    assertThat(out.toString())
        .contains("Which policy survives, with the protocol atomic-pair:", "| works | `eager` |")
        .doesNotContain("Which protocol");
    assertThat(lab("--platform=sgx")).isEqualTo(2);
    assertThat(lab("--platform=snp", "--full")).isEqualTo(2);
    assertThat(err.toString())
        .contains("--platform: expected none, snp, tdx, tdx-6.18, pkvm, cca")
        .contains("--platform: expected without --trace");
  }

  @Test
  void theSameSeedAsksForTheSame() {
    assertThat(lab("--requests", "50", "--seed", "3")).isZero();
    String once = out.toString();
    out.getBuffer().setLength(0);
    assertThat(lab("--requests", "50", "--seed", "3", "--protocol", "lock-only")).isZero();
    assertThat(out.toString()).isEqualTo(once);
    out.getBuffer().setLength(0);
    assertThat(lab("--requests", "50", "--seed", "4")).isZero();
    assertThat(out.toString()).isNotEqualTo(once).contains("# adversary, 4 vCPUs, seed 4: vcpu 3");
  }

  @Test
  void replayWithoutFilesIsOfTheBundledRecordings() {
    assertThat(run("replay")).isZero();
    assertThat(out.toString()).contains("random-6.trace").contains("answered every call");
    assertThat(out.toString()).containsPattern("total +2109 +2109 +0");
  }

  @Test
  void replaySaysWhatDiffers() throws IOException {
    String file =
        file(
            "t",
            "# guest_memfd trace 1",
            "create m0 size=4096 flags=0x3 = ok",
            "cached m0 = 7",
            "fallocate m0 KEEP_SIZE 0 4096 = ENOMEM");
    assertThat(run("replay", file)).isEqualTo(1);
    assertThat(out.toString().lines())
        .containsExactly(
            file + ":3: cached m0 expected 7 got 0",
            file + ":4: fallocate m0 KEEP_SIZE 0 4096 expected ENOMEM got ok",
            file + ": 3 calls, 1 agree, 2 differ");
    assertThat(err.toString()).isEmpty();
  }

  @Test
  void replayWithoutDifferenceIsSilentButForTheCount() throws IOException {
    String file = file("t", "# guest_memfd trace 1", "create m0 size=4096 flags=0x3 = ok");
    assertThat(run("replay", "--protocol", "atomic-pair", file)).isZero();
    assertThat(out.toString().lines()).containsExactly(file + ": 1 calls, 1 agree, 0 differ");
  }

  @Test
  void unreadableAndUnparsableFilesAreStatusTwo() throws IOException {
    String good = file("good", "# guest_memfd trace 1");
    String bad = file("bad", "# guest_memfd trace 1", "", "close m3 = ok");
    assertThat(run("replay", folder.resolve("none").toString(), good)).isEqualTo(2);
    assertThat(err.toString()).contains("none: expected a readable text file");
    assertThat(out.toString()).contains(good + ": 0 calls, 0 agree, 0 differ");
    assertThat(run("replay", bad)).isEqualTo(2);
    assertThat(err.toString()).contains(bad + ":3: ").contains("expected a name");
  }

  @Test
  void wrongArgumentsAreStatusTwoWithAMessage() {
    assertThat(run("replay", "--protocol", "wishful", "x")).isEqualTo(2);
    assertThat(err.toString())
        .contains("expected one of [pin-check, ")
        .contains("atomic-pair], actual 'wishful'");
    assertThat(run("nonsense")).isEqualTo(2);
    assertThat(run("--nonsense")).isEqualTo(2);
  }

  /** The answers differ where the docs say so: a range of a file that is bound twice. */
  @Test
  void replayForAnotherKernel() throws IOException {
    String file =
        file(
            "t",
            "# guest_memfd trace 1",
            "create m0 size=8192 flags=0x3 = ok",
            "bind s0 m0 gpa=0 size=4096 offset=0 = ok",
            "bind s1 m0 gpa=0x10000 size=4096 offset=0 = EEXIST");
    assertThat(run("replay", "--kernel", "7.2", file)).isZero();
    assertThat(run("replay", "--kernel", "7.3.1", file)).isZero();
    assertThat(run("replay", "--kernel", "6.18", file)).isEqualTo(1);
    assertThat(run("replay", "--kernel", "6.19", file)).isEqualTo(1);
    assertThat(run("replay", file)).isEqualTo(1);
    String named =
        file(
            "named",
            "# guest_memfd trace 1",
            "# profile: 7.2.9",
            "create m0 size=8192 flags=0x3 = ok",
            "bind s0 m0 gpa=0 size=4096 offset=0 = ok",
            "bind s1 m0 gpa=0x10000 size=4096 offset=0 = EEXIST");
    assertThat(run("replay", named)).as("as the kernel that it names").isZero();
    assertThat(run("replay", "--kernel", "6.18", named)).as("unless told").isEqualTo(1);
    assertThat(run("replay", "--kernel", "5.4", file)).isEqualTo(2);
    assertThat(err.toString()).contains("expected a release not before 6.18, actual '5.4'");
  }

  /** They have nothing in which the kernels differ. */
  @Test
  void replayOfTheRecordingsForAnotherKernel() {
    assertThat(run("replay")).isZero();
    assertThat(out.toString()).doesNotContain("as Linux");
    assertThat(run("replay", "--kernel", "7.2")).isZero();
    assertThat(out.toString()).contains("as Linux 7.2");
  }

  @Test
  void recordKernelRefusesHowManyCalls() {
    String file = folder.resolve("recorded").toString();
    for (String calls : List.of("-1", "0", "500001")) {
      assertThat(run("record-kernel", "--calls", calls, file)).isEqualTo(2);
      assertThat(err.toString()).contains("expected --calls from 1 to 500000, actual " + calls);
    }
  }

  /** Where there is no guest_memfd the command says that, and that is all it can be tested for. */
  @Test
  void recordKernelWritesATraceThatReplays() throws IOException {
    Path file = folder.resolve("recorded");
    int status =
        run("record-kernel", "--seed", "5", "--calls", "300", "--profile", file.toString());
    if (status == 2) {
      assertThat(err.toString()).startsWith("no guest_memfd here: ");
      assertThat(file).doesNotExist();
      abort(err.toString().strip()); // the report has no more than the first line beside its mark
    }
    assertThat(status).isZero();
    assertThat(Files.readAllLines(file).get(1))
        .isEqualTo("# profile: " + System.getProperty("os.version"));
    assertThat(Files.readAllLines(file).get(2))
        .isEqualTo(
            "# recorded by record-kernel --seed 5 --calls 300 from Linux "
                + System.getProperty("os.version")
                + " "
                + System.getProperty("os.arch"));
    String release = System.getProperty("os.version");
    assertThat(run("replay", "--kernel", release, file.toString())).isZero();
    assertThat(out.toString())
        .contains("300 calls, answered by Linux ")
        .containsPattern("as Linux [67][.0-9]+: 0 differ")
        .contains("300 calls, 300 agree, 0 differ");
    assertThat(run("record-kernel", folder.resolve("no/such").toString())).isEqualTo(2);
    assertThat(err.toString()).contains("expected a file that can be written");
  }

  @Test
  void helpIsEverywhere() {
    assertThat(run("--help")).isZero();
    assertThat(run("lab", "--help")).isZero();
    assertThat(out.toString()).contains("--workload").contains("--json");
    assertThat(run("replay", "--help")).isZero();
    assertThat(out.toString()).contains("Exit status").contains("--protocol");
  }
}
