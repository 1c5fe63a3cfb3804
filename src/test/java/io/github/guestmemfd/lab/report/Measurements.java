package io.github.guestmemfd.lab.report;

import io.github.guestmemfd.conversion.ConversionProtocol;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.HdrHistogram.Histogram;

/** Made-up measurements that look like real ones; the same for the same seed. */
final class Measurements {

  static final List<String> WORKLOADS =
      List.of("balloon", "bounce-buffer", "boot", "dma", "fault-storm", "walker");
  static final Environment SOMEWHERE =
      new Environment(Instant.parse("2026-01-02T03:04:05Z"), "A VM 17.0.1", "Linux 6.18 amd64", 8);

  private static final long SIZE = 64L << 20;
  private static final int ROWS = 64;
  private static final int COLUMNS = 120;

  private Measurements() {}

  /** All protocols and workloads with 1, 2 and 4 vCPUs, and two more policies for the last. */
  static List<Measurement> sample(long seed) {
    Random random = new Random(seed);
    List<Measurement> all = new ArrayList<>();
    for (ConversionProtocol protocol : ConversionProtocol.all()) {
      for (String workload : WORKLOADS) {
        for (int vcpus : new int[] {1, 2, 4}) {
          all.add(made(protocol, "on-fault", workload, vcpus, seed, random));
        }
      }
    }
    for (String policy : List.of("eager", "batched")) {
      for (String workload : WORKLOADS) {
        all.add(made(ConversionProtocol.atomicPair(), policy, workload, 4, seed, random));
      }
    }
    return all;
  }

  /** One run of which nothing matters but what is given. */
  static Measurement run(
      String protocol, boolean sound, String workload, int vcpus, long leaks, long framesLeaked) {
    return new Measurement(
        protocol,
        sound,
        "on-fault",
        "keep",
        workload,
        vcpus,
        2,
        42,
        SIZE,
        1000,
        900,
        20,
        30,
        leaks,
        leaks > 0 ? "host read 0x2a at offset 8192 after its conversion" : "",
        0,
        7,
        11,
        12,
        13,
        5000,
        600,
        latency(1000, 2000, 3000),
        framesLeaked,
        new PageMap(SIZE, List.of()));
  }

  /** The same run with other latencies. */
  static Measurement with(Measurement m, Histogram latency) {
    return with(m, m.policy(), m.corruptions(), latency, m.map());
  }

  /** The same run with another map. */
  static Measurement with(Measurement m, PageMap map) {
    return with(m, m.policy(), m.corruptions(), m.latency(), map);
  }

  /** The same run with another policy. */
  static Measurement withPolicy(String policy, Measurement m) {
    return with(m, policy, m.corruptions(), m.latency(), m.map());
  }

  /** The same run with content changed once. */
  static Measurement corrupted(Measurement m) {
    return with(m, m.policy(), 1, m.latency(), m.map());
  }

  private static Measurement with(
      Measurement m, String policy, long corruptions, Histogram latency, PageMap map) {
    return new Measurement(
        m.protocol(),
        m.sound(),
        policy,
        m.onShared(),
        m.workload(),
        m.vcpus(),
        m.seconds(),
        m.seed(),
        m.size(),
        m.conversionsToInaccessible(),
        m.conversionsToAccessible(),
        m.refusedWithUnsafeHolder(),
        m.refusedWithoutUnsafeHolder(),
        m.leaks(),
        m.firstLeak(),
        corruptions,
        m.retries(),
        m.guestFaults(),
        m.hostFaults(),
        m.sigbus(),
        m.guestOps(),
        m.hostOps(),
        latency,
        m.framesLeaked(),
        map);
  }

  /** A histogram with these values, in nanoseconds. */
  static Histogram latency(long... nanos) {
    Histogram histogram = new Histogram(3);
    for (long n : nanos) {
      histogram.recordValue(n);
    }
    return histogram;
  }

  private static Measurement made(
      ConversionProtocol protocol,
      String policy,
      String workload,
      int vcpus,
      long seed,
      Random random) {
    int index = ConversionProtocol.all().indexOf(protocol);
    Histogram latency = new Histogram(3);
    int conversions = 3000 + random.nextInt(9000);
    boolean waits = protocol.waitsWithFolioLock();
    for (int i = 0; i < conversions; i++) {
      double us = 1.5 * (1 + index * 0.2) * Math.exp(random.nextGaussian() * 0.6);
      double luck = random.nextDouble();
      if (luck < 0.004 * vcpus * (1 + index % 3)) {
        us *= 20 + 60 * random.nextDouble();
      }
      if (waits && luck > 0.98) {
        us = 10_000 + 400 * random.nextDouble();
      }
      latency.recordValue((long) (us * 1000));
    }
    double busy = vcpus == 1 ? 0 : index == 6 ? 0.3 * vcpus / 4 : index == 1 ? 0.01 * vcpus : 0;
    long falseBusy = (long) (conversions * busy / (1 - busy) * (0.7 + 0.6 * random.nextDouble()));
    long leaks =
        protocol.isSound() || workload.equals("boot") ? 0 : random.nextInt(500) * (long) vcpus;
    long guestOps = (long) (2e6 * Math.pow(vcpus, 0.7) * (index == 3 ? 0.4 : 0.9 + 0.02 * index));
    return new Measurement(
        protocol.id(),
        protocol.isSound(),
        policy,
        "keep",
        workload,
        vcpus,
        2.0,
        seed,
        SIZE,
        conversions * 4L,
        conversions * 4L - random.nextInt(100),
        random.nextInt(900),
        falseBusy,
        leaks,
        leaks > 0 ? "the host read 0x5ec2e7 at offset 0x3f000, which was private since 1.2 ms" : "",
        0,
        random.nextInt(5000),
        random.nextInt(200_000),
        random.nextInt(90_000),
        random.nextInt(40_000),
        guestOps + random.nextInt(200_000),
        guestOps / 3,
        latency,
        0,
        map(workload, random));
  }

  /** Memory that is filled from below; stripes of it turn private and shared again. */
  private static PageMap map(String workload, Random random) {
    List<PageMap.Column> columns = new ArrayList<>();
    int filled = workload.equals("boot") ? 4 : ROWS * 3 / 4;
    boolean[] isPrivate = new boolean[ROWS];
    for (int x = 0; x < COLUMNS; x++) {
      filled = Math.min(ROWS, filled + random.nextInt(2));
      int at = random.nextInt(ROWS);
      for (int y = at; y < Math.min(ROWS, at + 8); y++) {
        isPrivate[y] = (x / 6 + at / 16) % 3 != 0;
      }
      List<PageMap.State> rows = new ArrayList<>();
      for (int y = 0; y < ROWS; y++) {
        rows.add(
            y >= filled
                ? PageMap.State.HOLE
                : isPrivate[y]
                    ? PageMap.State.INACCESSIBLE
                    : random.nextInt(20) == 0 ? PageMap.State.BUSY : PageMap.State.ACCESSIBLE);
      }
      columns.add(new PageMap.Column(x * 2000.0 / COLUMNS, rows));
    }
    return new PageMap(SIZE / ROWS, columns);
  }

  /**
   * Writes a report of made-up measurements, to look at.
   *
   * @param args the file
   */
  public static void main(String[] args) throws IOException {
    List<Measurement> runs = sample(42);
    try (PrintWriter out =
        new PrintWriter(Files.newBufferedWriter(Path.of(args[0]), StandardCharsets.UTF_8))) {
      HtmlReport.write(runs, SOMEWHERE, out);
    }
    TableReport.print(
        runs, args.length > 1, new PrintWriter(System.out, true, StandardCharsets.UTF_8));
  }
}
