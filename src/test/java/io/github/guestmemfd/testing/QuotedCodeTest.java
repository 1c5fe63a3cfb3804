package io.github.guestmemfd.testing;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/** The code that docs/verification.md quotes is in files that are compiled and run. */
class QuotedCodeTest {
  private static final Pattern BLOCK = Pattern.compile("```java\n(.*?)```", Pattern.DOTALL);

  private static final List<String> SOURCES =
      List.of(
          "src/test/java/io/github/guestmemfd/testing/PatientPair.java",
          "src/test/java/io/github/guestmemfd/testing/PatientPairTest.java",
          "src/test/java/io/github/guestmemfd/testing/GuestPageTableTest.java",
          "src/jcstress/java/io/github/guestmemfd/testing/OwnProtocolTest.java");

  @Test
  void quotesAreWordForWord() throws IOException {
    Matcher blocks = BLOCK.matcher(Files.readString(Path.of("docs/verification.md")));
    for (String source : SOURCES) {
      assertThat(blocks.find()).as("a quote of " + source).isTrue();
      assertThat(Files.readString(Path.of(source))).contains(blocks.group(1));
    }
    assertThat(blocks.find()).as("one more quote").isFalse();
  }
}
