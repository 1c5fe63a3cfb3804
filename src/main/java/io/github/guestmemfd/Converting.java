package io.github.guestmemfd;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.abi.RangeRule;
import io.github.guestmemfd.file.FileOperations;
import io.github.guestmemfd.file.Inode;
import io.github.guestmemfd.file.PendingConversion;

/** Calls that convert a range of a file, or look at its attributes: their errors in order. */
final class Converting extends RangeCall {
  Converting(FileOperations file, boolean closed, String call, long offset, long length) {
    super(file, closed, call, offset, length);
  }

  /** Whether there is such a range, of a descriptor that is closed or not. */
  static Errno check(Inode inode, boolean closed, long offset, long length) {
    if (closed) {
      return Errno.EBADF;
    }
    return RangeRule.broken(offset, length, inode.size) == null ? Errno.OK : Errno.EINVAL;
  }

  private Errno check() {
    return check(file.inode, closed, offset, length);
  }

  /** The offset of the first accessible, or inaccessible, page; the end if there is none. */
  long first(boolean accessible) {
    Errno errno = check();
    if (errno != Errno.OK) {
      throw refused(errno);
    }
    long from = offset >> Pages.SHIFT;
    long to = from + (length >> Pages.SHIFT);
    return file.inode.cache.nextForHost(from, to, accessible) << Pages.SHIFT;
  }

  /** Begins a conversion to inaccessible that may complete later. */
  PendingConversion later() {
    Errno errno = check();
    long from = offset >> Pages.SHIFT;
    PendingConversion later =
        file.pendingDriver.toInaccessible(from, from + (length >> Pages.SHIFT));
    BusyFolio busy = new BusyFolio();
    if (errno == Errno.OK) {
      errno = file.pendingDriver.begin(later, busy.found);
    }
    if (busy.offset() >= 0 && !file.pendingDriver.completesLater()) {
      throw new ConversionBlockedException(busy);
    }
    if (errno != Errno.OK && busy.offset() < 0) {
      throw refused(errno);
    }
    return later;
  }

  /** The exception for what the call has answered. */
  GuestMemfdException refused(Errno errno) {
    if (errno == Errno.EBADF && closed) {
      return refused(errno, "the descriptor is closed");
    }
    String wrong = errno == Errno.EINVAL ? wrong() : null;
    return wrong == null ? refusedByFile(errno) : refused(errno, wrong);
  }
}
