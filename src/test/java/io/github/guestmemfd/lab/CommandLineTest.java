package io.github.guestmemfd.lab;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
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

  @Test
  void withoutACommandTheBundledRecordingsAreReplayed() {
    assertThat(run()).isZero();
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
    assertThat(run("replay")).isEqualTo(2);
    assertThat(err.toString()).contains("FILE");
    assertThat(run("replay", "--protocol", "wishful", "x")).isEqualTo(2);
    assertThat(err.toString())
        .contains("expected one of [pin-check, ")
        .contains("atomic-pair], actual 'wishful'");
    assertThat(run("nonsense")).isEqualTo(2);
    assertThat(run("--nonsense")).isEqualTo(2);
  }

  @Test
  void helpIsEverywhere() {
    assertThat(run("--help")).isZero();
    assertThat(run("replay", "--help")).isZero();
    assertThat(out.toString()).contains("Exit status").contains("--protocol");
  }
}
