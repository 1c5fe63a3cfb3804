package io.github.guestmemfd.trace;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.kvm.KernelProfile;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** The model answers the traces that were written from the rules of in-place conversion. */
class InPlaceTracesTest {
  private static final Path FOLDER = Path.of("src/test/resources/in-place-traces");
  private static final String PROFILE = "# profile: ";

  static List<Path> traces() throws IOException {
    try (Stream<Path> files = Files.list(FOLDER)) {
      return files.sorted().toList();
    }
  }

  static Stream<Arguments> soundProtocolsAndTraces() throws IOException {
    List<Path> traces = traces();
    List<ConversionProtocol> protocols = new ArrayList<>(ConversionProtocol.all());
    protocols.add(ConversionProtocol.invalidateLockV8());
    return protocols.stream()
        .filter(ConversionProtocol::isSound)
        .flatMap(protocol -> traces.stream().map(file -> Arguments.of(protocol, file)));
  }

  private static KernelProfile profile(List<String> lines) {
    return lines.stream()
        .filter(line -> line.startsWith(PROFILE))
        .findFirst()
        .flatMap(line -> KernelProfile.of(line.substring(PROFILE.length())))
        .orElseThrow();
  }

  @ParameterizedTest
  @MethodSource("soundProtocolsAndTraces")
  void agrees(ConversionProtocol protocol, Path file) throws IOException {
    List<String> lines = Files.readAllLines(file);
    Trace trace = Trace.parse(file.toString(), lines);
    Replay.Result result = Replay.run(trace, protocol, profile(lines));
    assertThat(result.differences()).isEmpty();
    assertThat(result.calls()).isEqualTo(trace.size()).isPositive();
  }

  /** Each says what it is. */
  @ParameterizedTest
  @MethodSource("traces")
  void saysThatItWasWritten(Path file) throws IOException {
    assertThat(Files.readAllLines(file))
        .anyMatch(line -> line.matches("# written .*not recorded.*"));
  }

  /** On a kernel without the call every line of it answers ENOTTY, or EBADF. */
  @Test
  void theCallsNeedTheProfile() throws IOException {
    Path file = FOLDER.resolve("call.trace");
    Trace trace = Trace.parse(file.toString(), Files.readAllLines(file));
    assertThat(
            Replay.run(trace, ConversionProtocol.invalidateLock(), KernelProfile.LINUX_7_2)
                .differences())
        .filteredOn(difference -> difference.call().startsWith("set_attributes"))
        .hasSizeGreaterThan(15)
        .allMatch(difference -> difference.actual().equals("ENOTTY"));
  }

  @Test
  void thereAreFour() throws IOException {
    assertThat(traces()).hasSize(4);
  }
}
