package io.github.guestmemfd.lab;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.conversion.ConversionProtocol;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The lab keeps no list of protocols: it asks them for what it says of them. */
class ProtocolNamesTest {
  private static final Path LAB = Path.of("src/lab");

  /** Lines of the lab's sources, pages and scripts that name a protocol by its id. */
  private static List<String> naming(List<String> ids) throws IOException {
    Pattern id = Pattern.compile("(?<![\\w-])(" + String.join("|", ids) + ")(?![\\w-])");
    try (Stream<Path> files = Files.walk(LAB)) {
      return files
          .filter(Files::isRegularFile)
          .flatMap(file -> lines(file).stream().map(line -> file + ": " + line.strip()))
          .filter(line -> id.matcher(line).find())
          .toList();
    }
  }

  private static List<String> lines(Path file) {
    try {
      return Files.readAllLines(file);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Test
  void noSourceOfTheLabNamesAProtocol() throws IOException {
    assertThat(naming(ConversionProtocol.all().stream().map(ConversionProtocol::id).toList()))
        .isEmpty();
    // The search does find an id where there is one: that of a policy, which options default to.
    assertThat(naming(List.of("on-fault"))).isNotEmpty();
  }

  @Test
  void theHelpListsEveryProtocol() {
    for (String command : List.of("lab", "replay")) {
      StringWriter out = new StringWriter();
      assertThat(Main.commandLine().setOut(new PrintWriter(out, true)).execute(command, "--help"))
          .isZero();
      assertThat(out.toString().replaceAll("\\s+", " "))
          .contains(
              String.join(
                  ", ", ConversionProtocol.all().stream().map(ConversionProtocol::id).toList()))
          .doesNotContain("${");
    }
  }
}
