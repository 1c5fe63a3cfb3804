package io.github.guestmemfd.testing;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.LongUnaryOperator;

/** A client: maps folios for its guest, and unmaps what is invalidated. */
class GuestPageTable implements GuestMemfdOps {

  /** A page that the guest can use: its reference, and its bytes for as long as that is held. */
  record Mapped(Folio folio, ByteBuffer bytes) {}

  final ReentrantLock lock = new ReentrantLock(); // not held while the library is called
  final NavigableMap<Long, Mapped> mapped = new TreeMap<>(); // by guest address
  final GuestSlot slot;
  private long invalidations;

  GuestPageTable() {
    this(new GuestSlot(0, 0, 1L << 50));
  }

  GuestPageTable(GuestSlot slot) {
    this.slot = slot;
  }

  /** The guest touches a page: its folio is held until the page is invalidated. */
  void map(GuestMemfd memfd, long offset) {
    for (boolean over = false; !over; ) {
      long before = invalidations();
      Folio folio = memfd.grab(offset);
      Mapped page = new Mapped(folio, folio.buffer());
      boolean kept = false;
      lock.lock();
      try {
        over = invalidations == before; // or else this one may have been missed: once more
        kept = over && mapped.putIfAbsent(slot.addressOf(offset), page) == null;
      } finally {
        lock.unlock();
      }
      if (!kept) {
        folio.close();
      }
    }
  }

  /** The guest accesses a page, if it is mapped. An invalidation waits for the lock. */
  boolean access(GuestMemfd memfd, long offset, LongUnaryOperator number) {
    lock.lock();
    try {
      Mapped page = mapped.get(slot.addressOf(offset));
      if (page == null) {
        return false;
      }
      page.bytes.putLong(0, number.applyAsLong(page.bytes.getLong(0)));
      return true;
    } finally {
      lock.unlock();
    }
  }

  long invalidations() {
    lock.lock();
    try {
      return invalidations;
    } finally {
      lock.unlock();
    }
  }

  /** What is mapped of a range of the file: its part that is in the slot. */
  Map<Long, Mapped> range(long offset, long length) {
    long from = Math.max(offset - slot.offset(), 0);
    long to = Math.min(offset + length - slot.offset(), slot.length());
    return from >= to
        ? Map.of()
        : mapped.subMap(slot.guestAddress() + from, slot.guestAddress() + to);
  }

  /** Takes pages away from the guest; their references are dropped later, without the lock. */
  List<Mapped> zap(long offset, long length) {
    lock.lock();
    try {
      invalidations++;
      Map<Long, Mapped> range = range(offset, length);
      List<Mapped> zapped = List.copyOf(range.values());
      if (!zapped.isEmpty()) {
        range.clear();
      }
      return zapped;
    } finally {
      lock.unlock();
    }
  }

  static void drop(List<Mapped> pages) {
    pages.forEach(page -> page.folio.close());
  }

  @Override
  public Errno invalidateBegin(long offset, long length) {
    drop(zap(offset, length));
    return Errno.OK;
  }

  @Override
  public void freeFolio(Folio folio) {
    folio.zero();
  }

  @Override
  public void release() {
    List<Mapped> left;
    lock.lock();
    try {
      left = new ArrayList<>(mapped.values());
      mapped.clear();
    } finally {
      lock.unlock();
    }
    drop(left);
  }
}
