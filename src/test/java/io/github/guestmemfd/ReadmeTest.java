package io.github.guestmemfd;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.guestmemfd.abi.SigBusException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The program in README.md does what its comments say, and is one that the build runs. */
class ReadmeTest {
  private static final Path PROJECTS = Path.of("src", "it");
  private static final Pattern VERSION =
      Pattern.compile("<artifactId>guest-memfd</artifactId>\\s*<version>([^<]+)</version>");

  /** Each project of {@code src/it} has been run against the library when the build is through. */
  @Test
  void quotesAProjectWordForWord() throws IOException {
    String program =
        Files.readString(PROJECTS.resolve("classpath/src/main/java/org/example/FirstProgram.java"));
    assertThat(blocks("java")).containsExactly(program);

    String pom = unindented(Files.readString(PROJECTS.resolve("classpath/pom.xml")));
    assertThat(blocks("xml"))
        .hasSize(2)
        .allSatisfy(dependency -> assertThat(pom).contains(unindented(dependency)));
  }

  @Test
  void quotesWhatTheProgramPrints() throws IOException {
    String printed = Files.readString(PROJECTS.resolve("classpath/expected.txt"));
    assertThat(Files.readString(Path.of("README.md"))).contains("\n\n" + printed.indent(4) + "\n");
  }

  @Test
  void theProjectsUseTheLibraryOfThisVersion() throws IOException {
    String version = version(Path.of("pom.xml"));
    try (Stream<Path> projects = Files.list(PROJECTS)) {
      List<Path> poms =
          projects.map(p -> p.resolve("pom.xml")).filter(Files::exists).sorted().toList();
      assertThat(poms)
          .hasSizeGreaterThanOrEqualTo(4)
          .allSatisfy(pom -> assertThat(version(pom)).isEqualTo(version));
    }
  }

  private static List<String> blocks(String language) throws IOException {
    return Pattern.compile("```" + language + "\n(.*?)```", Pattern.DOTALL)
        .matcher(Files.readString(Path.of("README.md")))
        .results()
        .map(block -> block.group(1))
        .toList();
  }

  private static String unindented(String text) {
    return text.replaceAll("(?m)^ +", "");
  }

  private static String version(Path pom) throws IOException {
    return VERSION
        .matcher(Files.readString(pom))
        .results()
        .map(version -> version.group(1))
        .findFirst()
        .orElseThrow();
  }

  @Test
  void firstProgram() {
    try (HostMemory host = HostMemory.ofBytes(1L << 30);
        GuestMemfd memfd =
            GuestMemfd.builder(host).size(256L << 20).flags(MMAP, INIT_SHARED).build();
        HostMapping window = memfd.mmap(0, memfd.size(), READ, WRITE)) {
      window.putLong(0, 42);
      try (HostReference pin = window.pin(0, 4096)) {
        assertThat(pin.isPinned()).isTrue();
        assertThatThrownBy(() -> memfd.makeInaccessible(0, 4096))
            .isInstanceOf(ConversionBlockedException.class)
            .hasMessage("EAGAIN: busy folio at offset 0x0 held by 0 unsafe, 1 pinned, 0 safe");
      }
      memfd.makeInaccessible(0, 4096);
      try (Folio folio = memfd.grab(0)) {
        assertThat(folio.buffer().getLong(0)).isEqualTo(42);
      }
      assertThatThrownBy(() -> window.getLong(0))
          .isInstanceOf(SigBusException.class)
          .hasMessageContaining("SIGBUS at offset 0");
    }
  }
}
