package io.github.guestmemfd.lab;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.lab.report.Environment;
import io.github.guestmemfd.lab.report.HtmlReport;
import io.github.guestmemfd.lab.report.JsonReport;
import io.github.guestmemfd.lab.report.Measurement;
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
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * A session of the lab: its runs one after the other, and the reports.
 *
 * <p>When the JVM is asked to end, as by Ctrl-C, the run under way ends, those to come are left
 * out, and the reports are made of what there is.
 */
final class Lab {
  /** How much of the time is for the JVM to warm up: this part, and not more than so much. */
  private static final double WARM_UP_PART = 0.2;

  private static final double WARM_UP_SECONDS = 5;

  /** How many slices that time is cut into, each for another run. */
  private static final int WARM_UP_RUNS = 24;

  /** Makes the order of the runs, always the same one. */
  private static final long ORDER_SEED = 1;

  private static final long REPORT_SECONDS = 60;

  private final List<Run> runs;
  private final double seconds;
  private final long size;
  private final boolean verbose;
  private final @Nullable Path json;
  private final @Nullable Path html;
  private final PrintWriter out;
  private final PrintWriter err;

  /** Set when the JVM is asked to end. */
  private volatile boolean stopped;

  /** Whether a run has failed, so that there is no measurement of it. */
  private boolean failed;

  /**
   * Prepares a session.
   *
   * @param seconds how long all runs take together
   * @param size the guest's memory in bytes
   */
  Lab(
      List<? extends Run> runs,
      double seconds,
      long size,
      boolean verbose,
      @Nullable Path json,
      @Nullable Path html,
      PrintWriter out,
      PrintWriter err) {
    this.runs = List.copyOf(runs);
    this.seconds = seconds;
    this.size = size;
    this.verbose = verbose;
    this.json = json;
    this.html = html;
    this.out = out;
    this.err = err;
  }

  /** Runs all; the status is 0 if no sound protocol leaked, and no frame got lost. */
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

  /**
   * What was measured, in the order of the runs. They are made in another one: a JVM gets faster
   * with time, and a machine has its moments, which must not be for or against one protocol.
   */
  private List<Measurement> measure() {
    List<Integer> order = new ArrayList<>(IntStream.range(0, runs.size()).boxed().toList());
    Collections.shuffle(order, new Random(ORDER_SEED));
    double warmUp = Math.min(WARM_UP_SECONDS, seconds * WARM_UP_PART);
    double each = (seconds - warmUp) / runs.size();
    SortedMap<Integer, Measurement> measured = new TreeMap<>();
    Progress progress = new Progress(out, runs.size());
    try (HostMemory host = RunConfig.host(size)) {
      progress.show(0, "warming up");
      for (int i = 0; i < WARM_UP_RUNS && !stopped; i++) {
        Run run = runs.get(order.get(i % order.size()));
        run.withSeconds(warmUp / WARM_UP_RUNS).measure(host, () -> stopped);
      }
      for (int index : order) {
        if (stopped) {
          break;
        }
        Run run = runs.get(index).withSeconds(each);
        progress.show(measured.size(), run.name());
        measured.put(index, run.measure(host, () -> stopped));
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt(); // with what there is so far
    } catch (IllegalStateException e) {
      progress.clear();
      err.println(e);
      err.flush();
      failed = true; // which makes nothing of what there is so far wrong
    } finally {
      progress.clear();
    }
    return List.copyOf(measured.values());
  }

  private int report(List<Measurement> measured) throws IOException {
    if (measured.size() < runs.size()) {
      out.printf("Stopped after %d of %d runs.%n", measured.size(), runs.size());
    }
    TableReport.print(measured, verbose, out);
    if (json != null) {
      try (OutputStream file = new BufferedOutputStream(Files.newOutputStream(json))) {
        JsonReport.write(measured, file);
      }
      out.println("JSON: " + json);
    }
    if (html != null) {
      try (Writer file = Files.newBufferedWriter(html, StandardCharsets.UTF_8)) {
        HtmlReport.write(measured, Environment.current(), file);
      }
      out.println("HTML: " + html);
    }
    out.flush();
    return TableReport.isClean(measured) && !failed ? 0 : 1;
  }
}
