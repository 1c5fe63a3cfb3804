package io.github.guestmemfd.trace;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.kvm.KernelProfile;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Parsing: what is refused, and what the message names. */
class TraceTest {

  private static Trace parse(String... lines) {
    List<String> all = new ArrayList<>(List.of(Trace.HEADER));
    all.addAll(List.of(lines));
    return Trace.parse("t", all);
  }

  @Test
  void headerIsNeeded() {
    assertThatThrownBy(() -> Trace.parse("t", List.of("create m0 size=4096 flags=0 = ok")))
        .isInstanceOf(TraceFormatException.class)
        .hasMessageContaining("t:1: expected '# guest_memfd trace 1'");
    assertThatThrownBy(() -> Trace.parse("t", List.of()))
        .isInstanceOf(TraceFormatException.class)
        .hasMessageContaining("t:1: expected '# guest_memfd trace 1'");
  }

  @Test
  void commentsAndEmptyLinesAreNoCalls() {
    assertThat(parse("# a comment", "", "  ", "create m0 size=4096 flags=0x3 = ok").size())
        .isEqualTo(1);
  }

  @ParameterizedTest
  @CsvSource({
    "# profile: 6.19, LINUX_6_19",
    "#  profile: 7.2, LINUX_6_18",
    "  # profile:   6.19.3-generic  , LINUX_6_19",
    "# profile 7.2, LINUX_6_18",
    "# recorded with profile: 7.2, LINUX_6_18",
    "# profile: 7.2+no-direct-map-v12, NO_DIRECT_MAP_V12",
  })
  void theProfileIsNamedByALineOfItsOwn(String line, KernelProfile expected) {
    assertThat(parse("# recorded somewhere", line, "create m0 size=4096 flags=0 = ok").profile())
        .isEqualTo(expected);
    assertThat(parse().profile()).isEqualTo(KernelProfile.LINUX_6_18);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "# profile:",
        "# profile: ",
        "# profile: 6",
        "# profile: 6.17.9",
        "# profile: new",
        "# profile: 99999999999.1",
        "# profile:\t",
        "# profile: +no-direct-map-v12",
      })
  void aProfileThatThereIsNotIsNamed(String line) {
    assertThatThrownBy(() -> parse(line))
        .isInstanceOf(TraceFormatException.class)
        .hasMessageContaining(
            "t:2: expected '# profile: RELEASE' with a release not before 6.18, actual '");
  }

  @Test
  void thereIsOneProfileBeforeTheFirstCall() {
    String expected = "expected one '# profile:' before the first call";
    assertThatThrownBy(() -> parse("# profile: 6.18", "", "# profile: 6.18"))
        .isInstanceOf(TraceFormatException.class)
        .hasMessageContaining("t:4: " + expected);
    assertThatThrownBy(() -> parse("create m0 size=4096 flags=0 = ok", "# profile: 6.18"))
        .isInstanceOf(TraceFormatException.class)
        .hasMessageContaining("t:3: " + expected);
  }

  @Test
  void aLineIsMadeOfAProfileThatThereIs() {
    assertThat(parse(Trace.profileLine("6.19.3")).profile()).isEqualTo(KernelProfile.LINUX_6_19);
    assertThatThrownBy(() -> Trace.profileLine("5.4"))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("actual 5.4");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = ';',
      value = {
        "create m1 size=4096 flags=0; expected 'CALL ARGUMENTS = RESULT'",
        "make m1 = ok; expected one of the calls",
        "create m1 size=4096 = ok; expected 2 arguments|expected 3 arguments",
        "create x1 size=4096 flags=0 = ok; expected new m",
        "create m0 size=4096 flags=0 = ok; expected a name not yet in use",
        "create m1 size=4k flags=0 = ok; expected size=number",
        "create m1 flags=0 size=4096 = ok; expected size=number",
        "create m1 size=+4096 flags=0 = ok; expected size=number",
        "create m1 size=--4096 flags=0 = ok; expected size=number",
        "create m1 size=0x flags=0 = ok; expected size=number",
        "cached m7 = 0; expected a name that an earlier call defined",
        "fallocate m0 KEEP 0 4096 = ok; expected mode",
        "fallocate m0 KEEP_SIZE| 0 4096 = ok; expected mode",
        "mmap a0 m0 offset=0 length=4096 prot=wx flags=SHARED = ok; expected prot=",
        "convert m0 hidden 0 4096 = ok; expected private|shared",
      })
  void badLinesAreNamed(String line, String message) {
    assertThatThrownBy(() -> parse("create m0 size=4096 flags=0x3 = ok", "# two", line))
        .isInstanceOf(TraceFormatException.class)
        .hasMessageStartingWith("t:4: ")
        .satisfies(
            e ->
                assertThat(List.of(message.split("\\|expected")))
                    .anyMatch(m -> e.getMessage().contains(m)));
  }

  @Test
  void aNameOfAFailedCallIsNotDefined() {
    assertThatThrownBy(() -> parse("create m0 size=1 flags=0 = EINVAL", "cached m0 = 0"))
        .isInstanceOf(TraceFormatException.class)
        .hasMessageContaining("t:3: ");
  }

  @Test
  void numbersAndModesInAllTheirForms() {
    Trace trace =
        parse(
            "create m0 size=0x4000 flags=0x3 = ok",
            "fallocate m0 1 0 4096 = ok",
            "fallocate m0 0x3 0 4096 = ok",
            "fallocate m0 PUNCH_HOLE|KEEP_SIZE -4096 4096 = EINVAL",
            "bind s0 m0 gpa=0xfffffffffffff000 size=4096 offset=0 = EINVAL",
            "cached m0 = 0");
    assertThat(Replay.run(trace, ConversionProtocol.atomicPair()).differences()).isEmpty();
  }

  /** What the model has not because it differed before is a difference again, not a crash. */
  @Test
  void aMissingObjectIsADifference() {
    Trace trace =
        parse(
            "create m0 size=4095 flags=0x3 = ok",
            "mmap a0 m0 offset=0 length=1 prot=r flags=SHARED = ok");
    Replay.Result result = Replay.run(trace, ConversionProtocol.atomicPair());
    assertThat(result.differences())
        .extracting(Replay.Difference::line, Replay.Difference::actual)
        .containsExactly(
            org.assertj.core.groups.Tuple.tuple(2, "EINVAL"),
            org.assertj.core.groups.Tuple.tuple(3, "m0 does not exist"));
  }

  @Test
  void answersAreTheSameInEveryLanguage() {
    Trace trace =
        Trace.parse(
            "t",
            List.of(
                Trace.HEADER,
                "create m0 size=4096 flags=0x3 = ok",
                "mmap a0 m0 offset=0 length=4096 prot=rw flags=SHARED = ok",
                "load a0 0 = 0x00",
                "gup g0 a0 0 4096 = ok",
                "gup_release g0 = bytes=4096 first=0x00 sum31=0x000000"));
    Locale before = Locale.getDefault();
    Locale.setDefault(Locale.forLanguageTag("ar-EG"));
    try {
      assertThat(Replay.run(trace, ConversionProtocol.atomicPair()).differences()).isEmpty();
    } finally {
      Locale.setDefault(before);
    }
  }
}
