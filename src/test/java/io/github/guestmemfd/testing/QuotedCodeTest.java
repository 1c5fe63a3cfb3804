package io.github.guestmemfd.testing;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** The code that the documents quote is in files that are compiled and run. */
class QuotedCodeTest {
  private static final Pattern BLOCK = Pattern.compile("```java\n(.*?)```", Pattern.DOTALL);

  private static final String TEST = "src/test/java/io/github/guestmemfd/";
  private static final String OWN_PROTOCOL =
      "src/jcstress/java/io/github/guestmemfd/testing/OwnProtocolTest.java";

  /** Each document, and the files of its quotes in their order. */
  static Stream<Arguments> quotes() {
    return Stream.of(
        Arguments.of(
            "docs/guide.md",
            List.of(
                TEST + "kvm/SmallVmm.java",
                TEST + "kvm/SmallVmm.java",
                TEST + "kvm/SmallVmm.java",
                TEST + "policy/TwoMemoriesExampleTest.java",
                TEST + "policy/PolicyExampleTest.java",
                TEST + "testing/PatientPairTest.java",
                TEST + "testing/GuestPageTableTest.java",
                TEST + "policy/OwnPolicyTest.java",
                TEST + "testing/RacePointsExampleTest.java",
                TEST + "testing/InterleavingsExampleTest.java",
                OWN_PROTOCOL,
                TEST + "testing/SuspicionsTest.java",
                TEST + "testing/SuspicionsTest.java",
                TEST + "testing/SuspicionsTest.java",
                TEST + "testing/SuspicionsTest.java",
                TEST + "testing/SuspicionsTest.java",
                TEST + "testing/SuspicionsTest.java",
                TEST + "HoldersExampleTest.java",
                "src/it/junit/src/test/java/org/example/HoldersTest.java")),
        Arguments.of(
            "docs/verification.md",
            List.of(
                TEST + "testing/PatientPair.java",
                TEST + "testing/PatientPairTest.java",
                TEST + "testing/GuestPageTableTest.java",
                OWN_PROTOCOL)),
        Arguments.of(
            "docs/examples.md",
            List.of(
                TEST + "policy/PolicyExampleTest.java",
                TEST + "kvm/SmallVmm.java",
                TEST + "testing/PatientPair.java",
                TEST + "testing/PatientPairTest.java",
                OWN_PROTOCOL)));
  }

  @ParameterizedTest
  @MethodSource("quotes")
  void quotesAreWordForWord(String document, List<String> sources) throws IOException {
    Matcher blocks = BLOCK.matcher(Files.readString(Path.of(document)));
    for (String source : sources) {
      assertThat(blocks.find()).as("a quote of " + source).isTrue();
      assertThat(Files.readString(Path.of(source))).contains(blocks.group(1));
    }
    assertThat(blocks.find()).as("one more quote").isFalse();
  }
}
