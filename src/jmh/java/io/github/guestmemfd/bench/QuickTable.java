package io.github.guestmemfd.bench;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
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
 * The targets of the library's speed beside what this machine does, in about five minutes: {@code
 * mvn -Pjmh-quick verify}. Each row is a ratio of two rows of one JMH run, or a number of its own;
 * its range goes from the best to the worst that the iterations of the two allow.
 */
public final class QuickTable {
  /** 64 GiB, in pages. */
  private static final String HUGE = "16777216";

  /** What JMH measured of a row: the scores of all iterations. */
  private record Scores(double median, double lowest, double highest) {

    static Scores of(RunResult result) {
      double[] all =
          result.getBenchmarkResults().stream()
              .flatMap(fork -> fork.getIterationResults().stream())
              .mapToDouble(iteration -> iteration.getPrimaryResult().getScore())
              .sorted()
              .toArray();
      return new Scores(all[all.length / 2], all[0], all[all.length - 1]);
    }

    Scores per(Scores other) {
      return new Scores(median / other.median, lowest / other.highest, highest / other.lowest);
    }

    Scores minus(Scores other) {
      return new Scores(median - other.median, lowest - other.highest, highest - other.lowest);
    }

    Scores dividedBy(double number) {
      return new Scores(median / number, lowest / number, highest / number);
    }
  }

  /** A line of the table. */
  private record Line(String what, String unit, boolean atMost, double target, Scores found) {

    private String verdict() {
      double best = atMost ? found.lowest : found.highest;
      double worst = atMost ? found.highest : found.lowest;
      if (atMost ? worst <= target : worst >= target) {
        return "reached";
      }
      return (atMost ? best > target : best < target) ? "falls short" : "within the spread";
    }

    String text() {
      return String.format(
          Locale.ROOT,
          "| %-58s | %s %-5s | %7.2f | %7.2f to %7.2f | %-17s |",
          what + (unit.isEmpty() ? "" : ", " + unit),
          atMost ? "<=" : ">=",
          number(target),
          found.median,
          found.lowest,
          found.highest,
          verdict());
    }

    private static String number(double value) {
      return value == Math.rint(value) ? String.valueOf((long) value) : String.valueOf(value);
    }
  }

  private final Map<String, Scores> scores = new TreeMap<>();
  private final Map<String, Double> garbage = new TreeMap<>();

  private QuickTable() {}

  /**
   * Runs the benchmarks and prints the table.
   *
   * @param args {@code -f N} for N forks of each, 2 by default; anything else is an error
   * @throws RunnerException if JMH cannot run them
   */
  public static void main(String[] args) throws RunnerException {
    int forks = args.length == 2 && args[0].equals("-f") ? Integer.parseInt(args[1]) : 2;
    if (args.length != 0 && args.length != 2) {
      throw new IllegalArgumentException("expected nothing or -f N, actual " + List.of(args));
    }
    QuickTable table = new QuickTable();
    table.run(options(forks, "GrabPutBenchmark"));
    table.run(options(forks, "GrabPutBenchmark.(grabPut|twoAtomics)").param("pages", HUGE));
    table.run(options(forks, "TwoThreadsBenchmark"));
    table.run(options(forks, "MappingBenchmark"));
    table.run(options(forks, "VcpuBenchmark"));
    table.run(options(forks, "ReadBenchmark").param("pages", "1"));
    table.run(options(forks, "ConvertBenchmark.presentPages"));
    table.run(
        options(forks, "ConvertBenchmark.(presentPages|mappedPages|populateAndDrop)")
            .param("pages", "512")
            .param("mappings", "1", "64"));
    table.print();
  }

  private void run(ChainedOptionsBuilder options) throws RunnerException {
    read(new Runner(options.build()).run());
  }

  private static ChainedOptionsBuilder options(int forks, String benchmarks) {
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

  private void read(Collection<RunResult> results) {
    for (RunResult result : results) {
      String name = result.getParams().getBenchmark();
      name = name.substring(name.lastIndexOf('.', name.lastIndexOf('.') - 1) + 1);
      name = name.replace("Benchmark", "");
      StringBuilder key = new StringBuilder(name);
      for (String param : result.getParams().getParamsKeys()) {
        key.append(' ').append(result.getParams().getParam(param));
      }
      scores.put(key.toString(), Scores.of(result));
      var allocated = result.getSecondaryResults().get("gc.alloc.rate.norm");
      garbage.put(key.toString(), allocated.getScore());
    }
  }

  private Scores of(String row) {
    Scores found = scores.get(row);
    if (found == null) {
      throw new IllegalStateException("no row " + row + " among " + scores.keySet());
    }
    return found;
  }

  private Scores ratio(String row, String beside) {
    return of(row).per(of(beside));
  }

  private Scores bytes(String row) {
    double whole =
        Math.rint(garbage.getOrDefault(row, Double.NaN)); // the profiler's own come to less
    return new Scores(whole, whole, whole);
  }

  private List<Line> lines() {
    boolean is17 = Runtime.version().feature() < 25;
    List<Line> lines = new ArrayList<>();
    String grab = "grab and put, ";
    lines.add(
        atMost(
            grab + "1 GiB, beside two atomic adds",
            is17 ? 1.5 : 1.6,
            ratio("GrabPut.grabPut 262144", "GrabPut.twoAtomics 262144")));
    lines.add(
        atMost(
            grab + "64 pages, beside two atomic adds",
            1.5,
            ratio("GrabPut.grabPut 64", "GrabPut.twoAtomics 64")));
    lines.add(
        atMost(
            grab + "64 GiB, beside two atomic adds",
            2.2,
            ratio("GrabPut.grabPut " + HUGE, "GrabPut.twoAtomics " + HUGE)));
    lines.add(
        atLeast(
            "ConcurrentHashMap beside grab and put, 1 GiB",
            5,
            ratio("GrabPut.concurrentHashMap 262144", "GrabPut.grabPut 262144")));
    lines.add(
        atLeast(
            "NonBlockingHashMapLong beside grab and put, 1 GiB",
            2,
            ratio("GrabPut.nonBlockingHashMapLong 262144", "GrabPut.grabPut 262144")));
    lines.add(
        atLeast(
            "ConcurrentHashMap beside grab and put, 64 pages",
            1,
            ratio("GrabPut.concurrentHashMap 64", "GrabPut.grabPut 64")));
    lines.add(
        atLeast(
            "NonBlockingHashMapLong beside grab and put, 64 pages",
            1,
            ratio("GrabPut.nonBlockingHashMapLong 64", "GrabPut.grabPut 64")));
    lines.add(
        atMost(
            "8-byte read through a mapping beside raw, 1 GiB",
            2,
            ratio("Mapping.readMapped 262144", "Mapping.readRaw 262144")));
    lines.add(
        atMost(
            "8-byte read through a mapping beside raw, 64 pages",
            2.6,
            ratio("Mapping.readMapped 64", "Mapping.readRaw 64")));
    lines.add(
        atMost(
            "8-byte write through a mapping beside raw, 64 pages",
            3,
            ratio("Mapping.writeMapped 64", "Mapping.writeRaw 64")));
    lines.add(
        atMost(
            "8-byte write beside a raw one and a full fence, 1 GiB",
            2,
            ratio("Mapping.writeMapped 262144", "Mapping.writeRawAndFence 262144")));
    lines.add(
        atLeast(
            "speed of writes in a window beside raw, 256 KiB",
            0.9,
            ratio("Mapping.writesRaw 64", "Mapping.writesInWindow 64")));
    lines.add(
        atLeast(
            "speed of a 1 MiB copy beside raw, 1 GiB",
            1,
            ratio("Mapping.copyRaw 262144", "Mapping.copyMapped 262144")));
    lines.add(
        atMost(
            "8-byte read of a vCPU beside raw, 64 pages",
            2.5,
            ratio("Vcpu.readMapped 64", "Vcpu.readRaw 64")));
    lines.add(
        atMost(
            "8-byte read of a vCPU beside raw, 512 MiB",
            3,
            ratio("Vcpu.readMapped 131072", "Vcpu.readRaw 131072")));
    lines.add(
        atMost(
            "fault of a vCPU on a present page, beside grab and put",
            5,
            ratio("Vcpu.faults 64", "GrabPut.grabPut 64")));
    lines.add(
        atLeast(
            "grab, read and put beside tryRead, one page",
            2,
            ratio("Read.underAReference 1", "Read.withoutReference 1")));
    lines.add(
        atLeast(
            "the same by two threads",
            2,
            ratio("Read.underAReferenceByTwo 1", "Read.withoutReferenceByTwo 1")));
    for (int pages : new int[] {1, 512, 262_144}) {
      lines.add(
          new Line(
              "conversion of " + pages + " present pages, a page and way",
              "ns",
              true,
              8,
              of("Convert.presentPages 0 " + pages).dividedBy(2.0 * pages)));
    }
    for (int mappings : new int[] {1, 64}) {
      lines.add(
          new Line(
              "unmapping in a conversion, an entry of " + mappings + " mappings",
              "ns",
              true,
              6,
              of("Convert.mappedPages " + mappings + " 512")
                  .minus(of("Convert.populateAndDrop " + mappings + " 512"))
                  .minus(of("Convert.presentPages " + mappings + " 512"))
                  .dividedBy(512.0 * mappings)));
    }
    lines.add(
        atMost(
            "conversion with 64 mappings that map nothing, beside none",
            1.1,
            ratio("Convert.presentPages 64 512", "Convert.presentPages 0 512")));
    lines.add(new Line("garbage of grab and put", "bytes", true, 0, bytes("GrabPut.grabPut 64")));
    lines.add(
        new Line("garbage of grab and close", "bytes", true, 0, bytes("GrabPut.grabClose 64")));
    lines.add(
        new Line(
            "garbage of a conversion there and back",
            "bytes",
            true,
            0,
            bytes("Convert.presentPages 0 512")));
    lines.add(
        atLeast(
            "two threads on neighbours, beside one thread",
            1.9,
            ratio("TwoThreads.neighbours", "TwoThreads.oneThread")));
    lines.add(
        atLeast(
            "two threads on one page, beside one thread",
            0.6,
            ratio("TwoThreads.onePage", "TwoThreads.oneThread")));
    return lines;
  }

  private static Line atMost(String what, double target, Scores found) {
    return new Line(what, "", true, target, found);
  }

  private static Line atLeast(String what, double target, Scores found) {
    return new Line(what, "", false, target, found);
  }

  private void print() {
    System.out.println();
    System.out.println(
        "JDK "
            + Runtime.version()
            + ", "
            + Runtime.getRuntime().availableProcessors()
            + " processors");
    System.out.println();
    System.out.println("| what | target | median | lowest to highest | |");
    System.out.println("|---|---|---|---|---|");
    for (Line line : lines()) {
      System.out.println(line.text());
    }
  }
}
