package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.InvalidationFilter;
import io.github.guestmemfd.cache.Folios;
import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.observe.Events;
import io.github.guestmemfd.observe.Meter;
import io.github.guestmemfd.observe.PunchEvent;

/** The punching of holes: takes the folios of a range out of the file. */
public final class Truncation {
  private final Inode inode;
  private final PageCache cache;
  private final PendingConversions pendings;
  private final RefCheck refCheck;
  private final ReverseMap reverseMap;
  private final Callbacks callbacks;
  private final RetryPolicy retry;

  Truncation(
      Inode inode,
      PendingConversions pendings,
      RefCheck refCheck,
      ReverseMap reverseMap,
      Callbacks callbacks,
      RetryPolicy retry) {
    this.inode = inode;
    this.cache = inode.cache;
    this.pendings = pendings;
    this.refCheck = refCheck;
    this.reverseMap = reverseMap;
    this.callbacks = callbacks;
    this.retry = retry;
  }

  /**
   * Punches a range.
   *
   * @param from the first page
   * @param end the page after the last; may lie past the end of the file
   * @param busy says which folio was in the way
   * @return OK, or why not
   */
  public Errno punch(long from, long end, Mismatch busy) {
    PunchEvent event = Events.punch();
    Errno errno = null;
    try {
      errno = tryPunch(from, end, busy);
      return errno;
    } finally {
      inode.meters.count(errno == Errno.OK ? Meter.PUNCHES : Meter.PUNCHES_REFUSED);
      if (event != null) {
        event.finish(inode.ino, from, end, Events.name(errno));
      }
    }
  }

  private Errno tryPunch(long from, long end, Mismatch busy) {
    long to = Math.min(end, inode.pages);
    if (from >= to) {
      inode.updateMtime();
      return Errno.OK;
    }
    Errno errno = pendings.lockToChange(from, to, "punched");
    if (errno != Errno.OK) {
      return errno;
    }
    try {
      errno = callbacks.invalidateBegin(from, to, InvalidationFilter.BOTH);
      return errno == Errno.OK ? truncate(from, to, busy) : errno;
    } finally {
      pendings.unlockChanged(from, to);
    }
  }

  /**
   * Takes the folios of a locked range out of the file, if the protocol has nothing against that,
   * and says that the invalidation is over.
   */
  private Errno truncate(long from, long to, Mismatch busy) {
    Errno errno = Errno.OK;
    Failures failures = new Failures();
    try {
      if (!refCheck.awaitRefsToPunch(from, to, retry, busy)) {
        errno = Errno.EBUSY;
      } else {
        reverseMap.unmap(from, to);
        for (Folios folios = cache.folios(from, to); folios.next(); ) {
          long index = folios.index();
          failures.attempt(() -> cache.remove(index));
        }
        inode.updateMtime();
      }
    } catch (InterruptedException e) {
      errno = Refusals.ended(e);
    } catch (RuntimeException | Error e) {
      failures.add(e);
    }
    failures.attempt(() -> callbacks.invalidateEnd(from, to));
    failures.throwIfAny();
    return errno;
  }
}
