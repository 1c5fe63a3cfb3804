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
import java.util.function.Consumer;
import org.HdrHistogram.Histogram;

/** Made-up measurements that look like real ones; the same for the same seed. */
final class Measurements {

  static final List<String> WORKLOADS =
      List.of("balloon", "bounce-buffer", "boot", "dma", "fault-storm", "walker");
  static final Environment SOMEWHERE =
      new Environment(Instant.parse("2026-01-02T03:04:05Z"), "A VM 17.0.1", "Linux 6.18 amd64", 8);

  private static final long SIZE = 64L << 20;
  static final int ROUNDS = 5;
  private static final int ROWS = 64;
  private static final int COLUMNS = 120;

  private Measurements() {}

  /**
   * All protocols and workloads with 1, 2 and 4 vCPUs, and two more policies for the last, in
   * rounds.
   */
  static List<Measurement> sample(long seed) {
    Random random = new Random(seed);
    List<Measurement> all = new ArrayList<>();
    for (ConversionProtocol protocol : ConversionProtocol.all()) {
      for (String workload : WORKLOADS) {
        for (int vcpus : new int[] {1, 2, 4}) {
          addRounds(all, protocol, "on-fault", workload, vcpus, seed, random);
        }
      }
    }
    for (String policy : List.of("eager", "batched")) {
      for (String workload : WORKLOADS) {
        addRounds(all, ConversionProtocol.atomicPair(), policy, workload, 4, seed, random);
      }
    }
    return all;
  }

  /**
   * Two protocols over pages in place and over both kinds of discards with two memories, in rounds;
   * with two memories the first is slower.
   */
  static List<Measurement> monitors() {
    List<Measurement> all = new ArrayList<>();
    List<Monitor> monitors =
        List.of(
            Monitor.IN_PLACE,
            new Monitor(Monitor.Memory.TWO, Monitor.Discard.NEVER, 0),
            new Monitor(Monitor.Memory.TWO, Monitor.Discard.BOTH, 1 << 20));
    for (Monitor monitor : monitors) {
      boolean two = monitor.hasTwoMemories();
      for (String protocol : List.of("lock-only", "atomic-pair")) {
        for (int i = 0; i < ROUNDS; i++) {
          int round = i;
          long slow = two && protocol.equals("lock-only") ? 2 : 1;
          long doubled = monitor.discard() == Monitor.Discard.NEVER ? (4L + round) << 20 : 8 << 10;
          all.add(
              run(
                  b -> {
                    b.protocol = protocol;
                    b.monitor = monitor;
                    b.round = round;
                    b.guestOps = (20_000 + 100 * round) / slow;
                    b.firstLooks = two ? 0 : 1000;
                    b.firstLookMismatches = two ? 0 : 10;
                    b.refusedWithHolder = two ? 0 : 20;
                    b.refusedWithoutHolder = 0;
                    b.refusedToAccessible = monitor.pinnable() > 0 ? 3 : 0;
                    b.doubled = two ? new Doubled(2 * doubled, doubled, 16 << 20) : Doubled.NONE;
                  }));
        }
      }
    }
    return all;
  }

  private static void addRounds(
      List<Measurement> all,
      ConversionProtocol protocol,
      String policy,
      String workload,
      int vcpus,
      long seed,
      Random random) {
    for (int round = 0; round < ROUNDS; round++) {
      all.add(made(protocol, policy, workload, vcpus, seed, random).inRound(round));
    }
  }

  /** A run whose values can be changed one by one; what is not told does not matter. */
  static final class Builder {
    String protocol = "p";
    boolean sound = true;
    String policy = "on-fault";
    Monitor monitor = Monitor.IN_PLACE;
    String workload = "w";
    int vcpus = 1;
    int round;
    double seconds = 2;
    long seed = 42;
    long size = SIZE;
    long toInaccessible = 1000;
    long toAccessible = 900;
    long refusedWithHolder = 20;
    long refusedWithoutHolder = 30;
    long refusedToAccessible;
    long firstLooks = 1000;
    long firstLookMismatches = 10;
    long leaks;
    String firstLeak = "";
    long corruptions;
    long retries = 7;
    long guestFaults = 11;
    long hostFaults = 12;
    long sigbus = 13;
    long guestOps = 5000;
    long hostOps = 600;
    Histogram latency = latency(1000, 2000, 3000);
    Histogram gaveUp = latency();
    Doubled doubled = Doubled.NONE;
    long framesLeaked;
    PageMap map = new PageMap(SIZE, List.of());

    Measurement build() {
      return new Measurement(
          protocol,
          sound,
          policy,
          monitor,
          workload,
          vcpus,
          round,
          seconds,
          seed,
          size,
          toInaccessible,
          toAccessible,
          refusedWithHolder,
          refusedWithoutHolder,
          refusedToAccessible,
          firstLooks,
          firstLookMismatches,
          leaks,
          firstLeak,
          corruptions,
          retries,
          guestFaults,
          hostFaults,
          sigbus,
          guestOps,
          hostOps,
          latency,
          gaveUp,
          doubled,
          framesLeaked,
          map);
    }
  }

  /** A run with some values that matter. */
  static Measurement run(Consumer<Builder> values) {
    Builder builder = new Builder();
    values.accept(builder);
    return builder.build();
  }

  /** One run of which nothing matters but what is given. */
  static Measurement run(
      String protocol, boolean sound, String workload, int vcpus, long leaks, long framesLeaked) {
    return run(
        b -> {
          b.protocol = protocol;
          b.sound = sound;
          b.workload = workload;
          b.vcpus = vcpus;
          b.leaks = leaks;
          b.firstLeak = leaks > 0 ? "host read 0x2a at offset 8192 after its conversion" : "";
          b.framesLeaked = framesLeaked;
        });
  }

  /** Some rounds of one protocol, each with its own number of operations of the guest. */
  static List<Measurement> rounds(String protocol, long... guestOps) {
    List<Measurement> rounds = new ArrayList<>();
    for (long ops : guestOps) {
      rounds.add(
          run(
              b -> {
                b.protocol = protocol;
                b.guestOps = ops;
                b.round = rounds.size();
              }));
    }
    return rounds;
  }

  /** A session of these runs, about which there is no doubt. */
  static Session session(List<Measurement> runs) {
    return new Session(
        runs,
        List.of(),
        true,
        "",
        new Session.Options(List.of("--seed", "1"), 20, 1, SIZE),
        SOMEWHERE);
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
    int conversions = 1500 + random.nextInt(1500);
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
    return run(
        b -> {
          b.protocol = protocol.id();
          b.sound = protocol.isSound();
          b.policy = policy;
          b.workload = workload;
          b.vcpus = vcpus;
          b.seed = seed;
          b.toInaccessible = conversions * 4L;
          b.toAccessible = conversions * 4L - random.nextInt(100);
          b.refusedWithHolder = random.nextInt(900);
          b.refusedWithoutHolder = falseBusy;
          b.firstLooks = conversions + falseBusy;
          b.firstLookMismatches = falseBusy + random.nextInt(20 * vcpus);
          b.leaks = leaks;
          b.firstLeak =
              leaks > 0
                  ? "the host read 0x5ec2e7 at offset 0x3f000, which was private since 1.2 ms"
                  : "";
          b.retries = random.nextInt(5000);
          b.guestFaults = random.nextInt(200_000);
          b.hostFaults = random.nextInt(90_000);
          b.sigbus = random.nextInt(40_000);
          b.guestOps = guestOps + random.nextInt(200_000);
          b.hostOps = guestOps / 3;
          b.latency = latency;
          b.map = map(workload, random);
        });
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
      HtmlReport.write(session(runs), out);
    }
    TableReport.print(
        session(runs), args.length > 1, new PrintWriter(System.out, true, StandardCharsets.UTF_8));
  }
}
