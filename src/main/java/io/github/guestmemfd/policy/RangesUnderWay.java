package io.github.guestmemfd.policy;

import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.LockOrder;
import io.github.guestmemfd.spi.Wait;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicReference;

/**
 * A lock on ranges: threads that lock overlapping ranges wait for each other, other threads do not.
 *
 * <p>The busy bits of a file's pages cannot serve: they are held for one call on one file, and this
 * is held over a punch and the conversion after it, of guest addresses in several files.
 *
 * <p>The locked ranges are in one immutable list, replaced as a whole; it has at most one per
 * thread. Not reentrant, not fair.
 */
final class RangesUnderWay {
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
    if (Thread.currentThread().isInterrupted()) {
      return false; // also if the range is free
    }
    LockOrder.beforeWait(LockClass.CONVERTED_RANGE, this, range.gpa());
    try {
      Wait.await(idle, () -> tryLock(range), Wait.LOOK_AGAIN_NANOS);
      LockOrder.taken(LockClass.CONVERTED_RANGE, this, range.gpa(), range.end());
      return true;
    } catch (InterruptedException e) {
      Wait.restore(e);
      return false;
    }
  }

  private boolean tryLock(GpaRange range) {
    for (; ; ) {
      List<GpaRange> now = Objects.requireNonNull(Announce.read(locked).get());
      if (now.stream().anyMatch(range::overlaps)) {
        return false;
      }
      if (Announce.write(locked).compareAndSet(now, with(now, range))) {
        return true;
      }
    }
  }

  void unlock(GpaRange range) {
    Announce.write(locked).updateAndGet(now -> without(now, range));
    LockOrder.givenBack(LockClass.CONVERTED_RANGE, this, range.gpa(), range.end());
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
