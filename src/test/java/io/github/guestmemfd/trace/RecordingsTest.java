package io.github.guestmemfd.trace;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.conversion.ConversionProtocol;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** The model answers every call of every recording as the kernel did. */
class RecordingsTest {

  private static final Path FOLDER = Path.of("src/test/resources/kernel-traces");

  static List<Path> recordings() throws IOException {
    try (Stream<Path> files = Files.list(FOLDER)) {
      return files.sorted().toList();
    }
  }

  static Stream<Arguments> soundProtocolsAndRecordings() throws IOException {
    List<Path> recordings = recordings();
    return ConversionProtocol.all().stream()
        .filter(ConversionProtocol::isSound)
        .flatMap(protocol -> recordings.stream().map(file -> Arguments.of(protocol, file)));
  }

  @ParameterizedTest
  @MethodSource("soundProtocolsAndRecordings")
  void agrees(ConversionProtocol protocol, Path file) throws IOException {
    Trace trace = Trace.parse(file.toString(), Files.readAllLines(file));
    Replay.Result result = Replay.run(trace, protocol);
    assertThat(result.differences()).isEmpty();
    assertThat(result.calls()).isEqualTo(trace.size()).isPositive();
  }

  /** It does not see plain references, so it converts where the kernel's rules say EAGAIN. */
  @Test
  void thePinCheckConvertsPagesThatAreHeld() throws IOException {
    Path file = FOLDER.resolve("conversions-pinned.trace");
    Trace trace = Trace.parse(file.toString(), Files.readAllLines(file));
    List<Replay.Difference> differences =
        Replay.run(trace, ConversionProtocol.pinCheck()).differences();
    assertThat(differences.get(0).call()).startsWith("convert");
    assertThat(differences.get(0).expected()).startsWith("EAGAIN");
    assertThat(differences.get(0).actual()).isEqualTo("ok");
  }

  @Test
  void thereAreTwelveRecordings() throws IOException {
    assertThat(recordings()).hasSize(12);
  }

  /** A wrong recording of each kind of call is seen: the comparison does compare. */
  @Test
  void aChangedResultIsADifference() throws IOException {
    Path file = FOLDER.resolve("random-1.trace");
    List<String> lines = Files.readAllLines(file);
    int changed = 0;
    for (int i = 0; i < lines.size(); i++) {
      String line = lines.get(i);
      if (line.startsWith("load ") || line.startsWith("cached ") || line.startsWith("stat ")) {
        lines.set(i, line + "1");
        changed++;
      }
    }
    Replay.Result result =
        Replay.run(Trace.parse("changed", lines), ConversionProtocol.atomicPair());
    assertThat(result.differences()).hasSize(changed);
    assertThat(changed).isPositive();
  }
}
