package io.github.guestmemfd.testing;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.locks.ReentrantLock;

/** A client: maps folios for its guest, and unmaps what is invalidated. */
class GuestPageTable implements GuestMemfdOps {
  private final ReentrantLock lock = new ReentrantLock(); // never held while a grab may wait
  private final TreeMap<Long, Folio> mapped = new TreeMap<>();
  private long invalidations;

  /** The guest touches a page: its folio is held until the page is invalidated. */
  void map(GuestMemfd memfd, long offset) {
    for (boolean over = false; !over; ) {
      long before = invalidations();
      Folio folio = memfd.grab(offset);
      boolean kept = false;
      lock.lock();
      try {
        over = invalidations == before; // or else this one may have been missed: once more
        kept = over && mapped.putIfAbsent(offset, folio) == null;
      } finally {
        lock.unlock();
      }
      if (!kept) {
        folio.close();
      }
    }
  }

  private long invalidations() {
    lock.lock();
    try {
      return invalidations;
    } finally {
      lock.unlock();
    }
  }

  private void unmap(Map<Long, Folio> range) {
    lock.lock();
    try {
      invalidations++;
      range.values().forEach(Folio::close);
      range.clear();
    } finally {
      lock.unlock();
    }
  }

  @Override
  public Errno invalidateBegin(long offset, long length) {
    unmap(mapped.subMap(offset, offset + length));
    return Errno.OK;
  }

  @Override
  public void freeFolio(Folio folio) {
    folio.zero();
  }

  @Override
  public void release() {
    unmap(mapped);
  }
}
