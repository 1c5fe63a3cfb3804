package io.github.guestmemfd.verification;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The result tables of docs/verification.md are as {@link VerificationTables} writes them. */
class VerificationTablesTest {
  @TempDir Path target;
  private Path results;

  @BeforeEach
  void makeDirectory() throws IOException {
    results = Files.createDirectory(target.resolve("verification"));
  }

  /** With {@code -Dverification.write} they are written, from the results that there are. */
  @Test
  void theTablesAreAsWritten() throws IOException {
    String document = Files.readString(VerificationTables.DOCUMENT);
    if (System.getProperty("verification.write") != null) {
      document = VerificationTables.render(document, Results.DIRECTORY);
      Files.writeString(VerificationTables.DOCUMENT, document);
    }
    assertThat(VerificationTables.render(document, results)).isEqualTo(document);
    assertThat(VerificationTables.names(document))
        .containsExactlyInAnyOrderElementsOf(VerificationTables.tables().keySet());
  }

  private String render(String table, String... lines) throws IOException {
    String text = String.join("\n", lines);
    String document = "<!-- table: " + table + " -->\n" + text + "\n<!-- end of table -->\n";
    return VerificationTables.render(document, results);
  }

  @Test
  void figuresAreThoseOfTheResults() throws IOException {
    Files.writeString(results.resolve("faults.tsv"), "all\t81368\n");
    assertThat(render("faults", "", "| fault | played |", "|---|---|", "| all | 5 |", ""))
        .contains("| all | 81,368 |");
  }

  @Test
  void figuresWithoutAResultStay() throws IOException {
    assertThat(render("faults", "", "| fault | played |", "|---|---|", "| all | 5 |", ""))
        .contains("| all | 5 |", "| pairs of a scenario and a protocol | - |");
  }

  @Test
  void aRowMadeByHandGoes() throws IOException {
    assertThat(render("faults", "", "| fault | played |", "|---|---|", "| by hand | 5 |", ""))
        .doesNotContain("by hand");
  }

  /** Where the rows are those of the results, new ones replace all that were there. */
  @Test
  void rowsOfAnEarlierRunGo() throws IOException {
    String[] before = {
      "", "| kernel, seed | calls | differences |", "|---|---|---|", "| a | 1 | 0 |", ""
    };
    assertThat(render("differential", before)).contains("| a | 1 | 0 |");
    Files.writeString(results.resolve("differential.tsv"), "b\t2\t0\n");
    assertThat(render("differential", before)).contains("| b | 2 | 0 |").doesNotContain("| a |");
  }

  @Test
  void aSoakIsSummedUpByProtocol() throws IOException {
    String run =
        """
        {"protocol": "%s", "conversions_to_inaccessible": 600, "refused_with_unsafe_holder": 1,
         "refused_without_unsafe_holder": 2, "leaks": 3, "corruptions": 0, "frames_leaked": 0}
        """;
    Files.writeString(
        results.resolve("soak.json"),
        "{\"runs\": [" + run.formatted("pin-check") + "," + run.formatted("pin-check") + "]}");
    assertThat(render("soak", "")).contains("| `pin-check` | 1,200 | 2 | 4 | 6 | 0 | 0 |");
  }

  /** What no test tells apart is a survivor; a run that ends in no time or memory is told apart. */
  @Test
  void mutantsAreSummedUpByPackage() throws IOException {
    Path report = VerificationTables.mutants(results);
    Files.createDirectory(report.getParent());
    String line = "A.java,io.github.guestmemfd.cache.A,M,run,1,%s,none\n";
    Files.writeString(
        report,
        line.formatted("KILLED")
            + line.formatted("TIMED_OUT")
            + line.formatted("SURVIVED")
            + line.formatted("NO_COVERAGE"));
    assertThat(render("mutation", ""))
        .contains("| `cache` | 4 | 2 | 1 | 1 | 50.0 |", "| `file` | - | - | - | - | - |");
    Files.writeString(report, line.formatted("NOT_STARTED"));
    assertThatThrownBy(() -> render("mutation", "")).hasMessageEndingWith("NOT_STARTED");
  }

  @Test
  void anUnknownTableIsRefused() {
    assertThatThrownBy(() -> render("fault", ""))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageEndingWith("actual fault");
  }

  /** A test and its twins, with what their comments say. */
  @Test
  void jcstressTestsAreFoundInTheSources() throws IOException {
    assertThat(JcstressTests.of("cache"))
        .containsEntry(
            "FillTest", "Of two that fill a hole one succeeds, and the other gives its frame back.")
        .containsEntry("FillTest.Twin", "*Broken*: sees that there is a hole, and stores.");
    assertThat(JcstressTests.of("file"))
        .containsEntry("ReferenceVsConvertTest.SafeOnly", "Under `safe-only`.")
        .hasEntrySatisfying(
            "AllocateVsPunchTest",
            text -> assertThat(text).endsWith(" Twins: those of `FillVsBusyTest`, `FillTest`."));
    assertThat(List.of(JcstressTests.of("").keySet())).isNotEmpty();
  }
}
