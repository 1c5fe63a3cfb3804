package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FolioHolders;
import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.observe.ConversionEvent;
import io.github.guestmemfd.observe.Events;
import io.github.guestmemfd.observe.Meter;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.spi.Wait;
import java.util.concurrent.CancellationException;

/**
 * The driver of a file's pending conversions: begins, tries and undoes them. {@link
 * PendingConversion} is one of them, {@link PendingConversions} the set.
 */
public final class PendingConversionDriver implements PendingConversion.Driver {
  private final Inode inode;
  private final PageCache cache;
  private final RangeLock rangeLock;
  private final PendingConversions pendings;
  private final Conversion conversion;
  private final RefCheck refCheck;
  private final HolderCounts holderCounts;
  private final RetryPolicy retry;

  PendingConversionDriver(
      Inode inode,
      RangeLock rangeLock,
      PendingConversions pendings,
      Conversion conversion,
      RefCheck refCheck,
      HolderCounts holderCounts,
      RetryPolicy retry) {
    this.inode = inode;
    this.cache = inode.cache;
    this.rangeLock = rangeLock;
    this.pendings = pendings;
    this.conversion = conversion;
    this.refCheck = refCheck;
    this.holderCounts = holderCounts;
    this.retry = retry;
  }

  /**
   * A conversion that has not begun.
   *
   * @param from the first page
   * @param to the page after the last
   * @return the conversion
   */
  public PendingConversion toInaccessible(long from, long to) {
    return new PendingConversion(inode, this, from, to);
  }

  /**
   * Makes a range inaccessible, now or later.
   *
   * @param later a conversion that has not begun
   * @param busy says which folio is, or was, in the way
   * @return EAGAIN if a folio is in the way; the conversion is pending then if the retry policy
   *     lets it
   */
  public Errno begin(PendingConversion later, Mismatch busy) {
    Errno errno =
        conversion.convert(later.from, later.to, true, busy, retry.completesLater() ? later : null);
    if (errno == Errno.OK) {
      later.decide(null);
      later.complete();
    }
    return errno;
  }

  /**
   * Whether a conversion that only a holder is in the way of may complete later.
   *
   * @return the answer
   */
  public boolean completesLater() {
    return retry.completesLater();
  }

  @Override
  public boolean mayTurnInaccessible(long counts) {
    return refCheck.mayTurnInaccessible(counts);
  }

  @Override
  public FolioHolders holders(long index) {
    return holderCounts.of(index);
  }

  @Override
  public boolean undo(PendingConversion later, Throwable why, Failures failures) {
    if (!inode.beginOperation()) {
      return later.endWithoutPages(why); // the end of the file gives them back
    }
    try {
      if (!cache.lock(later.from, later.to)) {
        return false;
      }
      try {
        failures.attempt(() -> inode.at(RacePoint.RANGE_BUSY, later.from));
        return pendings.giveBack(later, why);
      } finally {
        cache.unlock(later.from, later.to);
      }
    } catch (InterruptedException e) {
      Wait.restore(e);
      boolean ended = later.endWithoutPages(why);
      later.tryLater();
      return ended;
    } finally {
      inode.endOperation();
    }
  }

  @Override
  public void attempt(PendingConversion later) {
    if (!later.mayBeTried() || !inode.beginOperation()) {
      return; // nothing to do, or the end of the file undoes it
    }
    long from = rangeLock.first(later.from);
    long to = rangeLock.last(later.to);
    boolean locked = false;
    try {
      locked = rangeLock.makeBusy(from, to) == Errno.OK;
      if (!locked) {
        later.tryLater();
      } else if (later.beginTry()) {
        tryLocked(later, from);
      }
      if (locked && later.isEnded()) {
        pendings.giveBack(later, new CancellationException());
        CallbackContext.complete(later);
      }
    } finally {
      if (locked) {
        cache.unlock(from, to);
      }
      inode.endOperation();
    }
  }

  /** Tries a pending conversion that its caller has claimed, with the pages locked. */
  private void tryLocked(PendingConversion later, long lockedFrom) {
    ConversionEvent event = Events.conversion();
    Mismatch inTheWay = null;
    Errno errno = null;
    Throwable failure = null;
    boolean again = false;
    try {
      inode.at(RacePoint.RANGE_BUSY, lockedFrom);
      long first = cache.next(later.from, later.to, false);
      inTheWay = conversion.claim(first, later.to, true, RetryPolicy.failAtOnce(), null);
      if (inTheWay == null) {
        errno = conversion.commitClaimed(later.from, first, later.to, true);
      }
      // An interrupt or a refused wait; a callback that just answers EINTR fails the conversion.
      again = errno == Errno.EINTR && (Wait.isRefused() || Thread.currentThread().isInterrupted());
    } catch (InterruptedException e) {
      Wait.restore(e);
      again = true;
    } catch (RuntimeException | Error e) {
      failure = e;
    }
    if (again) {
      later.pend();
      later.tryLater();
      return;
    }
    if (inTheWay != null) {
      later.pendUntilLetGo(inTheWay);
      return;
    }
    if (errno != null && errno != Errno.OK) {
      failure = inode.refused(errno, "completing the conversion of " + later.describe());
    }
    pendings.remove(later);
    inode.meters.count(errno == Errno.OK ? Meter.PENDING_COMPLETED : Meter.PENDING_UNDONE);
    conversion.countConversion(errno, true, null);
    if (event != null) {
      event.finish(inode.ino, later.from, later.to, true, Events.name(errno), 0);
    }
    later.decide(failure);
    CallbackContext.complete(later);
  }
}
