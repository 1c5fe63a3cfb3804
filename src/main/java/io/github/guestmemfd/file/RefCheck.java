package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.cache.Folios;
import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.observe.Events;
import io.github.guestmemfd.observe.HolderRegister;
import io.github.guestmemfd.observe.Meter;
import io.github.guestmemfd.observe.RefusalEvent;
import io.github.guestmemfd.observe.RetryEvent;
import io.github.guestmemfd.spi.Exploration;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.spi.Wait;
import java.util.List;
import java.util.function.LongPredicate;
import org.jspecify.annotations.Nullable;

/**
 * The check of references before folios change: asks the protocol whether the counts of each folio
 * allow it, looks again as the retry policy says, and freezes the counts if the protocol wants that
 * for a conversion.
 */
final class RefCheck {
  /** What is to be done with the folios. */
  private enum Purpose {
    /** They turn inaccessible; those that already are stay as they are. */
    CONVERT,
    /** They leave the file. */
    PUNCH
  }

  private static final long REFUSED = -1;

  private final Inode inode;
  private final GuestSteps guest;
  private final PageCache cache;
  private final FrameTable frames;
  private final ConversionProtocol protocol;
  private final LongPredicate mayTurnInaccessible;
  private final LongPredicate mayPunch;
  private final boolean freezes;
  private final boolean waitsWithFolioLock;

  RefCheck(Inode inode, ConversionProtocol protocol, GuestSteps guest) {
    this.inode = inode;
    this.guest = guest;
    this.cache = inode.cache;
    this.frames = inode.frames;
    this.protocol = protocol;
    boolean freezing = protocol.freezes();
    this.freezes = freezing;
    this.mayTurnInaccessible =
        counts ->
            (!freezing || Counts.isCachesAlone(counts)) // else it could not be frozen
                && protocol.mayTurnInaccessible(Counts.refs(counts), guest.safe(counts));
    this.mayPunch = counts -> protocol.mayPunch(Counts.refs(counts), guest.safe(counts));
    this.waitsWithFolioLock = protocol.waitsWithFolioLock();
  }

  /** Whether a folio with these counts may turn inaccessible. */
  boolean mayTurnInaccessible(long counts) {
    return mayTurnInaccessible.test(counts);
  }

  /**
   * Waits, for as long as the policy says, until the protocol lets every folio of a locked range
   * turn inaccessible; freezes each that is to change, if the protocol freezes: the kernel's {@code
   * folio_ref_freeze}. The caller ends this with {@link #unfreeze}, whatever the answer.
   *
   * @param policy what to do while the protocol refuses
   * @param busy is told which folio is in the way, if given
   * @return null if every folio may change now; else {@code busy}, or a new one, which names the
   *     folio in the way
   */
  @Nullable Mismatch awaitRefsAndFreeze(
      long from, long to, RetryPolicy policy, @Nullable Mismatch busy) throws InterruptedException {
    return awaitExpectedRefs(from, to, Purpose.CONVERT, policy, busy);
  }

  /**
   * Waits, for as long as the policy says, until the protocol lets every folio of a locked range
   * leave the file. Freezes nothing.
   *
   * @param policy what to do while the protocol refuses
   * @param busy is told which folio is in the way
   * @return whether every folio may leave now
   */
  boolean awaitRefsToPunch(long from, long to, RetryPolicy policy, Mismatch busy)
      throws InterruptedException {
    return awaitExpectedRefs(from, to, Purpose.PUNCH, policy, busy) == null;
  }

  private @Nullable Mismatch awaitExpectedRefs(
      long from, long to, Purpose purpose, RetryPolicy policy, @Nullable Mismatch busy)
      throws InterruptedException {
    LruDrain drain = inode.host.lru == null ? null : new LruDrain(inode.host);
    boolean converts = purpose == Purpose.CONVERT;
    Mismatch found = busy; // made when needed: most often every folio may change at once
    long waitNanos = policy.waitNanos();
    for (Folios folios = cache.folios(from, to); folios.next(); ) {
      if (converts && SlotWord.isInaccessible(folios.slot())) {
        continue; // stays as it is
      }
      int pfn = folios.pfn();
      long seen = converts ? frames.counts(pfn) : 0;
      boolean outright = converts && refusesOutright(seen);
      if (!outright && checkOnce(pfn, purpose)) {
        continue;
      }
      if (found == null) {
        found = new Mismatch();
      }
      if (outright) {
        inode.at(RacePoint.ON_MISMATCH, folios.index());
        tell(found, folios.index(), pfn, seen);
        waitNanos = REFUSED;
      } else {
        waitNanos =
            awaitExpectedRefs(
                folios.index(), pfn, purpose, policy.spins(), waitNanos, drain, found);
      }
      if (waitNanos == REFUSED) {
        record(found, converts);
        return found;
      }
    }
    return null;
  }

  private void record(Mismatch busy, boolean converts) {
    RefusalEvent refusal = Events.refusal();
    if (refusal != null) {
      refusal.finish(
          inode.ino,
          busy.offset(),
          !converts,
          busy.unsafe(),
          busy.pinned(),
          busy.accessible(),
          busy.safe());
    }
  }

  /**
   * Whether a folio may change now, once its lock is free; freezes it then, if it is to be frozen.
   * What the protocol refuses outright is refused before that: the thread that keeps the lock may
   * wait for the holder. No folio may if the protocol waits with its lock held.
   */
  private boolean checkOnce(int pfn, Purpose purpose) throws InterruptedException {
    if (keepsLock(purpose)) {
      return false;
    }
    frames.awaitUnlocked(pfn);
    return checkAndFreeze(pfn, purpose);
  }

  private boolean keepsLock(Purpose purpose) {
    return waitsWithFolioLock && purpose == Purpose.CONVERT;
  }

  /**
   * After a mismatch: looks at one folio again, with its lock held if the protocol waits with it.
   *
   * @return how long the other folios may be waited for, or {@link #REFUSED}
   */
  private long awaitExpectedRefs(
      long index,
      int pfn,
      Purpose purpose,
      int spins,
      long waitNanos,
      @Nullable LruDrain drain,
      Mismatch busy)
      throws InterruptedException {
    boolean keepLock = keepsLock(purpose);
    if (keepLock) {
      frames.lock(pfn);
    }
    try {
      if (keepLock && checkAndFreeze(pfn, purpose)) {
        return waitNanos; // it has not been looked at before
      }
      long start = Exploration.nanoTime();
      RetryEvent event = Events.retry();
      int looks = busy.retries;
      long counts = retry(index, pfn, purpose, spins, waitNanos, drain, busy);
      if (event != null) {
        event.finish(inode.ino, index, busy.retries - looks, counts == 0);
      }
      if (counts == 0) {
        return Math.max(0, waitNanos - (Exploration.nanoTime() - start));
      }
      tell(busy, index, pfn, counts);
      return REFUSED;
    } finally {
      if (keepLock) {
        frames.unlock(pfn);
      }
    }
  }

  private boolean refusesOutright(long counts) {
    return protocol.refusesOutright(Counts.refs(counts), guest.safe(counts)) // most never do
        && !mayTurnInaccessible.test(counts);
  }

  private void tell(Mismatch busy, long index, int pfn, long counts) {
    HolderRegister register = inode.host.register;
    busy.set(
        Pages.bytes(index),
        counts,
        guest.safe(counts),
        guest.safeRefs(counts),
        register == null ? List.of() : register.of(pfn));
  }

  private LongPredicate condition(Purpose purpose) {
    return purpose == Purpose.CONVERT ? mayTurnInaccessible : mayPunch;
  }

  /** Returns whether a folio may change now; freezes it then, if it is to be frozen. */
  private boolean checkAndFreeze(int pfn, Purpose purpose) {
    if (freezes && purpose == Purpose.CONVERT) {
      inode.at(RacePoint.BEFORE_FREEZE, -1);
      return frames.freeze(pfn, mayTurnInaccessible);
    }
    return condition(purpose).test(frames.counts(pfn));
  }

  /** Unfreezes the folios of a locked range that {@link #awaitRefsAndFreeze} has frozen. */
  void unfreeze(long from, long to) {
    if (!freezes) {
      return;
    }
    for (Folios folios = cache.folios(from, to); folios.next(); ) {
      int pfn = folios.pfn();
      if (frames.isFrozen(pfn)) {
        frames.unfreeze(pfn);
      }
    }
  }

  /**
   * After a mismatch: drains the LRU batches, and looks at the counts again as the retry policy
   * says; counts the looks in {@code busy}. Returns 0 when the folio may change, else the counts,
   * never 0, that say it may not.
   */
  private long retry(
      long index,
      int pfn,
      Purpose purpose,
      int spins,
      long waitNanos,
      @Nullable LruDrain drain,
      Mismatch busy)
      throws InterruptedException {
    inode.at(RacePoint.ON_MISMATCH, index);
    while (drain != null && drain.next()) {
      if (checkAndFreeze(pfn, purpose)) {
        return 0;
      }
    }
    long seen = frames.counts(pfn);
    if (!protocol.isWorthWaiting(Counts.refs(seen), guest.safe(seen), Counts.accessible(seen))) {
      return checkAndFreeze(pfn, purpose) ? 0 : seen;
    }
    for (int round = 0; round < spins; round++) {
      Wait.once(inode.host.idle, round, Wait.BRIEF_NANOS);
      countRetry(busy);
      if (checkAndFreeze(pfn, purpose)) {
        return 0;
      }
    }
    long end = Exploration.nanoTime() + waitNanos;
    for (long left = waitNanos; left > 0; left = end - Exploration.nanoTime()) {
      inode.meters.count(Meter.HOLDER_WAITS);
      if (frames.awaitCounts(pfn, condition(purpose), left)) {
        countRetry(busy);
        if (checkAndFreeze(pfn, purpose)) {
          return 0;
        }
      }
    }
    long counts = frames.counts(pfn);
    return checkAndFreeze(pfn, purpose) ? 0 : counts;
  }

  private void countRetry(Mismatch busy) {
    busy.retries++;
    inode.meters.count(Meter.RETRIES);
  }
}
