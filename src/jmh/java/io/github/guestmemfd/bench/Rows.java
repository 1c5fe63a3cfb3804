package io.github.guestmemfd.bench;

import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.openjdk.jmh.profile.GCProfiler;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.ChainedOptionsBuilder;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;

/**
 * Runs benchmarks and keeps what they came to. A row is named by its class without "Benchmark", its
 * method, and the values of its parameters in the order of their names: {@code GrabPut.grabPut 64}.
 */
final class Rows {
  private final Map<String, Scores> scores = new TreeMap<>();
  private final Map<String, Double> garbage = new TreeMap<>();

  /** The number of forks that the arguments of a main method ask for. */
  static int forks(String[] args) {
    if (args.length != 0 && !(args.length == 2 && args[0].equals("-f"))) {
      throw new IllegalArgumentException("expected nothing or -f N, actual " + List.of(args));
    }
    return args.length == 0 ? 2 : Integer.parseInt(args[1]);
  }

  /** Short runs of the benchmarks of this package whose names match. */
  static ChainedOptionsBuilder options(int forks, String benchmarks) {
    return new OptionsBuilder()
        .include("io.github.guestmemfd.bench." + benchmarks)
        .forks(forks)
        .warmupIterations(3)
        .warmupTime(TimeValue.milliseconds(300))
        .measurementIterations(4)
        .measurementTime(TimeValue.milliseconds(300))
        .addProfiler(GCProfiler.class)
        .shouldFailOnError(true);
  }

  void run(ChainedOptionsBuilder options) throws RunnerException {
    for (RunResult result : new Runner(options.build()).run()) {
      String name = result.getParams().getBenchmark();
      name = name.substring(name.lastIndexOf('.', name.lastIndexOf('.') - 1) + 1);
      StringBuilder key = new StringBuilder(name.replace("Benchmark", ""));
      for (String param : result.getParams().getParamsKeys()) {
        key.append(' ').append(result.getParams().getParam(param));
      }
      scores.put(key.toString(), Scores.of(result));
      var allocated = result.getSecondaryResults().get("gc.alloc.rate.norm");
      garbage.put(key.toString(), allocated.getScore());
    }
  }

  Scores of(String row) {
    Scores found = scores.get(row);
    if (found == null) {
      throw new IllegalStateException("no row " + row + " among " + scores.keySet());
    }
    return found;
  }

  Scores ratio(String row, String beside) {
    return of(row).per(of(beside));
  }

  /** Bytes of garbage of an operation. */
  Scores garbage(String row) {
    double whole =
        Math.rint(garbage.getOrDefault(row, Double.NaN)); // the profiler's own come to less
    return new Scores(whole, whole, whole);
  }

  /** The JVM and the machine, as the head of a table. */
  static String where() {
    return "JDK "
        + Runtime.version()
        + ", "
        + Runtime.getRuntime().availableProcessors()
        + " processors";
  }
}
