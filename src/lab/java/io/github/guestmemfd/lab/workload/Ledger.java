package io.github.guestmemfd.lab.workload;

import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.AtomicLongArray;

/**
 * The lab's own account of the references that host threads hold by GUP, kept apart from the counts
 * that protocols look at. It distinguishes a refusal with a reason from one without.
 *
 * <p>A hold is entered before the reference is taken, and removed after the reference has been put.
 * So if the account says that a page was not held at any time of an attempt, it was not.
 */
final class Ledger {
  private final AtomicIntegerArray holders;
  private final AtomicLongArray lastRelease;

  Ledger(int pages) {
    holders = new AtomicIntegerArray(pages);
    lastRelease = new AtomicLongArray(pages);
    long longAgo = System.nanoTime() - 1;
    for (int i = 0; i < pages; i++) {
      lastRelease.set(i, longAgo);
    }
  }

  void hold(int page, int pages) {
    for (int i = page; i < page + pages; i++) {
      holders.getAndIncrement(i);
    }
  }

  void release(int page, int pages) {
    for (int i = page; i < page + pages; i++) {
      // Before the count, so that one of the two shows the hold; never back, so that none is lost.
      lastRelease.accumulateAndGet(i, System.nanoTime(), (old, now) -> now - old > 0 ? now : old);
      holders.getAndDecrement(i);
    }
  }

  /** Removes a hold whose reference could not be taken. */
  void cancel(int page, int pages) {
    for (int i = page; i < page + pages; i++) {
      holders.getAndDecrement(i);
    }
  }

  boolean isHeld(int page) {
    return holders.get(page) > 0;
  }

  /** Whether a page may have been held at any time since a moment of {@link System#nanoTime}. */
  boolean wasHeldSince(int page, long moment) {
    return holders.get(page) > 0 || lastRelease.get(page) - moment >= 0;
  }
}
