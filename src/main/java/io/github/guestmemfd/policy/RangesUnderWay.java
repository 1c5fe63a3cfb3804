package io.github.guestmemfd.policy;

import io.github.guestmemfd.spi.IdleStrategy;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicReference;

/**
 * A lock on ranges: those that overlap wait for each other, others do not meet.
 *
 * <p>The ranges that are locked stand in one immutable list, replaced as a whole; there are no more
 * of them than threads. Not reentrant, not fair.
 */
final class RangesUnderWay {
  /** How long to sleep when nobody tells when it is time to look again. */
  private static final long LOOK_AGAIN_NANOS = 20_000;

  private final AtomicReference<List<GpaRange>> locked = new AtomicReference<>(List.of());
  private final IdleStrategy idle;

  RangesUnderWay(IdleStrategy idle) {
    this.idle = idle;
  }

  /**
   * Locks a range.
   *
   * @return false if the thread is interrupted, and nothing is locked
   */
  boolean lock(GpaRange range) {
    for (int round = 0; ; round++) {
      if (Thread.currentThread().isInterrupted()) {
        return false;
      }
      List<GpaRange> now = Objects.requireNonNull(locked.get());
      if (now.stream().anyMatch(range::overlaps)) {
        idle.idle(round, LOOK_AGAIN_NANOS);
      } else if (locked.compareAndSet(now, with(now, range))) {
        return true;
      }
    }
  }

  void unlock(GpaRange range) {
    locked.updateAndGet(now -> without(now, range));
  }

  private static List<GpaRange> with(List<GpaRange> now, GpaRange range) {
    List<GpaRange> more = new ArrayList<>(now);
    more.add(range);
    return more;
  }

  private static List<GpaRange> without(List<GpaRange> now, GpaRange range) {
    List<GpaRange> fewer = new ArrayList<>(now);
    fewer.remove(range); // there is one, for equal ranges overlap
    return fewer;
  }
}
