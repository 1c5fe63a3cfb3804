package io.github.guestmemfd;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.abi.Errno;
import java.io.IOException;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.junit.platform.commons.annotation.Testable;
import org.junit.platform.commons.support.AnnotationSupport;

/** What the documents point to is there: tests by name, and files by link. */
class DocumentsTest {

  private static final Pattern TEST = Pattern.compile("`([A-Z]\\w+Test)(?:\\.([a-z]\\w+))?`");
  private static final Pattern LINK = Pattern.compile("]\\(([^)#:]+)\\)");
  private static final Pattern WITH_IMPORTS =
      Pattern.compile("```java\n((?:package|import|module) .*?)```", Pattern.DOTALL);

  static List<Path> documents() throws IOException {
    try (Stream<Path> top = Files.list(Path.of(""));
        Stream<Path> docs = Files.walk(Path.of("docs"))) {
      return Stream.concat(top, docs).filter(p -> p.toString().endsWith(".md")).sorted().toList();
    }
  }

  private static Map<String, String> testSources() throws IOException {
    try (Stream<Path> files = Files.walk(Path.of("src"))) {
      return files
          .filter(p -> p.getFileName().toString().endsWith("Test.java"))
          .collect(
              Collectors.toMap(
                  p -> p.getFileName().toString().replace(".java", ""),
                  DocumentsTest::read,
                  (one, other) -> one + other)); // the same name in two packages
    }
  }

  private static String read(Path path) {
    try {
      return Files.readString(path);
    } catch (IOException e) {
      throw new AssertionError(path.toString(), e);
    }
  }

  @ParameterizedTest
  @MethodSource("documents")
  void namesTestsThatExist(Path document) throws IOException {
    Map<String, String> sources = testSources();
    assertThat(all(TEST, document))
        .allSatisfy(
            test -> {
              assertThat(sources).containsKey(test.group(1));
              if (test.group(2) != null) {
                assertThat(sources.get(test.group(1))).contains(" " + test.group(2) + "(");
              }
            });
  }

  @ParameterizedTest
  @MethodSource("documents")
  void linksToFilesThatExist(Path document) throws IOException {
    Path folder = document.toAbsolutePath().getParent();
    assertThat(all(LINK, document))
        .allSatisfy(link -> assertThat(folder.resolve(link.group(1))).exists());
  }

  /** What is quoted with its imports is to be copied: it is, word for word, in a file of src. */
  @ParameterizedTest
  @MethodSource("documents")
  void quotesProgramsThatAreCompiled(Path document) throws IOException {
    List<String> sources;
    try (Stream<Path> files = Files.walk(Path.of("src"))) {
      sources = files.filter(p -> p.toString().endsWith(".java")).map(DocumentsTest::read).toList();
    }
    assertThat(all(WITH_IMPORTS, document))
        .allSatisfy(
            quote ->
                assertThat(sources.stream().anyMatch(source -> source.contains(quote.group(1))))
                    .as(quote.group(1))
                    .isTrue());
  }

  // ---- docs/conformance.md ----

  private static final Path CONFORMANCE = Path.of("docs", "conformance.md");
  private static final Pattern NAMED =
      Pattern.compile("`([A-Z]\\w+Test)((?:\\.[A-Z]\\w+)*)(?:\\.([a-z]\\w*))?`");

  /** A row: what Linux answers, the tests, the verdict. */
  record Row(String linux, String tests, String verdict) {}

  static List<Row> rows() throws IOException {
    List<Row> rows = new ArrayList<>();
    for (String line : Files.readAllLines(CONFORMANCE)) {
      boolean heading = line.startsWith("|---") || line.startsWith("| Linux | test | the model |");
      if (line.startsWith("|") && !heading) {
        String[] cells = line.substring(1, line.length() - 1).split("\\|", -1);
        assertThat(cells).as(line).hasSize(3);
        rows.add(new Row(cells[0].strip(), cells[1].strip(), cells[2].strip()));
      }
    }
    return rows;
  }

  /** A row that agrees names a test; one that is not modelled says why. */
  @Test
  void everyRowOfTheConformanceTableHasAVerdict() throws IOException {
    assertThat(rows())
        .hasSizeGreaterThan(150)
        .doesNotHaveDuplicates()
        .allSatisfy(
            row -> {
              assertThat(row.linux).isNotEmpty();
              assertThat(row.verdict).matches("agrees|not modelled: .{8,}");
              if (row.verdict.equals("agrees")) {
                assertThat(row.tests).isNotEmpty();
              }
              assertThat(NAMED.matcher(row.tests).replaceAll("").replace(",", "")).isBlank();
            });
  }

  /** By reflection: what is named is there, and JUnit runs it. */
  @Test
  void theConformanceTableNamesTestsThatAreRun() throws IOException {
    Map<String, String> packages = packagesOfTests();
    assertThat(all(NAMED, CONFORMANCE))
        .hasSizeGreaterThan(150)
        .allSatisfy(
            named -> {
              String binary = named.group(1) + named.group(2).replace('.', '$');
              assertThat(packages).containsKey(named.group(1));
              Class<?> test = Class.forName(packages.get(named.group(1)) + "." + binary);
              List<Method> methods = testMethods(test);
              assertThat(methods).as(named.group()).isNotEmpty();
              if (named.group(3) != null) {
                assertThat(methods.stream().map(Method::getName)).contains(named.group(3));
              }
            });
  }

  /** The tests of a class, and of those inside it. */
  private static List<Method> testMethods(Class<?> type) {
    return Stream.concat(
            Arrays.stream(type.getDeclaredMethods())
                .filter(m -> AnnotationSupport.isAnnotated(m, Testable.class)),
            Arrays.stream(type.getDeclaredClasses())
                .filter(c -> AnnotationSupport.isAnnotated(c, Nested.class))
                .flatMap(c -> testMethods(c).stream()))
        .toList();
  }

  private static Map<String, String> packagesOfTests() throws IOException {
    Path tests = Path.of("src", "test", "java");
    try (Stream<Path> files = Files.walk(tests)) {
      return files
          .filter(p -> p.getFileName().toString().endsWith("Test.java"))
          .collect(
              Collectors.toMap(
                  p -> p.getFileName().toString().replace(".java", ""),
                  p -> tests.relativize(p.getParent()).toString().replace('/', '.'),
                  (one, other) -> one));
    }
  }

  // ---- names of the API ----

  private static final Pattern MEMBER =
      Pattern.compile("`([A-Z]\\w*[a-z]\\w*)\\.((?:[A-Z]\\w*\\.)?\\w+)[^`]*`");

  /** A member that is written with its class is there. */
  @ParameterizedTest
  @ValueSource(
      strings = {"choosing-a-protocol.md", "glossary.md", "guide.md", "troubleshooting.md"})
  void namesMembersThatExist(String document) throws IOException {
    Map<String, String> sources = sources();
    assertThat(all(MEMBER, Path.of("docs", document)))
        .isNotEmpty()
        .allSatisfy(
            member -> {
              assertThat(sources).containsKey(member.group(1));
              assertThat(sources.get(member.group(1)).split("\\W+"))
                  .as(member.group())
                  .contains(member.group(2).split("\\."));
            });
  }

  private static Map<String, String> sources() throws IOException {
    try (Stream<Path> files = Files.walk(Path.of("src", "main", "java"))) {
      return files
          .filter(p -> p.getFileName().toString().matches("\\w+\\.java"))
          .collect(
              Collectors.toMap(
                  p -> p.getFileName().toString().replace(".java", ""), DocumentsTest::read));
    }
  }

  // ---- docs/troubleshooting.md ----

  private static final Pattern ERRNO_ROW = Pattern.compile("(?m)^\\| `([A-Z]+)` \\|");

  /** Each errno that a call may answer has a row, in the order of the constants. */
  @Test
  void everyErrnoHasARowInTroubleshooting() throws IOException {
    assertThat(all(ERRNO_ROW, Path.of("docs", "troubleshooting.md")))
        .extracting(row -> row.group(1))
        .containsExactly(Arrays.stream(Errno.values()).map(Errno::name).toArray(String[]::new));
  }

  private static final Pattern ANCHOR = Pattern.compile("]\\(([\\w/-]+\\.md)?#([^)]+)\\)");

  /** A link into a document leads to one of its headings. */
  @ParameterizedTest
  @MethodSource("documents")
  void linksToHeadingsThatExist(Path document) throws IOException {
    for (MatchResult link : all(ANCHOR, document)) {
      Path target =
          link.group(1) == null
              ? document
              : document.toAbsolutePath().resolveSibling(link.group(1));
      assertThat(headings(target)).as(link.group()).contains(link.group(2));
    }
  }

  /** As GitHub names them. */
  private static List<String> headings(Path document) throws IOException {
    return Files.readAllLines(document).stream()
        .filter(line -> line.matches("#+ .*"))
        .map(line -> line.replaceFirst("#+ ", "").toLowerCase(Locale.ROOT))
        .map(line -> line.replaceAll("[^\\p{L}\\p{N} _-]", "").replace(' ', '-'))
        .toList();
  }

  private static List<MatchResult> all(Pattern pattern, Path document) throws IOException {
    return pattern.matcher(Files.readString(document)).results().toList();
  }
}
