package io.github.guestmemfd.lab;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.lab.report.Environment;
import io.github.guestmemfd.lab.report.HtmlReport;
import io.github.guestmemfd.lab.report.JsonReport;
import io.github.guestmemfd.lab.report.Session;
import io.github.guestmemfd.lab.report.TableReport;
import io.github.guestmemfd.lab.workload.Run;
import io.github.guestmemfd.lab.workload.RunConfig;
import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintWriter;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * A session of the lab: its {@link Rounds}, and the reports.
 *
 * <p>When the JVM is asked to end, by Ctrl-C for instance, the current run ends, the remaining runs
 * are skipped, and the reports cover the runs made so far.
 */
final class Lab {
  private static final long REPORT_SECONDS = 60;

  private final List<Run> runs;
  private final Rounds.Plan plan;
  private final Reports reports;
  private final Session.Options options;
  private final PrintWriter out;
  private final PrintWriter err;

  /** Set when the JVM is asked to end. */
  private volatile boolean stopped;

  /** The reason why a run has failed, and so has no measurement; empty if none has. */
  private String failure = "";

  /**
   * The options of a session.
   *
   * @param verbose whether the table has a row for each run
   * @param json a file for programs, or null
   * @param html a file for a browser, or null
   */
  record Reports(boolean verbose, @Nullable Path json, @Nullable Path html) {
    /** Writes a report to a file. */
    interface Body<F> {
      void write(F file) throws IOException;
    }

    /** Writes the files that are asked for, and prints their names. */
    void write(Body<OutputStream> asJson, Body<Writer> asHtml, PrintWriter out) throws IOException {
      if (json != null) {
        try (OutputStream file = new BufferedOutputStream(Files.newOutputStream(json))) {
          asJson.write(file);
        }
        out.println("JSON: " + json);
      }
      if (html != null) {
        try (Writer file = Files.newBufferedWriter(html, StandardCharsets.UTF_8)) {
          asHtml.write(file);
        }
        out.println("HTML: " + html);
      }
    }
  }

  /** Prepares a session. */
  Lab(
      List<? extends Run> runs,
      Session.Options options,
      Reports reports,
      PrintWriter out,
      PrintWriter err) {
    this.runs = List.copyOf(runs);
    this.plan = Rounds.Plan.of(runs.size(), options.seconds());
    this.options = options;
    this.reports = reports;
    this.out = out;
    this.err = err;
  }

  /** Runs everything; the status is 0 if no sound protocol leaked, and no frame was lost. */
  int run() {
    CountDownLatch over = new CountDownLatch(1);
    Thread hook = new Thread(() -> stopAndWait(over), "lab-stop");
    Runtime.getRuntime().addShutdownHook(hook);
    try {
      return report(measure());
    } catch (IOException e) {
      err.println("cannot write: " + e);
      err.flush();
      return 2;
    } finally {
      over.countDown();
      try {
        Runtime.getRuntime().removeShutdownHook(hook);
      } catch (IllegalStateException ending) {
        // The JVM is ending, and waits for the hook, which has what it waited for.
      }
    }
  }

  private void stopAndWait(CountDownLatch over) {
    stopped = true;
    try {
      over.await(REPORT_SECONDS, TimeUnit.SECONDS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private Rounds.Result measure() {
    Progress progress = new Progress(out, err, runs.size(), plan.rounds());
    progress.begin(
        String.format(
            Locale.ROOT,
            "lab: %d %s a round, %d rounds of %.2f s a run after a warm-up: about %.0f s",
            runs.size(),
            runs.size() == 1 ? "run" : "runs",
            plan.rounds(),
            plan.seconds(),
            Math.ceil(plan.total(runs.size()))));
    Rounds rounds = new Rounds(runs, plan, options.seed());
    // The same for all: what scans frames finds as many in every run.
    long hostSize = runs.stream().mapToLong(Run::hostSize).max().orElse(0);
    try (HostMemory host = RunConfig.host(Math.max(hostSize, HostMemory.PAGE_SIZE))) {
      rounds.run(host, progress, () -> stopped);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt(); // with what there is so far
    } catch (IllegalStateException e) {
      progress.clear();
      err.println(e);
      err.flush();
      failure = "A run failed: " + e + ". "; // which makes nothing of what there is so far wrong
    } finally {
      progress.clear();
    }
    return rounds.result();
  }

  private int report(Rounds.Result result) throws IOException {
    int all = runs.size() * plan.rounds();
    int made = result.measured().size();
    String cutShort = made < all ? failure + "Stopped after " + made + " of " + all + " runs." : "";
    Session session =
        new Session(
            result.measured(),
            result.unsettled(),
            plan.isLongEnough(),
            cutShort,
            options,
            Environment.current());
    TableReport.print(session, reports.verbose, out);
    reports.write(
        file -> JsonReport.write(session, file), file -> HtmlReport.write(session, file), out);
    out.flush();
    return TableReport.isClean(session.runs()) && failure.isEmpty() ? 0 : 1;
  }
}
