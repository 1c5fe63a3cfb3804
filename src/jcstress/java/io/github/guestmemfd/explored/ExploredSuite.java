package io.github.guestmemfd.explored;

import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.infra.runners.TestList;

/**
 * Explores all jcstress tests: the same states, actors and outcomes, every order of their steps
 * instead of those that a machine happens to take.
 *
 * <p>It is a failure if
 *
 * <ul>
 *   <li>a shipped test shows a forbidden outcome in any order, of all or of those that are run;
 *   <li>a twin does not show its broken outcome, and is not among those that cannot;
 *   <li>one of those does show it, or has orders that were not run;
 *   <li>an order deadlocks, throws, or cannot be repeated.
 * </ul>
 *
 * <pre>{@code java -cp ... io.github.guestmemfd.explored.ExploredSuite [PATTERN]}</pre>
 */
public final class ExploredSuite {
  /** How many orders of a shipped test are explored at most. */
  private static final long SHIPPED = Long.getLong("explored.orders", 5_000);

  /** Within how many orders a twin has to show its broken outcome. */
  private static final long TWIN = 50_000;

  /** Their steps are in the right order, and only weakly ordered memory lets them change it. */
  private static final String WEAK = "weak memory: complete without it";

  /** Twins without a broken outcome in any order, and why. */
  private static final Map<String, String> CANNOT =
      Map.of(
          "memory.AccessesTest.TwinWithoutFence", WEAK,
          "cache.LookupVsRangeTest.TwinWithoutFence", WEAK,
          "cache.UnlockVsWaitTest.Twin", WEAK);

  private static final String PROJECT = "io.github.guestmemfd.";

  private final List<String> figures = new ArrayList<>();
  private int failed;

  private ExploredSuite() {}

  /**
   * Explores; the exit code is 0 exactly if there is no failure.
   *
   * @param args a regular expression for the names of tests; all without it
   */
  public static void main(String[] args) throws Exception {
    Class<?> announcing = new Announcing().loadClass(ExploredSuite.class.getName());
    try {
      announcing
          .getDeclaredMethod("explore", String.class)
          .invoke(null, args.length == 0 ? "" : args[0]);
    } catch (InvocationTargetException e) {
      e.getCause().printStackTrace();
      System.exit(1);
    }
  }

  /** Called in the classes that announce; ends the process, in which threads may be stuck. */
  public static void explore(String pattern) throws Exception {
    ExploredSuite suite = new ExploredSuite();
    long begun = System.nanoTime();
    Pattern wanted = Pattern.compile(pattern);
    int tests = 0;
    for (String name : new TreeSet<>(TestList.tests())) {
      if (wanted.matcher(name).find()) {
        suite.explore(name.substring(PROJECT.length()), new ExploredTest(TestList.getInfo(name)));
        tests++;
      }
    }
    System.out.printf(
        "%n%d tests explored in %d s, %d failed%n",
        tests, TimeUnit.NANOSECONDS.toSeconds(System.nanoTime() - begun), suite.failed);
    suite.write();
    System.exit(suite.failed == 0 && tests > 0 ? 0 : 1);
  }

  private void explore(String name, ExploredTest test) {
    boolean twin = name.contains(".Twin");
    long begun = System.nanoTime();
    ExploredTest.Found found = test.explore(twin ? TWIN : SHIPPED);
    String reason = CANNOT.get(name);
    String wrong = wrong(found, twin, reason);
    String verdict =
        !found.outcome().isEmpty()
            ? "found"
            : !found.complete() ? "given up" : reason == null ? "complete" : reason;
    failed += wrong.isEmpty() ? 0 : 1;
    System.out.printf(
        "%-62s %,10d %6d ms  %s%n",
        name,
        found.orders(),
        TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - begun),
        wrong.isEmpty() ? verdict : "FAILED: " + wrong);
    figures.add("`" + name.replaceFirst("^[a-z.]*", "") + "`\t" + found.orders() + "\t" + verdict);
  }

  private static String wrong(ExploredTest.Found found, boolean twin, String reason) {
    if (!found.problem().isEmpty()) {
      return found.problem();
    }
    if (!found.outcome().isEmpty()) {
      boolean wanted = twin && reason == null && found.expect() == Expect.ACCEPTABLE_INTERESTING;
      return wanted ? "" : found.expect() + ": " + found.outcome();
    }
    if (!twin) {
      return "";
    }
    if (reason == null) {
      return "the broken outcome was not found; complete: " + found.complete();
    }
    return found.complete() ? "" : "not all orders were run";
  }

  private void write() throws IOException {
    String directory = System.getProperty("verification", "");
    if (!directory.isEmpty()) {
      Files.createDirectories(Path.of(directory));
      Files.write(Path.of(directory, "twins.tsv"), figures);
    }
  }
}
