package io.github.guestmemfd.verification;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/** The jcstress tests of a package, with what their comments say: the rows of their tables. */
final class JcstressTests {
  private static final Path SOURCES =
      Path.of("src", "jcstress", "java", "io", "github", "guestmemfd");

  private static final Pattern TEST =
      Pattern.compile("(?ms)^ *@JCStressTest\\b.*?^ *(?:public |static |final )*class (\\w+)");
  private static final Pattern TAG = Pattern.compile("\\{@\\w+ ([^}]*)}");
  private static final Pattern TWINS =
      Pattern.compile("Its twins? (?:is that|are those) of (?:the parts: )?([\\w, ]+)\\.");

  private JcstressTests() {}

  /**
   * Returns the property, or what a twin leaves out, by the name of the test.
   *
   * @param folder the package, relative to the root package
   */
  static Map<String, String> of(String folder) throws IOException {
    Map<String, String> tests = new LinkedHashMap<>();
    try (Stream<Path> files = Files.list(SOURCES.resolve(folder))) {
      for (Path file : files.filter(f -> f.toString().endsWith("Test.java")).sorted().toList()) {
        add(file.getFileName().toString().replace(".java", ""), Files.readString(file), tests);
      }
    }
    return tests;
  }

  private static void add(String outer, String source, Map<String, String> tests) {
    Matcher test = TEST.matcher(source);
    while (test.find()) {
      String before = source.substring(0, test.start());
      String comment = before.substring(before.lastIndexOf("/**") + 3, before.lastIndexOf("*/"));
      String name = test.group(1);
      tests.put(name.equals(outer) ? name : outer + "." + name, text(comment));
    }
  }

  private static String text(String comment) {
    String all =
        String.join(" ", comment.lines().map(l -> l.replaceFirst("^ *\\* ?", "")).toList());
    all = TAG.matcher(all.strip()).replaceAll("`$1`");
    String first = all.split("<p>|<pre>", 2)[0].strip();
    Matcher twins = TWINS.matcher(all);
    if (twins.find()) {
      return capital(first.replaceFirst("^Hypothesis: ", ""))
          + " Twins: those of "
          + String.join(
              ", ", List.of(twins.group(1).split(", ")).stream().map(t -> "`" + t + "`").toList())
          + ".";
    }
    return first.startsWith("Broken: ")
        ? "*Broken*: " + first.substring("Broken: ".length())
        : capital(first.replaceFirst("^Hypothesis: ", ""));
  }

  private static String capital(String text) {
    return text.substring(0, 1).toUpperCase(Locale.ROOT) + text.substring(1);
  }
}
