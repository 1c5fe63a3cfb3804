package io.github.guestmemfd;

import java.io.File;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.SortedSet;
import java.util.StringJoiner;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.openjdk.jcstress.JCStress;
import org.openjdk.jcstress.Options;
import org.openjdk.jcstress.annotations.Expect;
import org.openjdk.jcstress.infra.Status;
import org.openjdk.jcstress.infra.collectors.DiskReadCollector;
import org.openjdk.jcstress.infra.collectors.InProcessCollector;
import org.openjdk.jcstress.infra.collectors.TestResult;
import org.openjdk.jcstress.infra.grading.GradingResult;
import org.openjdk.jcstress.infra.runners.TestList;
import org.openjdk.jcstress.vm.VMSupport;

/**
 * Runs all jcstress tests and judges them by the result files, test by test.
 *
 * <p>jcstress itself exits with 0 when it has skipped a test, and knows nothing of twins. Here it
 * is a failure if
 *
 * <ul>
 *   <li>a shipped test shows a forbidden outcome;
 *   <li>a test ends in an error or a time-out, or a fork of it fails;
 *   <li>a twin does <i>not</i> show its broken outcome, which stands as interesting, not even when
 *       it is run once more for longer;
 *   <li>a test class was not run, or has no samples.
 * </ul>
 *
 * <p>The shipped tests run in sanity mode, on every JVM configuration that matters here; then
 * everything, shipped tests and twins alike, runs longer on C2 alone. That the shipped tests pass
 * in a mode in which all twins fail is what makes their passing worth something.
 *
 * <pre>{@code java -cp target/guest-memfd-jcstress.jar io.github.guestmemfd.Suite}</pre>
 */
public final class Suite {
  /** No processor affinity and one compilation mode for both actors: fewer forks, longer ones. */
  private static final String[] COMMON = {"-af", "NONE", "-sc", "false", "-f", "1", "-fsm", "1"};

  private static final String[] SANITY = {"-m", "sanity", "-t", ""};

  /**
   * The tests that wait, which have one actor; sanity mode gives them no time, and so no samples.
   *
   * <p>A lost wake-up takes jcstress 30 seconds to notice, of which it spends none on a processor.
   */
  private static final String[] WAITS = {
    "-m", "quick", "-iters", "1", "-time", "700", "-jvmArgs", "-XX:-TieredCompilation", "-t", ""
  };

  private static final String[] DUEL = {
    "-m",
    "quick",
    "-iters",
    "1",
    "-time",
    "800",
    "-strideCount",
    "10",
    "-jvmArgs",
    "-XX:-TieredCompilation",
    "-t",
    ""
  };

  /** The duel's mode for twins that were missed there: a busy machine gives too few samples. */
  private static final String[] AGAIN = DUEL.clone();

  static {
    AGAIN[Arrays.asList(AGAIN).indexOf("-time") + 1] = "10000";
  }

  /**
   * jcstress, less the configurations with biased locking, which is about monitors: nothing here
   * locks one, and JDK 17 itself does without by default.
   */
  static final class JCStressRun extends JCStress {
    private JCStressRun(Options options) {
      super(options);
    }

    /** Called after jcstress has found out which configurations there are. */
    @Override
    public SortedSet<String> getTests() {
      VMSupport.getAvailableVMConfigs()
          .removeIf(config -> config.args().contains("-XX:+UseBiasedLocking"));
      return super.getTests();
    }

    public static void main(String[] args) throws Exception {
      Options options = new Options(args);
      if (!options.parse()) {
        System.exit(1);
      }
      new JCStressRun(options).run();
    }
  }

  /** What was seen of one test in all runs and forks. */
  private static final class Seen {
    int forks;
    final Map<Expect, Long> samples = new EnumMap<>(Expect.class);
    final List<String> problems = new ArrayList<>();

    long of(Expect expect) {
      return samples.getOrDefault(expect, 0L);
    }

    void add(TestResult result) {
      forks++;
      if (result.status() != Status.NORMAL) {
        problems.add(result.status() + " " + result.getMessages());
      }
      for (GradingResult grading : result.grading().gradingResults.values()) {
        samples.merge(grading.expect, grading.count, Long::sum);
        if (grading.expect == Expect.FORBIDDEN && grading.count > 0) {
          problems.add("forbidden: " + grading.id + " x " + grading.count);
        }
      }
    }
  }

  private final long begin = System.nanoTime();
  private final Map<String, Seen> tests = new TreeMap<>();

  private Suite() {}

  /**
   * Runs the suite; the exit code is 0 exactly if there is no failure.
   *
   * @param args passed on to jcstress in both runs, instead of the suite's own of the same name;
   *     not {@code -t}
   */
  public static void main(String[] args) throws Exception {
    System.exit(new Suite().run(args) ? 0 : 1);
  }

  private boolean run(String[] args) throws Exception {
    Collection<String> all = TestList.tests();
    all.forEach(name -> tests.put(name, new Seen()));
    String waiting =
        all.stream()
            .filter(name -> TestList.getInfo(name).threads() == 1)
            .collect(Collectors.joining("|"));
    WAITS[WAITS.length - 1] = "^(" + waiting + ")$";
    SANITY[SANITY.length - 1] = "^(?!(" + waiting + ")$)(?!.*\\.Twin).*$";
    DUEL[DUEL.length - 1] = "^(?!(" + waiting + ")$).*$";

    Run sanity = new Run("sanity", SANITY, args);
    Run waits = new Run("waits", WAITS, args); // at the same time: it sleeps
    Pattern quick = Pattern.compile(SANITY[SANITY.length - 1]);
    int shipped = (int) all.stream().filter(quick.asPredicate()).count();
    boolean complete = check(sanity.name, shipped, executed(sanity));
    int ran = executed(new Run("duel", DUEL, args));
    ran += executed(waits);
    complete &= check("waits and duel", all.size(), ran);
    String missed =
        tests.entrySet().stream()
            .filter(test -> isMissed(test.getKey(), test.getValue()))
            .map(Map.Entry::getKey)
            .collect(Collectors.joining("|"));
    if (!missed.isEmpty()) {
      AGAIN[AGAIN.length - 1] = "^(" + missed + ")$";
      executed(new Run("again", AGAIN, args));
    }
    return print() && complete;
  }

  /** Whether a twin has not shown its broken outcome, though nothing else is wrong with it. */
  private static boolean isMissed(String name, Seen seen) {
    return isTwin(name) && seen.of(Expect.ACCEPTABLE_INTERESTING) == 0 && seen.problems.isEmpty();
  }

  private static boolean check(String run, int expected, int ran) {
    if (ran != expected) {
      System.out.println(run + ": expected " + expected + " tests executed, actual " + ran);
    }
    return ran == expected;
  }

  /**
   * One run of jcstress: in a process of its own, since jcstress remembers the JVM configurations
   * of an earlier run; and in a directory of its own, in which it leaves one file of results.
   */
  private static final class Run {
    final String name;
    final Path directory;
    final Process process;

    Run(String name, String[] mode, String[] args) throws IOException {
      this.name = name;
      this.directory = Files.createTempDirectory(Path.of("").toAbsolutePath(), name + "-");
      List<String> line =
          new ArrayList<>(List.of(java(), "-cp", classPath(), JCStressRun.class.getName()));
      line.addAll(List.of(args));
      for (String[] own : new String[][] {COMMON, mode}) {
        for (int i = 0; i < own.length; i += 2) {
          if (!line.contains(own[i])) { // jcstress takes no option twice
            line.add(own[i]);
            line.add(own[i + 1]);
          }
        }
      }
      Path log = directory.resolve("log");
      System.out.println("jcstress, " + name + ": " + log);
      this.process =
          new ProcessBuilder(line)
              .directory(directory.toFile())
              .redirectErrorStream(true)
              .redirectOutput(log.toFile())
              .start();
    }
  }

  /** Waits for a run and answers how many different tests it has executed. */
  private int executed(Run run) throws Exception {
    // Its exit code says less than the results, by which it is judged below.
    System.out.println("jcstress, " + run.name + ": exit code " + run.process.waitFor());
    TreeSet<String> names = new TreeSet<>();
    for (TestResult result : results(run.directory)) {
      tests.computeIfAbsent(result.getName(), test -> new Seen()).add(result);
      if (result.getTotalCount() > 0) {
        names.add(result.getName());
      }
    }
    return names.size();
  }

  private static Collection<TestResult> results(Path directory) throws Exception {
    InProcessCollector collector = new InProcessCollector();
    try (DirectoryStream<Path> files = Files.newDirectoryStream(directory, "*.bin.gz")) {
      for (Path file : files) {
        DiskReadCollector reader = new DiskReadCollector(file.toString(), collector);
        reader.dump();
        reader.close();
      }
    }
    return collector.getTestResults();
  }

  private static String java() {
    return Path.of(System.getProperty("java.home"), "bin", "java").toString();
  }

  /** The class path of this process, for one that runs elsewhere. */
  private static String classPath() {
    StringJoiner path = new StringJoiner(File.pathSeparator);
    for (String entry : System.getProperty("java.class.path").split(File.pathSeparator, -1)) {
      path.add(Path.of(entry).toAbsolutePath().toString());
    }
    return path.toString();
  }

  /** The directory for the figures of docs/verification.md; without it none are written. */
  private static final String VERIFICATION = System.getProperty("verification", "");

  private final List<String> figures = new ArrayList<>();

  private void write(String file, List<String> lines) throws IOException {
    if (!VERIFICATION.isEmpty()) {
      Files.createDirectories(Path.of(VERIFICATION));
      Files.write(Path.of(VERIFICATION, file), lines);
    }
  }

  private static boolean isTwin(String name) {
    return name.contains(".Twin");
  }

  /** Prints the closing table; false if a test has failed. */
  private boolean print() throws IOException {
    int failed = 0;
    int twins = 0;
    System.out.printf(
        "%n%-62s %5s %12s %10s %9s%n", "TEST", "FORKS", "SAMPLES", "BROKEN", "VERDICT");
    for (Map.Entry<String, Seen> entry : tests.entrySet()) {
      String name = entry.getKey();
      Seen seen = entry.getValue();
      boolean twin = isTwin(name);
      long broken = seen.of(Expect.ACCEPTABLE_INTERESTING) + seen.of(Expect.FORBIDDEN);
      long samples = broken + seen.of(Expect.ACCEPTABLE);
      if (samples == 0) {
        seen.problems.add("not executed");
      } else if (twin && seen.of(Expect.ACCEPTABLE_INTERESTING) == 0) {
        seen.problems.add("the broken outcome was not seen");
      }
      twins += twin ? 1 : 0;
      failed += seen.problems.isEmpty() ? 0 : 1;
      System.out.printf(
          "%-62s %5d %,12d %,10d %9s%n",
          name.substring("io.github.guestmemfd.".length()),
          seen.forks,
          samples,
          broken,
          seen.problems.isEmpty() ? twin ? "caught" : "ok" : "FAILED");
      seen.problems.forEach(problem -> System.out.println("    " + problem));
      String inPackage = name.replaceFirst("^[a-z.]*", "");
      figures.add("`" + inPackage + "`\t" + samples + "\t" + broken);
    }
    System.out.printf(
        "%n%d tests: %d of shipped code, %d broken twins; %d failed%n",
        tests.size(), tests.size() - twins, twins, failed);
    write("jcstress.tsv", figures);
    write(
        "suite.tsv",
        List.of(
            System.getProperty("java.runtime.version")
                + ", "
                + System.getProperty("os.name")
                + " "
                + System.getProperty("os.arch")
                + ", "
                + Runtime.getRuntime().availableProcessors()
                + " processors\t"
                + tests.size()
                + "\t"
                + (tests.size() - twins)
                + "\t"
                + twins
                + "\t"
                + failed
                + "\t"
                + Duration.ofNanos(System.nanoTime() - begin).toMinutes()));
    return failed == 0;
  }
}
