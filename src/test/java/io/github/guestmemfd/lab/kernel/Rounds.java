package io.github.guestmemfd.lab.kernel;

import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.trace.Trace;
import io.github.guestmemfd.trace.TraceExecutor;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/** Lets two threads meet again and again, and collects how it ends. */
final class Rounds implements AutoCloseable {
  private final ExecutorService other =
      Executors.newSingleThreadExecutor(
          task -> {
            Thread thread = new Thread(task, "rival");
            thread.setDaemon(true);
            return thread;
          });
  private final SplittableRandom random = new SplittableRandom(1);

  @Override
  public void close() {
    other.shutdownNow();
  }

  /** How often each outcome was seen, in rounds in which both begin at about the same time. */
  Map<String, Integer> meet(TraceExecutor executor, Rival rival, int rounds) throws Exception {
    Map<String, Integer> seen = new TreeMap<>();
    for (int round = 0; round < rounds; round++) {
      rival.prepare(executor);
      int leftLag = random.nextInt(200);
      int rightLag = random.nextInt(200);
      AtomicInteger present = new AtomicInteger();
      Future<String> right = other.submit(() -> start(executor, rival.right(), present, rightLag));
      String left = start(executor, rival.left(), present, leftLag);
      seen.merge(rival.outcome(executor, left, right.get()), 1, Integer::sum);
    }
    return seen;
  }

  private static String start(
      TraceExecutor executor, List<Trace.Call> calls, AtomicInteger present, int lag)
      throws InterruptedException {
    present.incrementAndGet();
    for (int i = 0; present.get() < 2; i++) {
      if (Thread.interrupted()) {
        throw new InterruptedException("while the other had not come");
      }
      if (i > 1000) {
        letOthersRun();
      }
    }
    for (int i = 0; i < lag; i++) {
      Thread.onSpinWait();
    }
    return Rival.run(executor, calls);
  }

  @SuppressWarnings("ThreadPriorityCheck") // nothing depends on it but how long a round takes
  private static void letOthersRun() {
    Thread.yield();
  }

  /**
   * Stops a thread at a race point or between two calls, counted from when it is set, for the other
   * to run meanwhile: to its end, or until it must be waiting for the one that is stopped.
   */
  static final class Stop implements RaceHook {
    /** So many looks find the other asleep: it waits for the one that is stopped. */
    private static final int PATIENCE = 20;

    private volatile @Nullable Thread stopped;
    private volatile @Nullable Thread running;
    private volatile @Nullable Future<String> meanwhile;
    private Runnable start = () -> {};
    private int passes;

    /** The calling thread is to be stopped when it has passed so many points. */
    void set(int after, Runnable run) {
      passes = after;
      start = run;
      stopped = Thread.currentThread();
    }

    /** Whether the point was not reached, and is not to be any more. */
    boolean clear() {
      boolean reached = stopped == null;
      stopped = null;
      return !reached;
    }

    @Override
    public void at(RacePoint point, long index) {
      pass();
    }

    /** Makes calls; before each there is one more point. */
    String run(TraceExecutor executor, List<Trace.Call> calls) {
      List<String> results = new ArrayList<>();
      for (Trace.Call call : calls) {
        pass();
        results.add(executor.execute(call));
      }
      return String.join(", ", results);
    }

    private void pass() {
      if (Thread.currentThread() == stopped && passes-- == 0) {
        stopped = null;
        start.run();
        Thread self = Thread.currentThread();
        for (int asleep = 0; !meanwhile.isDone() && asleep < PATIENCE && !self.isInterrupted(); ) {
          letOthersRun();
          Thread thread = running;
          boolean waits = thread != null && WAITING.contains(thread.getState());
          asleep += waits ? 1 : 0;
        }
      }
    }

    private static final Set<Thread.State> WAITING =
        EnumSet.of(Thread.State.WAITING, Thread.State.TIMED_WAITING);
  }

  /**
   * Every outcome of the model that takes one preemption: either thread is stopped before one of
   * its calls, or at one of its race points, and the other runs.
   *
   * @param executor a model with {@code stop} as its hook
   */
  Map<String, Integer> force(TraceExecutor executor, Rival rival, Stop stop) throws Exception {
    Map<String, Integer> seen = new TreeMap<>();
    for (boolean swap : new boolean[] {false, true}) {
      List<Trace.Call> first = swap ? rival.right() : rival.left();
      List<Trace.Call> second = swap ? rival.left() : rival.right();
      boolean beyond = false;
      for (int pass = 0; !beyond; pass++) {
        rival.prepare(executor);
        Runnable start =
            () -> {
              stop.running = null;
              stop.meanwhile =
                  other.submit(
                      () -> {
                        stop.running = Thread.currentThread();
                        return Rival.run(executor, second);
                      });
            };
        stop.set(pass, start);
        String one = stop.run(executor, first);
        beyond = stop.clear();
        if (beyond) {
          start.run(); // one after the other
        }
        String two = stop.meanwhile.get();
        seen.merge(
            swap ? rival.outcome(executor, two, one) : rival.outcome(executor, one, two),
            1,
            Integer::sum);
      }
    }
    return seen;
  }
}
