package io.github.guestmemfd.lab.workload;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.Metrics;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.lab.report.Doubled;
import io.github.guestmemfd.lab.report.Measurement;
import io.github.guestmemfd.lab.report.Monitor;
import io.github.guestmemfd.lab.report.PageMap;
import io.github.guestmemfd.trace.ModelExecutor;
import io.github.guestmemfd.trace.Trace;
import io.github.guestmemfd.trace.Verb;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.HdrHistogram.Histogram;

/**
 * A recorded run as a workload: every vCPU repeats its calls as fast as possible, each on its own
 * model.
 *
 * <p>A call counts as a leak if the recording refused it because a page was held, and the protocol
 * lets it pass. Refusals are distinguished by the counts that the conversion saw.
 *
 * @param trace the recording
 * @param workload its name in reports
 * @param protocol detects holders of a folio
 * @param vcpus how many threads replay it
 * @param seconds how long to run
 */
public record TraceRun(
    Trace trace, String workload, ConversionProtocol protocol, int vcpus, double seconds)
    implements Run {

  private static final long HOST_BYTES = 64L << 30;
  private static final int DIGITS = 2;

  /** The results of one thread. */
  private static final class Replays {
    final Histogram latency = new Histogram(DIGITS);
    final List<Metrics> metrics = new ArrayList<>();
    long calls;
    long leaks;
    String firstLeak = "";
  }

  @Override
  public String name() {
    return workload + ", " + protocol.id() + ", " + (vcpus == 1 ? "1 vCPU" : vcpus + " vCPUs");
  }

  @Override
  public TraceRun withSeconds(double time) {
    return new TraceRun(trace, workload, protocol, vcpus, time);
  }

  @Override
  public Measurement measure(HostMemory unused, BooleanSupplier stopped)
      throws InterruptedException {
    long start = System.nanoTime();
    long end = start + (long) (seconds * 1e9);
    BooleanSupplier over = () -> System.nanoTime() - end >= 0 || stopped.getAsBoolean();
    ExecutorService threads = Executors.newFixedThreadPool(vcpus);
    List<Replays> all = new ArrayList<>();
    try {
      List<Future<Replays>> results = new ArrayList<>();
      for (int i = 0; i < vcpus; i++) {
        results.add(threads.submit(() -> replayUntil(over)));
      }
      for (Future<Replays> result : results) {
        all.add(result.get());
      }
    } catch (ExecutionException e) {
      throw new IllegalStateException("a replay failed in " + name(), e.getCause());
    } finally {
      threads.shutdownNow();
      threads.awaitTermination(1, TimeUnit.MINUTES);
    }
    return measurement(all, (System.nanoTime() - start) / 1e9);
  }

  private Replays replayUntil(BooleanSupplier over) {
    Replays seen = new Replays();
    do {
      HostMemory host = HostMemory.ofBytes(HOST_BYTES);
      try (ModelExecutor model = new ModelExecutor(host, protocol, trace.profile())) {
        for (Trace.Call call : trace.calls()) {
          execute(model, call, seen);
        }
        seen.metrics.add(host.metrics());
      }
      // Closing the model has checked that every frame is back.
    } while (!over.getAsBoolean() && !Thread.currentThread().isInterrupted());
    return seen;
  }

  private static void execute(ModelExecutor model, Trace.Call call, Replays seen) {
    boolean toPrivate = call.verb() == Verb.CONVERT && call.word(1).equals("private");
    long start = System.nanoTime();
    String result = model.execute(call);
    if (toPrivate && result.equals("ok")) {
      seen.latency.recordValue(System.nanoTime() - start);
      if (call.expected().startsWith("EAGAIN")) {
        seen.leaks++;
        String leak = "line " + call.line() + ": a held page was converted: " + call.text();
        seen.firstLeak = seen.firstLeak.isEmpty() ? leak : seen.firstLeak;
      }
    }
    seen.calls++;
  }

  private Measurement measurement(List<Replays> all, double time) {
    Histogram latency = new Histogram(DIGITS);
    all.forEach(r -> latency.add(r.latency));
    List<Metrics> metrics = all.stream().flatMap(r -> r.metrics.stream()).toList();
    return new Measurement(
        protocol.id(),
        protocol.isSound(),
        "as recorded",
        Monitor.IN_PLACE,
        workload,
        vcpus,
        0,
        time,
        0,
        0,
        metrics.stream().mapToLong(Metrics::conversionsToInaccessible).sum(),
        metrics.stream().mapToLong(Metrics::conversionsToAccessible).sum(),
        metrics.stream().mapToLong(Metrics::refusedOthersCounted).sum(),
        metrics.stream().mapToLong(Metrics::refusedNoOthersCounted).sum(),
        0,
        0,
        0,
        all.stream().mapToLong(r -> r.leaks).sum(),
        all.stream().map(r -> r.firstLeak).filter(l -> !l.isEmpty()).findFirst().orElse(""),
        0,
        metrics.stream().mapToLong(Metrics::retries).sum(),
        0,
        metrics.stream().mapToLong(Metrics::faults).sum(),
        metrics.stream().mapToLong(Metrics::sigbus).sum(),
        all.stream().mapToLong(r -> r.calls).sum(),
        0,
        latency,
        new Histogram(DIGITS),
        Doubled.NONE,
        0,
        new PageMap(HostMemory.PAGE_SIZE, List.of()));
  }
}
