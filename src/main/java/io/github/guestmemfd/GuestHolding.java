package io.github.guestmemfd;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.cache.PageCache.Wanted;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.Step;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.spi.RacePoint;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;

/**
 * How guest-side holders hold folios: the steps of a protocol, checked and sorted.
 *
 * <p>Whatever its steps, each holder is counted once in the safe count of its frame, and what it
 * has besides (a reference, the folio lock) is of the library's own kind, which no put names. So a
 * put without a get, or of another kind, is seen in that count. It is raised by the step that says
 * so (SAFE, REF_AND_SAFE); in one step with the reference where REF is the only step; and where no
 * step says so, after the last one, and lowered before the first drop. A protocol whose steps do
 * not raise it is told 0 of it: {@link #safe}.
 */
final class GuestHolding {
  private final Inode inode;
  private final FrameTable frames;

  /** What the lookup takes; 0 if the holder begins with the folio lock. */
  private final long unit;

  /** Whether the protocol has its holders raise the safe count, and is told it. */
  private final boolean countsSafe;

  /** Whether holders are counted after the last step, and until the first drop. */
  private final boolean countsLast;

  /** The steps after the lookup. */
  private final List<Step> more;

  /** Whether there are none: the lookup takes, and gives back, all there is. */
  private final boolean oneStep;

  /** What is given back, in this order. */
  private final List<Step> drops;

  /** Whether the first of them lowers the safe count, and so finds out if there is a holder. */
  private final boolean dropsSafeFirst;

  /** Whether a holder has the folio lock for as long as it holds the folio. */
  final boolean keepsLock;

  /** Whether holders live by the page cache's reference. */
  final boolean borrows;

  GuestHolding(Inode inode, ConversionProtocol protocol) {
    this.inode = inode;
    frames = inode.host.frames;
    List<Step> takes = List.copyOf(protocol.guestTakes());
    drops = List.copyOf(protocol.guestDrops());
    check(protocol, takes, drops);
    Step first = takes.get(0);
    unit =
        switch (first) {
          case REF -> takes.size() == 1 ? Counts.SAFE_REF : Counts.REF;
          case SAFE -> Counts.SAFE;
          case REF_AND_SAFE -> Counts.SAFE_REF;
          case LOCK, UNLOCK -> 0;
        };
    more = unit == 0 ? takes : takes.subList(1, takes.size());
    keepsLock = drops.contains(Step.LOCK);
    oneStep = more.isEmpty();
    borrows = first == Step.SAFE;
    countsSafe = takes.contains(Step.SAFE) || takes.contains(Step.REF_AND_SAFE);
    countsLast = !countsSafe && !oneStep;
    dropsSafeFirst = drops.get(0) == Step.SAFE || drops.get(0) == Step.REF_AND_SAFE;
  }

  private static void check(ConversionProtocol protocol, List<Step> takes, List<Step> drops) {
    Set<Step> held = EnumSet.noneOf(Step.class);
    Set<Step> seen = EnumSet.noneOf(Step.class);
    String problem = takes.isEmpty() ? "at least one step to take" : "";
    for (int i = 0; i < takes.size() && problem.isEmpty(); i++) {
      Step step = takes.get(i);
      if (!seen.add(step) || (step == Step.UNLOCK && !held.remove(Step.LOCK))) {
        problem = "each step once, and UNLOCK after LOCK";
      } else if (step == Step.SAFE && !held.contains(Step.REF) && takes.size() > 1) {
        problem = "SAFE after REF, or alone";
      } else if (step == Step.REF_AND_SAFE && (held.contains(Step.REF) || i > 0)) {
        problem = "REF_AND_SAFE first, and without REF";
      } else if (step == Step.REF && held.contains(Step.REF_AND_SAFE)) {
        problem = "REF or REF_AND_SAFE, not both";
      } else if (step == Step.REF && i > 0 && !held.contains(Step.LOCK)) {
        problem = "REF first, or with the folio locked"; // else the frame may be another's by now
      } else if (step != Step.UNLOCK) {
        held.add(step);
      }
    }
    if (problem.isEmpty() && held.isEmpty()) {
      problem = "to hold something after the last step";
    }
    if (problem.isEmpty() && (drops.size() != held.size() || !held.containsAll(drops))) {
      problem = "to drop what is held: " + held;
    }
    if (problem.isEmpty() && protocol.freezes() && held.equals(EnumSet.of(Step.SAFE))) {
      // A frozen count can neither be raised nor lowered, and it would never be frozen under one.
      problem = "a protocol that freezes to have holders with a reference";
    }
    if (!problem.isEmpty()) {
      throw new IllegalArgumentException(
          "protocol "
              + protocol.id()
              + ": expected "
              + problem
              + ", actual takes "
              + takes
              + " and drops "
              + drops);
    }
  }

  /**
   * The safe count as the protocol is told it.
   *
   * @return the guest-side holders, or 0 if the protocol does not count them as safe
   */
  int safe(long counts) {
    return countsSafe ? Counts.safe(counts) : 0;
  }

  /** How many references each holder has, whether or not the protocol counts it as safe. */
  int refsOfOne() {
    return drops.contains(Step.REF) || drops.contains(Step.REF_AND_SAFE) ? 1 : 0;
  }

  /** How many of the references are safe holders'. */
  int safeRefs(long counts) {
    return borrows ? 0 : safe(counts);
  }

  /**
   * Holds the folio of a page, allocated, up to date and prepared.
   *
   * @return the frame, or a negated errno
   */
  int take(long index) {
    for (; ; ) {
      int pfn = inode.get(index, unit, Wanted.ANY);
      if (pfn < 0 || oneStep) {
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
      for (Step step : more) {
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
            if (Callbacks.isInside()) {
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
      if (countsLast) {
        frames.markSafe(pfn); // it has a reference, or the lock of a folio that is in its place
      }
      if (locked) {
        frames.keepLock(pfn);
      }
      done = true;
      return pfn;
    } catch (InterruptedException e) {
      return -Inode.ended(e).code();
    } finally {
      if (!done) {
        Callbacks.enterOperation(); // what a put brings about comes after the unlock
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
          if (unit != 0) {
            frames.undoGet(pfn, unit);
          }
        } finally {
          Callbacks.leaveOperation();
        }
      }
    }
  }

  /**
   * Whether a folio that has been locked is what it was looked up as. If so it stays that until it
   * is unlocked: whoever makes the page busy waits for the lock.
   */
  private boolean isInPlace(long index, int pfn) {
    long slot = inode.cache.slot(index);
    return SlotWord.pfn(slot) == pfn && PageCache.isHit(slot, Wanted.ANY) && SlotWord.isReady(slot);
  }

  /**
   * Gives back what {@link #take} took. The index is for the race points, -1 if not known.
   *
   * @throws IllegalStateException if there is no guest-side holder; nothing is given back
   */
  void drop(long index, int pfn) {
    if (oneStep) {
      frames.put(pfn, unit);
      return;
    }
    if (countsLast) {
      frames.put(pfn, Counts.SAFE);
    } else if (!dropsSafeFirst) {
      frames.requireSafe(pfn);
    }
    dropOne(drops.get(0), pfn);
    if (drops.size() > 1) {
      Failures failures = new Failures();
      for (Step step : drops.subList(1, drops.size())) {
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
