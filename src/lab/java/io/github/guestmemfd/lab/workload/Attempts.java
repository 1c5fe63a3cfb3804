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
 * Times the conversions to private that vCPUs ask for, and says of each refusal, and of each first
 * look at the counts that failed, whether it had a reason. Each thread counts for itself; the sums
 * are read when all have ended.
 *
 * <p>A vCPU asks until the conversion has been made or it {@linkplain #over gives up}; the attempts
 * that were refused meanwhile, and the pauses between them, are part of the time it took.
 */
final class Attempts implements ConversionObserver {
  /** For the host of runs: tells the attempt of the thread that its first look has failed. */
  static final RaceHook ON_MISMATCH =
      (point, index) -> {
        if (point == RacePoint.ON_MISMATCH) {
          mismatch((int) index);
        }
      };

  /** Significant digits of latencies. */
  private static final int DIGITS = 2;

  /** What the thread counts, in the run that it is of. */
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

    /** Whether an attempt is under way, since when, and whom its first looks have met. */
    boolean attempts;

    long began;
    boolean metHolder;
    boolean metNobody;

    long firstLooks;
    long firstLookMismatches;
    long refusedWithHolder;
    long refusedWithoutHolder;

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
      return; // a punch, or a conversion that nobody observes
    }
    if (mine.of.ledger.wasHeldSince(page, mine.began)) {
      mine.metHolder = true;
    } else {
      mine.metNobody = true;
    }
  }

  @Override
  public void end(GpaRange range, MemoryAttribute attribute, Errno errno, BusyGuestPage busy) {
    if (attribute != MemoryAttribute.PRIVATE) {
      return;
    }
    OfThread mine = mine();
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
    } else if (ledger.wasHeldSince((int) (busy.gpa() / HostMemory.PAGE_SIZE), mine.began)) {
      mine.refusedWithHolder++;
    } else {
      mine.refusedWithoutHolder++;
    }
  }

  /** The vCPU of this thread asks no longer: what it has not got it does without. */
  void over() {
    OfThread mine = mine();
    if (mine.asks) {
      mine.asks = false;
      mine.gaveUp.recordValue(System.nanoTime() - mine.asked);
    }
  }

  /** From the first ask to the conversion, in nanoseconds, of those that were made. */
  Histogram latency() {
    return sum(a -> a.latency);
  }

  /** From the first ask to giving up, in nanoseconds, of those that were not made. */
  Histogram gaveUp() {
    return sum(a -> a.gaveUp);
  }

  private Histogram sum(Function<OfThread, Histogram> histogram) {
    Histogram sum = new Histogram(DIGITS);
    all.forEach(a -> sum.add(histogram.apply(a)));
    return sum;
  }

  /** Attempts whose first looks met no holder, but perhaps somebody else. */
  long firstLooks() {
    return total(a -> a.firstLooks);
  }

  /** Those of them that did: a first look at the counts failed although nobody held the page. */
  long firstLookMismatches() {
    return total(a -> a.firstLookMismatches);
  }

  /** Refusals while somebody held the busy page, at any time of the attempt. */
  long refusedWithHolder() {
    return total(a -> a.refusedWithHolder);
  }

  /** Refusals although nobody did. */
  long refusedWithoutHolder() {
    return total(a -> a.refusedWithoutHolder);
  }

  private long total(ToLongFunction<OfThread> count) {
    return all.stream().mapToLong(count).sum();
  }
}
