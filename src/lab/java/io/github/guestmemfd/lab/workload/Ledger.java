package io.github.guestmemfd.lab.workload;

import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.AtomicLongArray;

/**
 * Who really holds what: the lab's own account of the references that threads of the host have by
 * GUP, kept apart from the counts that protocols look at. It tells a refusal with a reason from one
 * without.
 *
 * <p>A hold is entered before the reference is taken, and struck out after it has been put. So if
 * the account says that a page was held at no time of an attempt, that is so.
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

  /** Strikes out what was entered and could not be had. */
  void cancel(int page, int pages) {
    for (int i = page; i < page + pages; i++) {
      holders.getAndDecrement(i);
    }
  }

  boolean isHeld(int page) {
    return holders.get(page) > 0;
  }

  /** Whether anybody may have held a page at any time since a moment of {@link System#nanoTime}. */
  boolean wasHeldSince(int page, long moment) {
    return holders.get(page) > 0 || lastRelease.get(page) - moment >= 0;
  }
}
