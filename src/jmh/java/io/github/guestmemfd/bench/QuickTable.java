package io.github.guestmemfd.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.openjdk.jmh.runner.RunnerException;

/**
 * The targets of the library's speed beside what this machine does, in about five minutes: {@code
 * mvn -Pjmh-quick verify}. Each row is a ratio of two rows of one JMH run, or a number of its own;
 * its range goes from the best to the worst that the iterations of the two allow.
 */
public final class QuickTable {
  /** 64 GiB, in pages. */
  private static final String HUGE = "16777216";

  /** A line of the table. */
  private record Line(String what, String unit, boolean atMost, double target, Scores found) {

    private String verdict() {
      double best = atMost ? found.lowest() : found.highest();
      double worst = atMost ? found.highest() : found.lowest();
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
          found.median(),
          found.lowest(),
          found.highest(),
          verdict());
    }

    private static String number(double value) {
      return value == Math.rint(value) ? String.valueOf((long) value) : String.valueOf(value);
    }
  }

  private final Rows rows = new Rows();

  private QuickTable() {}

  /**
   * Runs the benchmarks and prints the table.
   *
   * @param args {@code -f N} for N forks of each, 2 by default; anything else is an error
   * @throws RunnerException if JMH cannot run them
   */
  public static void main(String[] args) throws RunnerException {
    int forks = Rows.forks(args);
    QuickTable table = new QuickTable();
    table.rows.run(Rows.options(forks, "GrabPutBenchmark"));
    table.rows.run(
        Rows.options(forks, "GrabPutBenchmark.(grabPut|twoAtomics)").param("pages", HUGE));
    table.rows.run(Rows.options(forks, "TwoThreadsBenchmark"));
    table.rows.run(Rows.options(forks, "MappingBenchmark"));
    table.rows.run(Rows.options(forks, "VcpuBenchmark"));
    table.rows.run(Rows.options(forks, "ReadBenchmark").param("pages", "1"));
    table.rows.run(Rows.options(forks, "ConvertBenchmark.presentPages"));
    table.rows.run(
        Rows.options(forks, "ConvertBenchmark.(presentPages|mappedPages|populateAndDrop)")
            .param("pages", "512")
            .param("mappings", "1", "64"));
    table.print();
  }

  private List<Line> lines() {
    boolean is17 = Runtime.version().feature() < 25;
    List<Line> lines = new ArrayList<>();
    String grab = "grab and put, ";
    lines.add(
        atMost(
            grab + "1 GiB, beside two atomic adds",
            is17 ? 1.5 : 1.6,
            rows.ratio("GrabPut.grabPut 262144", "GrabPut.twoAtomics 262144")));
    lines.add(
        atMost(
            grab + "64 pages, beside two atomic adds",
            1.5,
            rows.ratio("GrabPut.grabPut 64", "GrabPut.twoAtomics 64")));
    lines.add(
        atMost(
            grab + "64 GiB, beside two atomic adds",
            2.2,
            rows.ratio("GrabPut.grabPut " + HUGE, "GrabPut.twoAtomics " + HUGE)));
    lines.add(
        atLeast(
            "ConcurrentHashMap beside grab and put, 1 GiB",
            5,
            rows.ratio("GrabPut.concurrentHashMap 262144", "GrabPut.grabPut 262144")));
    lines.add(
        atLeast(
            "NonBlockingHashMapLong beside grab and put, 1 GiB",
            2,
            rows.ratio("GrabPut.nonBlockingHashMapLong 262144", "GrabPut.grabPut 262144")));
    lines.add(
        atLeast(
            "ConcurrentHashMap beside grab and put, 64 pages",
            1,
            rows.ratio("GrabPut.concurrentHashMap 64", "GrabPut.grabPut 64")));
    lines.add(
        atLeast(
            "NonBlockingHashMapLong beside grab and put, 64 pages",
            1,
            rows.ratio("GrabPut.nonBlockingHashMapLong 64", "GrabPut.grabPut 64")));
    lines.add(
        atMost(
            "8-byte read through a mapping beside raw, 1 GiB",
            2,
            rows.ratio("Mapping.readMapped 262144", "Mapping.readRaw 262144")));
    lines.add(
        atMost(
            "8-byte read through a mapping beside raw, 64 pages",
            2.6,
            rows.ratio("Mapping.readMapped 64", "Mapping.readRaw 64")));
    lines.add(
        atMost(
            "8-byte write through a mapping beside raw, 64 pages",
            3,
            rows.ratio("Mapping.writeMapped 64", "Mapping.writeRaw 64")));
    lines.add(
        atMost(
            "8-byte write beside a raw one and a full fence, 1 GiB",
            2,
            rows.ratio("Mapping.writeMapped 262144", "Mapping.writeRawAndFence 262144")));
    lines.add(
        atLeast(
            "speed of writes in a window beside raw, 256 KiB",
            0.9,
            rows.ratio("Mapping.writesRaw 64", "Mapping.writesInWindow 64")));
    lines.add(
        atLeast(
            "speed of a 1 MiB copy beside raw, 1 GiB",
            1,
            rows.ratio("Mapping.copyRaw 262144", "Mapping.copyMapped 262144")));
    lines.add(
        atMost(
            "8-byte read of a vCPU beside raw, 64 pages",
            2.5,
            rows.ratio("Vcpu.readMapped 64", "Vcpu.readRaw 64")));
    lines.add(
        atMost(
            "8-byte read of a vCPU beside raw, 512 MiB",
            3,
            rows.ratio("Vcpu.readMapped 131072", "Vcpu.readRaw 131072")));
    lines.add(
        atMost(
            "fault of a vCPU on a present page, beside grab and put",
            5,
            rows.ratio("Vcpu.faults 64", "GrabPut.grabPut 64")));
    lines.add(
        atLeast(
            "grab, read and put beside tryRead, one page",
            2,
            rows.ratio("Read.underAReference 1", "Read.withoutReference 1")));
    lines.add(
        atLeast(
            "the same by two threads",
            2,
            rows.ratio("Read.underAReferenceByTwo 1", "Read.withoutReferenceByTwo 1")));
    for (int pages : new int[] {1, 512, 262_144}) {
      lines.add(
          new Line(
              "conversion of " + pages + " present pages, a page and way",
              "ns",
              true,
              8,
              rows.of("Convert.presentPages 0 " + pages).dividedBy(2.0 * pages)));
    }
    for (int mappings : new int[] {1, 64}) {
      lines.add(
          new Line(
              "unmapping in a conversion, an entry of " + mappings + " mappings",
              "ns",
              true,
              6,
              rows.of("Convert.mappedPages " + mappings + " 512")
                  .minus(rows.of("Convert.populateAndDrop " + mappings + " 512"))
                  .minus(rows.of("Convert.presentPages " + mappings + " 512"))
                  .dividedBy(512.0 * mappings)));
    }
    lines.add(
        atMost(
            "conversion with 64 mappings that map nothing, beside none",
            1.1,
            rows.ratio("Convert.presentPages 64 512", "Convert.presentPages 0 512")));
    lines.add(
        new Line("garbage of grab and put", "bytes", true, 0, rows.garbage("GrabPut.grabPut 64")));
    lines.add(
        new Line(
            "garbage of grab and close", "bytes", true, 0, rows.garbage("GrabPut.grabClose 64")));
    lines.add(
        new Line(
            "garbage of a conversion there and back",
            "bytes",
            true,
            0,
            rows.garbage("Convert.presentPages 0 512")));
    lines.add(
        atLeast(
            "two threads on neighbours, beside one thread",
            1.9,
            rows.ratio("TwoThreads.neighbours", "TwoThreads.oneThread")));
    lines.add(
        atLeast(
            "two threads on one page, beside one thread",
            0.6,
            rows.ratio("TwoThreads.onePage", "TwoThreads.oneThread")));
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
    System.out.println(Rows.where());
    System.out.println();
    System.out.println("| what | target | median | lowest to highest | |");
    System.out.println("|---|---|---|---|---|");
    for (Line line : lines()) {
      System.out.println(line.text());
    }
  }
}
