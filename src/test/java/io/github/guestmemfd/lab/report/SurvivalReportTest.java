package io.github.guestmemfd.lab.report;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

/** What guests of platforms have survived: on a terminal, for programs, and as a page. */
class SurvivalReportTest {
  private static final Monitor TWO = new Monitor(Monitor.Memory.TWO, Monitor.Discard.PRIVATE, 0);
  private static final String HOSTILE = "</td><script>alert(1)</script> & \"{{style}}\" $1 \\";

  private static Survival run(
      String platform, Condition condition, Monitor monitor, String protocol, String death) {
    return new Survival(
        platform,
        condition,
        monitor,
        protocol,
        true,
        "hypercall",
        "share",
        2,
        false,
        death,
        0,
        0,
        0,
        death.isEmpty() ? 0 : 3,
        0,
        4,
        100);
  }

  private static Survivals of(List<Survival> runs, String... platforms) {
    return new Survivals(
        List.of(platforms),
        runs,
        "",
        new Session.Options(List.of("--platform", HOSTILE), 3, 7, 4096),
        Measurements.SOMEWHERE);
  }

  private static Survivals sample() {
    List<Survival> runs = new ArrayList<>();
    for (String protocol : List.of("atomic-pair", "last-put")) {
      runs.add(run("snp", Condition.KEEPS, Monitor.IN_PLACE, protocol, ""));
      runs.add(run("pkvm", Condition.KEEPS, Monitor.IN_PLACE, protocol, ""));
      runs.add(run("snp", Condition.KEEPS, TWO, protocol, HOSTILE));
    }
    return of(runs, "snp", "pkvm");
  }

  private static String text(Survivals survivals) {
    StringWriter text = new StringWriter();
    SurvivalReport.print(survivals, new PrintWriter(text));
    return text.toString().replace(System.lineSeparator(), "\n");
  }

  private static String page(Survivals survivals) throws IOException {
    StringWriter out = new StringWriter();
    SurvivalReport.write(survivals, out);
    return out.toString();
  }

  private static Map<String, Object> json(Survivals survivals) throws IOException {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    JsonReport.write(survivals, out);
    return Json.object(Json.parse(out.toString(StandardCharsets.UTF_8)));
  }

  @Test
  void aRowForEachKindOfMonitor() {
    assertThat(text(sample()))
        .isEqualTo(
            """
            Which protocol survives, with the policy hypercall:

            | hardware | memory | protocol | snp | pkvm |
            |---|---|---|---|---|
            | keeps | in place | `atomic-pair` | yes | yes |
            | keeps | two, discard private | `atomic-pair` | dead, frames lost | – |
            | keeps | in place | `last-put` | yes | yes |
            | keeps | two, discard private | `last-put` | dead, frames lost | – |

            """);
  }

  /** With one protocol and one policy there are the monitors to compare, once. */
  @Test
  void onlyMonitorsToCompare() {
    Survivals one =
        of(
            sample().runs().stream().filter(s -> s.protocol().equals("atomic-pair")).toList(),
            "snp");
    assertThat(text(one))
        .containsOnlyOnce("survives")
        .contains("| keeps | in place | `atomic-pair` | yes |");
    Survivals none =
        of(List.of(run("snp", Condition.WORKS, Monitor.IN_PLACE, "atomic-pair", "")), "snp");
    assertThat(text(none)).isEmpty();
  }

  @Test
  void whatTheLibraryIsToBlameFor() {
    assertThat(sample().isClean()).isTrue();
    Survival lost = run("snp", Condition.WORKS, TWO, "atomic-pair", "dead");
    assertThat(lost.isWrong()).as("frames lost on hardware that works").isTrue();
    assertThat(of(List.of(lost), "snp").isClean()).isFalse();
  }

  @Test
  void thePageHasTheTablesAndNothingIsMarkup() throws IOException {
    String page = page(sample());
    assertThat(page)
        .contains(
            "<h2 id=\"h-table-0\">Which protocol survives, with the policy hypercall</h2>",
            "<th scope=\"row\">two, discard private</th>",
            "<td class=\"leak\">dead, frames lost</td><td class=\"none\">–</td>",
            "<td class=\"zero\">yes</td>",
            "clean good",
            "&lt;script&gt;alert(1)")
        .doesNotContain("<script>alert", "http:", "https:", "src=");
    Survivals wrong = of(List.of(run("snp", Condition.WORKS, TWO, "p", HOSTILE)), "snp");
    assertThat(page(wrong)).contains("clean bad", "<li class=\"bad\">Survival[");
  }

  @Test
  void programsGetRunsAndWhatTheyComeTo() throws IOException {
    Map<String, Object> json = json(sample());
    assertThat(json.keySet())
        .containsExactly(
            "schema_version",
            "environment",
            "options",
            "doubts",
            "platforms",
            "clean",
            "survival_runs",
            "survival");
    assertThat(Json.array(json.get("survival_runs"))).hasSize(6);
    assertThat(Json.object(Json.array(json.get("survival_runs")).get(2)))
        .containsEntry("platform", "snp")
        .containsEntry("hardware", "keeps")
        .containsEntry("memory", "two")
        .containsEntry("on_shared", "discard")
        .containsEntry("findings", List.of("dead", "frames lost"))
        .containsEntry("death", HOSTILE)
        .containsEntry("frames_kept", 3L)
        .containsEntry("faults_refused", 4L);
    assertThat(Json.object(Json.array(json.get("survival")).get(2)))
        .containsEntry("survives", false)
        .containsEntry("findings", List.of("dead", "frames lost"));
  }

  /** What docs/lab.md says of the keys. */
  @Test
  void everyKeyIsDocumented() throws IOException {
    String document = Files.readString(Path.of("docs/lab.md"));
    Map<String, Object> json = json(sample());
    Set<String> keys = new TreeSet<>(json.keySet());
    for (String list : List.of("survival_runs", "survival")) {
      keys.addAll(Json.object(Json.array(json.get(list)).get(0)).keySet());
    }
    assertThat(keys).allSatisfy(key -> assertThat(document).contains("`" + key + "`"));
  }

  @Test
  void aSessionThatWasStopped() throws IOException {
    Survivals stopped =
        new Survivals(
            List.of("snp"),
            List.of(),
            "Stopped after 0 of 9 runs.",
            new Session.Options(List.of(), 1, 1, 4096),
            Measurements.SOMEWHERE);
    assertThat(text(stopped)).isEqualTo("Stopped after 0 of 9 runs.\n");
    assertThat(page(stopped)).contains("Stopped after 0 of 9 runs.");
    assertThat(json(stopped)).containsEntry("doubts", List.of("Stopped after 0 of 9 runs."));
  }
}
