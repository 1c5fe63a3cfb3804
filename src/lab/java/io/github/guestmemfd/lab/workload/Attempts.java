package io.github.guestmemfd.lab.workload;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.policy.ConversionObserver;
import io.github.guestmemfd.policy.GpaRange;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.Function;
import java.util.function.ToLongFunction;
import org.HdrHistogram.Histogram;
import org.jspecify.annotations.Nullable;

/**
 * Times the conversions to private that vCPUs ask for. For each refusal, and for each first look at
 * the counts that failed, it records whether a host thread held the page. Each thread has its own
 * counters; the sums are read when all threads have ended.
 *
 * <p>A vCPU asks until the conversion has been made or it {@linkplain #over gives up}; the time
 * includes the attempts that were refused meanwhile, and the pauses between them.
 */
final class Attempts implements ConversionObserver {
  /**
   * For the host of runs: tells the attempt of the calling thread that its first look has failed.
   */
  static final RaceHook ON_MISMATCH =
      (point, index) -> {
        if (point == RacePoint.ON_MISMATCH) {
          mismatch((int) index);
        }
      };

  /** Significant digits of latencies. */
  private static final int DIGITS = 2;

  /** The counters of the thread, in its current run. */
  private static final ThreadLocal<@Nullable OfThread> MINE = new ThreadLocal<>();

  private final Ledger ledger;
  private final Queue<OfThread> all = new ConcurrentLinkedQueue<>();

  private static final class OfThread {
    final Attempts of;
    final Histogram latency = new Histogram(DIGITS);
    final Histogram gaveUp = new Histogram(DIGITS);

    /** Whether a conversion to private has been asked for and not been made, and since when. */
    boolean asks;

    long asked;

    /** Whether an attempt is under way, since when, and what its failed first looks have met. */
    boolean attempts;

    long began;
    boolean metHolder;
    boolean metNobody;

    long firstLooks;
    long firstLookMismatches;
    long refusedWithHolder;
    long refusedWithoutHolder;

    /** Conversions that were made, and those to shared that were refused. */
    long madePrivate;

    long madeShared;
    long refusedShared;

    OfThread(Attempts of) {
      this.of = of;
    }
  }

  Attempts(Ledger ledger) {
    this.ledger = ledger;
  }

  private OfThread mine() {
    OfThread mine = MINE.get();
    if (mine == null || mine.of != this) {
      mine = new OfThread(this);
      MINE.set(mine);
      all.add(mine);
    }
    return mine;
  }

  @Override
  public void begin(GpaRange range, MemoryAttribute attribute) {
    if (attribute != MemoryAttribute.PRIVATE) {
      return;
    }
    OfThread mine = mine();
    mine.attempts = true;
    mine.metHolder = false;
    mine.metNobody = false;
    mine.began = System.nanoTime();
    if (!mine.asks) {
      mine.asks = true;
      mine.asked = mine.began;
    }
  }

  private static void mismatch(int page) {
    OfThread mine = MINE.get();
    if (mine == null || !mine.attempts) {
      return; // a punch, or a conversion that has no observer
    }
    if (mine.of.ledger.wasHeldSince(page, mine.began)) {
      mine.metHolder = true;
    } else {
      mine.metNobody = true;
    }
  }

  @Override
  public void end(GpaRange range, MemoryAttribute attribute, Errno errno, BusyGuestPage busy) {
    OfThread mine = mine();
    if (attribute != MemoryAttribute.PRIVATE) {
      mine.madeShared += errno == Errno.OK ? 1 : 0;
      mine.refusedShared += errno == Errno.OK || errno == Errno.EINTR ? 0 : 1;
      return;
    }
    mine.attempts = false;
    if (errno != Errno.OK && errno != Errno.EAGAIN) {
      return;
    }
    if (!mine.metHolder) {
      mine.firstLooks++;
      mine.firstLookMismatches += mine.metNobody ? 1 : 0;
    }
    if (errno == Errno.OK) {
      mine.latency.recordValue(System.nanoTime() - mine.asked);
      mine.asks = false;
      mine.madePrivate++;
    } else if (ledger.wasHeldSince((int) (busy.gpa() / HostMemory.PAGE_SIZE), mine.began)) {
      mine.refusedWithHolder++;
    } else {
      mine.refusedWithoutHolder++;
    }
  }

  /** Records that the vCPU of this thread gives up a conversion that has not been made. */
  void over() {
    OfThread mine = mine();
    if (mine.asks) {
      mine.asks = false;
      mine.gaveUp.recordValue(System.nanoTime() - mine.asked);
    }
  }

  /** Nanoseconds from the first ask to the conversion, of conversions that were made. */
  Histogram latency() {
    return sum(a -> a.latency);
  }

  /** Nanoseconds from the first ask to giving up, of conversions that were not made. */
  Histogram gaveUp() {
    return sum(a -> a.gaveUp);
  }

  private Histogram sum(Function<OfThread, Histogram> histogram) {
    Histogram sum = new Histogram(DIGITS);
    all.forEach(a -> sum.add(histogram.apply(a)));
    return sum;
  }

  /** Attempts of which no failed first look met a host thread that held the page. */
  long firstLooks() {
    return total(a -> a.firstLooks);
  }

  /**
   * Those of these attempts with a first look that failed although no host thread held the page.
   */
  long firstLookMismatches() {
    return total(a -> a.firstLookMismatches);
  }

  /** Refusals while a host thread held the busy page, at any time of the attempt. */
  long refusedWithHolder() {
    return total(a -> a.refusedWithHolder);
  }

  /** Refusals although no host thread held the busy page. */
  long refusedWithoutHolder() {
    return total(a -> a.refusedWithoutHolder);
  }

  /** Attempts to convert to private that have succeeded, also where there was nothing to do. */
  long madePrivate() {
    return total(a -> a.madePrivate);
  }

  /** The same, to shared. */
  long madeShared() {
    return total(a -> a.madeShared);
  }

  /** Attempts to convert to shared that were refused. */
  long refusedShared() {
    return total(a -> a.refusedShared);
  }

  private long total(ToLongFunction<OfThread> count) {
    return all.stream().mapToLong(count).sum();
  }
}
