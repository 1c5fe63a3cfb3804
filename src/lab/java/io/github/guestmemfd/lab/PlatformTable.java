package io.github.guestmemfd.lab;

import static io.github.guestmemfd.lab.report.Condition.WORKS;

import io.github.guestmemfd.lab.report.Condition;
import io.github.guestmemfd.lab.report.Environment;
import io.github.guestmemfd.lab.report.JsonReport;
import io.github.guestmemfd.lab.report.Session;
import io.github.guestmemfd.lab.report.Survival;
import io.github.guestmemfd.lab.report.SurvivalReport;
import io.github.guestmemfd.lab.report.Survivals;
import io.github.guestmemfd.lab.workload.Platform;
import io.github.guestmemfd.lab.workload.RunConfig;
import io.github.guestmemfd.lab.workload.Workload;
import java.io.IOException;
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * Which protocols, policies and kinds of monitors a guest of a platform survives: runs each of
 * them, on hardware that works, that refuses, and that keeps frames, and reports it.
 */
final class PlatformTable {
  static final List<String> WORKLOADS =
      List.of(Workload.SHARE.id(), Workload.BALLOON.id(), Workload.RESTORE.id());

  private static final double SECONDS_OF_A_RUN = 0.3;

  private final List<Platform> platforms;
  private final List<Planned> planned = new ArrayList<>();
  private final Session.Options options;
  private final Lab.Reports reports;
  private final double seconds;
  private final PrintWriter out;
  private final PrintWriter err;

  private record Planned(RunConfig config, Platform platform, Condition condition) {
    Survival run(double seconds) throws InterruptedException {
      return config.withSeconds(seconds).survive(platform, condition, () -> false);
    }
  }

  /**
   * Prepares the runs.
   *
   * @param total how long all of them take together; null for as long as each needs
   * @param options what was asked for, but for the time
   */
  PlatformTable(
      List<Platform> platforms,
      List<RunConfig> configs,
      @Nullable Double total,
      Session.Options options,
      Lab.Reports reports,
      PrintWriter out,
      PrintWriter err) {
    this.platforms = platforms;
    for (Condition condition : Condition.values()) {
      for (RunConfig config : configs) {
        for (Platform platform : platforms) {
          if (platform.has(config.monitor().memory())) {
            planned.add(new Planned(config, platform, condition));
          }
        }
      }
    }
    this.seconds = total == null ? SECONDS_OF_A_RUN : total / planned.size();
    this.options =
        new Session.Options(
            options.arguments(), seconds * planned.size(), options.seed(), options.size());
    this.reports = reports;
    this.out = out;
    this.err = err;
  }

  /**
   * Runs everything. The status is 0 if on hardware that works no guest but under an unsound
   * protocol was leaked or had its content or a frame lost, and 2 if a report cannot be written.
   */
  int run() {
    err.printf(
        Locale.ROOT,
        "lab: %d runs of %.2f s: about %.0f s%n",
        planned.size(),
        seconds,
        options.seconds() * 1.3);
    err.flush();
    List<Survival> results = new ArrayList<>();
    try {
      // Thrown away: the first run loads classes, and may do nothing else.
      new Planned(planned.get(0).config, planned.get(0).platform, WORKS).run(seconds);
      for (Planned next : planned) {
        results.add(next.run(seconds));
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt(); // with what there is so far
    }
    String cutShort =
        results.size() < planned.size()
            ? "Stopped after " + results.size() + " of " + planned.size() + " runs."
            : "";
    List<String> ids = platforms.stream().map(Platform::id).toList();
    try {
      return report(new Survivals(ids, results, cutShort, options, Environment.current()));
    } catch (IOException e) {
      err.println("cannot write: " + e);
      err.flush();
      return 2;
    }
  }

  private int report(Survivals survivals) throws IOException {
    SurvivalReport.print(survivals, out);
    reports.write(
        file -> JsonReport.write(survivals, file),
        file -> SurvivalReport.write(survivals, file),
        out);
    out.flush();
    return survivals.isClean() ? 0 : 1;
  }
}
