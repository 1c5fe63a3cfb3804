package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.cache.PageCache.Wanted;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.conversion.Step;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.spi.RacePoint;

/**
 * The references and locks of guest-side holders, taken and dropped by the steps of the protocol.
 */
public final class GuestRefs {
  private final Inode inode;
  private final Lookup lookup;
  private final FrameTable frames;
  private final GuestSteps steps;

  GuestRefs(Inode inode, Lookup lookup, GuestSteps steps) {
    this.inode = inode;
    this.lookup = lookup;
    this.frames = inode.frames;
    this.steps = steps;
  }

  /**
   * Whether a holder has the folio lock for as long as it holds the folio.
   *
   * @return the answer
   */
  public boolean keepsLock() {
    return steps.keepsLock;
  }

  /**
   * Holds the folio of a page, allocated, up to date and prepared.
   *
   * @param index the page
   * @return the frame, or a negated errno
   */
  public int take(long index) {
    for (; ; ) {
      int pfn = lookup.get(index, steps.unit, Wanted.ANY);
      if (pfn < 0 || steps.oneStep) {
        return pfn;
      }
      int result = takeMore(index, pfn);
      if (result != 0) {
        return result;
      }
    }
  }

  /**
   * The steps after the lookup.
   *
   * @return the frame; a negated errno; or 0 if the folio has left its place. If not the frame,
   *     nothing is held
   */
  private int takeMore(long index, int pfn) {
    boolean locked = false;
    boolean ref = false;
    boolean safe = false;
    boolean done = false;
    try {
      for (Step step : steps.more) {
        switch (step) {
          case REF -> {
            ref = frames.tryGet(pfn, Counts.REF);
            if (!ref) {
              return 0;
            }
          }
          case SAFE -> {
            inode.at(RacePoint.BETWEEN_REF_AND_SAFE, index);
            frames.markSafe(pfn);
            safe = true;
          }
          case LOCK -> {
            inode.at(RacePoint.BEFORE_GUEST_LOCK, index);
            if (CallbackContext.isInside()) {
              return -Errno.EDEADLK.code();
            }
            frames.lock(pfn);
            locked = true;
            if (!isInPlace(index, pfn)) {
              return 0;
            }
          }
          case UNLOCK -> {
            frames.unlock(pfn);
            locked = false;
          }
          case REF_AND_SAFE -> throw new AssertionError(step); // only ever the first
        }
      }
      if (steps.countsLast) {
        frames.markSafe(pfn); // it has a reference, or the lock of a folio that is in its place
      }
      if (locked) {
        frames.keepLock(pfn);
      }
      done = true;
      return pfn;
    } catch (InterruptedException e) {
      return -Refusals.ended(e).code();
    } finally {
      if (!done) {
        giveBack(pfn, safe, locked, ref);
      }
    }
  }

  /** Undoes the steps that were taken, and the lookup. */
  private void giveBack(int pfn, boolean safe, boolean locked, boolean ref) {
    CallbackContext.enterOperation(); // work that a put causes is done after the unlock
    try {
      if (safe) {
        frames.put(pfn, Counts.SAFE);
      }
      if (locked) {
        frames.unlock(pfn);
      }
      if (ref) {
        frames.put(pfn, Counts.REF);
      }
      if (steps.unit != 0) {
        frames.undoGet(pfn, steps.unit);
      }
    } finally {
      CallbackContext.leaveOperation();
    }
  }

  /**
   * Whether a folio that has been locked is what it was looked up as. If so, it stays that until it
   * is unlocked: an operation that makes the page busy waits for the lock.
   */
  private boolean isInPlace(long index, int pfn) {
    long slot = inode.cache.slot(index);
    return SlotWord.pfn(slot) == pfn && PageCache.isReadyHit(slot, Wanted.ANY);
  }

  /**
   * Gives back what {@link #take} took.
   *
   * @param index the page, for the race points; -1 if it is not known
   * @param pfn the frame
   * @throws IllegalStateException if there is no guest-side holder; nothing is given back
   */
  public void drop(long index, int pfn) {
    if (steps.oneStep) {
      frames.put(pfn, steps.unit);
      return;
    }
    if (steps.countsLast) {
      frames.put(pfn, Counts.SAFE);
    } else if (!steps.dropsSafeFirst) {
      frames.requireSafe(pfn);
    }
    dropOne(steps.drops.get(0), pfn);
    if (steps.drops.size() > 1) {
      Failures failures = new Failures();
      for (Step step : steps.drops.subList(1, steps.drops.size())) {
        failures.attempt(() -> inode.at(RacePoint.BETWEEN_DROPS, index));
        failures.attempt(() -> dropOne(step, pfn)); // whatever happens in between
      }
      failures.throwIfAny();
    }
  }

  private void dropOne(Step step, int pfn) {
    switch (step) {
      case REF -> frames.put(pfn, Counts.REF);
      case REF_AND_SAFE -> frames.put(pfn, Counts.SAFE_REF);
      case SAFE -> frames.put(pfn, Counts.SAFE);
      case LOCK -> frames.unlockKept(pfn);
      case UNLOCK -> throw new AssertionError("given back when it was taken");
    }
  }
}
