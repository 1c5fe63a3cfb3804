package io.github.guestmemfd.lab.workload;

import io.github.guestmemfd.Errno;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.policy.ConversionObserver;
import io.github.guestmemfd.policy.GpaRange;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.function.ToLongFunction;
import org.HdrHistogram.Histogram;

/**
 * Times the conversions that vCPUs ask for, and says of each refusal whether it had a reason. Each
 * thread counts for itself; the sums are read when all have ended.
 */
final class Attempts implements ConversionObserver {
  /** Significant digits of latencies. */
  private static final int DIGITS = 2;

  private final Ledger ledger;
  private final Queue<OfThread> all = new ConcurrentLinkedQueue<>();
  private final ThreadLocal<OfThread> mine = ThreadLocal.withInitial(this::newThread);

  private static final class OfThread {
    final Histogram latency = new Histogram(DIGITS);
    long began;
    long refusedWithHolder;
    long refusedWithoutHolder;
  }

  Attempts(Ledger ledger) {
    this.ledger = ledger;
  }

  private OfThread newThread() {
    OfThread made = new OfThread();
    all.add(made);
    return made;
  }

  @Override
  public void begin(GpaRange range, MemoryAttribute attribute) {
    mine.get().began = System.nanoTime();
  }

  @Override
  public void end(GpaRange range, MemoryAttribute attribute, Errno errno, BusyGuestPage busy) {
    if (attribute != MemoryAttribute.PRIVATE) {
      return;
    }
    OfThread counts = mine.get();
    if (errno == Errno.OK) {
      counts.latency.recordValue(System.nanoTime() - counts.began);
    } else if (errno == Errno.EAGAIN) {
      int page = (int) (busy.gpa() / HostMemory.PAGE_SIZE);
      if (ledger.wasHeldSince(page, counts.began)) {
        counts.refusedWithHolder++;
      } else {
        counts.refusedWithoutHolder++;
      }
    }
  }

  /** How long the successful conversions to private took, in nanoseconds. */
  Histogram latency() {
    Histogram sum = new Histogram(DIGITS);
    all.forEach(a -> sum.add(a.latency));
    return sum;
  }

  /** Refusals while somebody held the busy page, at any time of the attempt. */
  long refusedWithHolder() {
    return sum(a -> a.refusedWithHolder);
  }

  /** Refusals although nobody did. */
  long refusedWithoutHolder() {
    return sum(a -> a.refusedWithoutHolder);
  }

  private long sum(ToLongFunction<OfThread> count) {
    return all.stream().mapToLong(count).sum();
  }
}
