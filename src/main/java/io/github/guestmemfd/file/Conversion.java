package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.cache.Folios;
import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.observe.ConversionEvent;
import io.github.guestmemfd.observe.Events;
import io.github.guestmemfd.observe.Meter;
import io.github.guestmemfd.spi.RacePoint;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * The conversion of ranges, all or nothing.
 *
 * <h2>A range operation</h2>
 *
 * Converting and punching go by the same steps, each complete before the next begins:
 *
 * <ol>
 *   <li>make every page of the range busy (of the file, if the protocol says so): from here on no
 *       use of one begins;
 *   <li>(not to accessible) unmap the range from every host mapping, waiting for the accesses under
 *       way before references are given back;
 *   <li>wait for each folio's lock to be free: then no folio is being zeroed or prepared; what the
 *       protocol refuses outright is refused before that;
 *   <li>(to inaccessible) ask the protocol about each folio's counts; on a mismatch look again as
 *       the retry policy says;
 *   <li>{@code invalidateBegin}; for a conversion wait for the accesses under way by any path,
 *       prepare each folio, and if it is to accessible {@code makeShared}; change the slots; {@code
 *       invalidateEnd}; a conversion does the first and the last for each run of pages that change;
 *   <li>make the pages free again and wake the threads that wait.
 * </ol>
 *
 * Up to the change of the slots everything can be undone, and is, if anything refuses or throws. A
 * punch begins with {@code invalidateBegin}, so that clients can let go before the protocol is
 * asked about what is left.
 *
 * <p>A conversion does steps 2 to 5 to the pages that change. Those that are as wanted already are
 * left alone, since there are guests for which the content of a page is lost when it is
 * invalidated; where all are, it ends after step 1.
 *
 * <h2>A pending conversion</h2>
 *
 * A conversion that may complete later leaves its pages marked as neither side's instead of busy:
 * other range operations can look at them and lock them, and one that changes any of them first
 * undoes the pending conversion. See {@link PendingConversion}.
 */
public final class Conversion {
  private final Inode inode;
  private final PageCache cache;
  private final PendingConversions pendings;
  private final RefCheck refCheck;
  private final ReverseMap reverseMap;
  private final Invalidation invalidation;
  private final Preparation preparation;
  private final RetryPolicy retry;

  Conversion(
      Inode inode,
      PendingConversions pendings,
      RefCheck refCheck,
      ReverseMap reverseMap,
      Callbacks callbacks,
      Preparation preparation,
      RetryPolicy retry) {
    this.inode = inode;
    this.cache = inode.cache;
    this.pendings = pendings;
    this.refCheck = refCheck;
    this.reverseMap = reverseMap;
    this.invalidation = new Invalidation(inode, callbacks, preparation);
    this.preparation = preparation;
    this.retry = retry;
  }

  /**
   * Converts a range.
   *
   * @param from the first page
   * @param to the page after the last, in the file
   * @param inaccessible whether to make it inaccessible, not accessible
   * @param busy says which folio was in the way, if given
   * @return OK, or why not
   */
  public Errno convert(long from, long to, boolean inaccessible, @Nullable Mismatch busy) {
    return convert(from, to, inaccessible, busy, null);
  }

  Errno convert(
      long from,
      long to,
      boolean inaccessible,
      @Nullable Mismatch busy,
      @Nullable PendingConversion later) {
    ConversionEvent event = Events.conversion();
    Mismatch looks = busy == null && event != null ? new Mismatch() : busy;
    Mismatch inTheWay = null;
    Errno errno = null;
    try {
      Errno locked =
          pendings.lockToChange(
              from, to, inaccessible ? "made inaccessible anew" : "made accessible");
      if (locked != Errno.OK) {
        errno = locked;
        return errno;
      }
      try {
        long first = cache.next(from, to, !inaccessible);
        inTheWay = claim(first, to, inaccessible, retry, looks);
        if (inTheWay != null && later != null) {
          pendings.leavePending(later, inTheWay);
        }
        errno = inTheWay == null ? commitClaimed(from, first, to, inaccessible) : Errno.EAGAIN;
      } catch (InterruptedException e) {
        errno = Refusals.ended(e);
      } finally {
        pendings.unlockChanged(from, to);
      }
      return errno;
    } finally {
      Mismatch refusedFor = errno == Errno.EAGAIN ? inTheWay : null;
      boolean isLeftPending = refusedFor != null && later != null;
      if (!isLeftPending) {
        countConversion(errno, inaccessible, refusedFor);
      }
      if (event != null) {
        String result = isLeftPending ? "PENDING" : Events.name(errno);
        int retries = looks == null ? 0 : looks.retries;
        event.finish(inode.ino, from, to, inaccessible, result, retries);
      }
    }
  }

  /**
   * Counts a conversion that is over.
   *
   * @param errno how it ended; null with an exception
   * @param busy the folio that it was refused for, if it was
   */
  void countConversion(@Nullable Errno errno, boolean inaccessible, @Nullable Mismatch busy) {
    Meter meter;
    if (errno == Errno.OK) {
      meter = inaccessible ? Meter.CONVERSIONS_TO_INACCESSIBLE : Meter.CONVERSIONS_TO_ACCESSIBLE;
    } else if (busy != null) {
      meter = busy.hasOthers() ? Meter.REFUSED_OTHERS_COUNTED : Meter.REFUSED_NO_OTHERS_COUNTED;
    } else {
      meter = Meter.CONVERSIONS_FAILED;
    }
    inode.meters.count(meter);
  }

  /**
   * Steps 2 to 4 of a conversion of a locked range: nothing changes yet.
   *
   * @param first the first page that changes; {@code to} if all of it is as wanted
   * @param busy is told which folio is in the way, if given
   * @return null if every page may change, which {@link #commitClaimed} is to end; else {@code
   *     busy}, or a new one, which names the folio in the way
   */
  @Nullable Mismatch claim(
      long first, long to, boolean inaccessible, RetryPolicy policy, @Nullable Mismatch busy)
      throws InterruptedException {
    if (first == to) {
      return null;
    }
    if (!inaccessible) {
      awaitInaccessibleUnlocked(first, to);
      return null;
    }
    boolean done = false;
    try {
      reverseMap.unmapAccessible(first, to);
      Mismatch inTheWay = refCheck.awaitRefsAndFreeze(first, to, policy, busy);
      done = inTheWay == null;
      return inTheWay;
    } finally {
      if (!done) {
        refCheck.unfreeze(first, to);
      }
    }
  }

  /**
   * Commits what has been {@link #claim claimed}.
   *
   * @param index the page for the race point
   */
  Errno commitClaimed(long index, long first, long to, boolean inaccessible)
      throws InterruptedException {
    if (first == to) {
      return Errno.OK; // all of it is as wanted
    }
    try {
      inode.at(RacePoint.BEFORE_COMMIT, index);
      return commit(first, to, inaccessible);
    } finally {
      if (inaccessible) {
        refCheck.unfreeze(first, to);
      }
    }
  }

  /** Step 3 of a conversion to accessible, which does not look at counts. */
  private void awaitInaccessibleUnlocked(long from, long to) throws InterruptedException {
    for (Folios folios = cache.folios(from, to); folios.next(); ) {
      if (SlotWord.isInaccessible(folios.slot())) {
        inode.frames.awaitUnlocked(folios.pfn());
      }
    }
  }

  /**
   * Step 5: invalidates what changes, prepares the folios and changes the slots; or nothing of
   * that. Each run of pages that change is an invalidation of its own, which ends in any case. If
   * the attributes are undone after that has begun to end, each run is invalidated once more.
   *
   * @param from the first page that changes
   */
  private Errno commit(long from, long to, boolean inaccessible) throws InterruptedException {
    Errno errno = invalidation.begin(from, to, inaccessible);
    if (errno != Errno.OK) {
      return errno;
    }
    boolean prepared = false;
    boolean changed = false;
    boolean done = false;
    try {
      try {
        // By clients: they have been told, and begin no more.
        reverseMap.awaitAccessesToChanging(from, to, inaccessible);
        if (inode.host.poisonsViews && inaccessible && !inode.isOutOfDirectMap(false)) {
          moveAway(from, to);
        }
        errno = preparation.prepareAll(from, to, inaccessible);
        prepared = errno == Errno.OK;
        if (prepared) {
          if (!inaccessible) {
            preparation.makeShared(from, to);
          }
          cache.setAttribute(from, to, inaccessible);
          changed = true;
          inode.at(RacePoint.AFTER_COMMIT, from);
        }
      } catch (Throwable e) {
        invalidation.endAfter(e, from, to, inaccessible, changed);
        throw e;
      }
      invalidation.end(from, to, inaccessible, changed);
      done = true;
      return errno;
    } finally {
      if (changed && !done) {
        cache.undoAttribute(from, to);
        invalidation.undo(from, to, inaccessible);
      } else if (prepared && !done) {
        preparation.unprepare(from, to, inaccessible);
      } else if (changed && !inaccessible) {
        preparation.restoreToDirectMap(from, to);
      }
    }
  }

  /**
   * Moves pages off the frames that the host has used, so that a view which is used after its
   * reference is gone sees poison, and not what becomes of the page. The old frames are freed only
   * when all pages have moved, so that none of the pages moves to one of them.
   */
  private void moveAway(long from, long to) {
    int[] left = new int[16];
    int n = 0;
    Failures failures = new Failures();
    try {
      for (Folios folios = cache.folios(from, to); folios.next(); ) {
        if (n == left.length) {
          left = Arrays.copyOf(left, 2 * n); // before the next frame is left
        }
        left[n] = SlotWord.isInaccessible(folios.slot()) ? 0 : cache.move(folios.index());
        n += left[n] == 0 ? 0 : 1;
      }
    } catch (RuntimeException | Error e) {
      failures.add(e);
    }
    while (n > 0) {
      int pfn = left[--n];
      failures.attempt(() -> cache.putMoved(pfn));
    }
    failures.throwIfAny();
  }
}
