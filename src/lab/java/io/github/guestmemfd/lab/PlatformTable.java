package io.github.guestmemfd.lab;

import static io.github.guestmemfd.lab.workload.Platform.Condition.WORKS;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.lab.workload.Platform;
import io.github.guestmemfd.lab.workload.RunConfig;
import io.github.guestmemfd.lab.workload.Survival;
import io.github.guestmemfd.lab.workload.Workload;
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/**
 * Which protocols and which policies a guest of a platform survives: runs each of them, on hardware
 * that works, that refuses, and that keeps frames, and prints a table in Markdown.
 */
final class PlatformTable {
  static final List<String> WORKLOADS =
      List.of(Workload.SHARE.id(), Workload.BALLOON.id(), Workload.RESTORE.id());

  /** The policy of the table of protocols: one that converts what the guest asks for, and then. */
  static final String POLICY = "hypercall";

  private static final double SECONDS_OF_A_RUN = 0.3;

  private final List<Platform> platforms;
  private final List<RunConfig> configs;
  private final double seconds;
  private final PrintWriter out;
  private final PrintWriter err;
  private final List<Survival> results = new ArrayList<>();

  /**
   * Prepares the runs.
   *
   * @param seconds how long all of them take together; null for as long as each needs
   */
  PlatformTable(
      List<Platform> platforms,
      List<RunConfig> configs,
      @Nullable Double seconds,
      PrintWriter out,
      PrintWriter err) {
    this.platforms = platforms;
    this.configs = configs;
    int runs = platforms.size() * configs.size() * Platform.Condition.values().length;
    this.seconds = seconds == null ? SECONDS_OF_A_RUN : seconds / runs;
    this.out = out;
    this.err = err;
  }

  /**
   * Runs everything. The status is 0 if on hardware that works no guest but under an unsound
   * protocol was leaked or had its content or a frame lost.
   */
  int run() {
    int runs = platforms.size() * configs.size() * Platform.Condition.values().length;
    err.printf(
        Locale.ROOT, "lab: %d runs of %.2f s: about %.0f s%n", runs, seconds, runs * seconds * 1.3);
    err.flush();
    try {
      // Thrown away: the first run loads classes, and may do nothing else.
      configs.get(0).withSeconds(seconds).survive(platforms.get(0), WORKS, () -> false);
      for (Platform.Condition condition : Platform.Condition.values()) {
        for (RunConfig config : configs) {
          for (Platform platform : platforms) {
            results.add(config.withSeconds(seconds).survive(platform, condition, () -> false));
          }
        }
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt(); // with what there is so far
    }
    print();
    return results.stream().anyMatch(PlatformTable::isWrong) ? 1 : 0;
  }

  /** Whether the library, and not the hardware or the protocol, is to blame. */
  private static boolean isWrong(Survival s) {
    boolean sound =
        ConversionProtocol.byId(s.protocol()).map(ConversionProtocol::isSound).orElse(true);
    return sound
        && (s.leaks() > 0
            || s.framesLeaked() > 0
            || (s.condition() == WORKS && s.corruptions() + s.owned() > 0));
  }

  private void print() {
    print(
        "protocol",
        "with the policy " + POLICY,
        Survival::protocol,
        s -> s.policy().equals(POLICY));
    String usual = ConversionProtocol.atomicPair().id();
    print(
        "policy", "with the protocol " + usual, Survival::policy, s -> s.protocol().equals(usual));
    out.flush();
  }

  private void print(
      String what, String rest, Function<Survival, String> key, Predicate<Survival> which) {
    List<Survival> chosen = results.stream().filter(which).toList();
    if (chosen.stream().map(key).distinct().count() < 2) {
      return;
    }
    out.println("Which " + what + " survives, " + rest + ":");
    out.println();
    out.print("| hardware | " + what + " |");
    platforms.forEach(p -> out.print(" " + p.id() + " |"));
    out.println();
    out.println("|---|---|" + "---|".repeat(platforms.size()));
    for (Platform.Condition condition : Platform.Condition.values()) {
      Map<String, List<Survival>> rows = new LinkedHashMap<>();
      for (Survival s : chosen) {
        if (s.condition() == condition) {
          rows.computeIfAbsent(key.apply(s), k -> new ArrayList<>()).add(s);
        }
      }
      rows.forEach((id, its) -> printRow(condition, id, its));
    }
    out.println();
  }

  private void printRow(Platform.Condition condition, String id, List<Survival> its) {
    out.print("| " + condition.name().toLowerCase(Locale.ROOT) + " | `" + id + "` |");
    for (Platform platform : platforms) {
      Set<String> found = new LinkedHashSet<>();
      its.stream()
          .filter(s -> s.platform().equals(platform.id()))
          .forEach(s -> found.addAll(s.findings()));
      out.print(" " + (found.isEmpty() ? "yes" : String.join(", ", found)) + " |");
    }
    out.println();
  }
}
