package io.github.guestmemfd.kvm;

import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.Mutex;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentNavigableMap;
import java.util.concurrent.ConcurrentSkipListMap;

/**
 * The attributes of guest frames that belong to a virtual machine: the kernel's {@code
 * mem_attr_array}. All are shared at first. Kept as ranges of private frames that neither overlap
 * nor adjoin.
 *
 * <p>Reading takes no lock. A reader of a frame that is being changed sees either attribute, and
 * must look again when the invalidation of the range is over; a reader of any other frame is never
 * misled: a change enters what stays before it takes away what goes.
 */
final class VmAttributes {
  private final Mutex lock = new Mutex(LockClass.SLOTS_LOCK);

  /** The first frame of each range of private frames, and the one after its last. */
  private final ConcurrentNavigableMap<Long, Long> ranges = new ConcurrentSkipListMap<>();

  boolean isPrivate(long gfn) {
    Map.Entry<Long, Long> range = Announce.read(ranges).floorEntry(gfn);
    return range != null && gfn < range.getValue();
  }

  MemoryAttribute of(long gfn) {
    return isPrivate(gfn) ? MemoryAttribute.PRIVATE : MemoryAttribute.SHARED;
  }

  /** The first frame of a range that has another attribute; the end if none has. */
  long firstOther(long from, long to, MemoryAttribute attribute) {
    Map.Entry<Long, Long> range = Announce.read(ranges).floorEntry(from);
    boolean inside = range != null && from < range.getValue();
    if (attribute == MemoryAttribute.PRIVATE) {
      return inside ? Math.min(to, range.getValue()) : from;
    }
    if (inside) {
      return from;
    }
    Long next = Announce.read(ranges).higherKey(from);
    return next == null ? to : Math.min(to, next);
  }

  /** Whether they have gone to another virtual machine. Guarded by the lock. */
  private boolean moved;

  /**
   * Changes the attribute of a range that is being invalidated.
   *
   * @return whether it has: not if the attributes are another virtual machine's by now
   */
  boolean set(long from, long to, MemoryAttribute attribute) {
    lock.lock();
    try {
      if (moved) {
        return false;
      }
      if (attribute == MemoryAttribute.PRIVATE) {
        add(from, to);
      } else {
        remove(from, to);
      }
      return true;
    } finally {
      lock.unlock();
    }
  }

  /** Takes all of them away, for another virtual machine: from here on all frames are shared. */
  NavigableMap<Long, Long> take() {
    lock.lock();
    try {
      NavigableMap<Long, Long> taken = new TreeMap<>(Announce.read(ranges));
      Announce.write(ranges).clear();
      moved = true;
      return taken;
    } finally {
      lock.unlock();
    }
  }

  /** Replaces all of them, while everything is being invalidated. */
  void replace(NavigableMap<Long, Long> taken) {
    lock.lock();
    try {
      taken.forEach(this::add);
      long end = 0;
      for (Map.Entry<Long, Long> range : taken.entrySet()) {
        remove(end, range.getKey());
        end = range.getValue();
      }
      remove(end, Long.MAX_VALUE);
    } finally {
      lock.unlock();
    }
  }

  private void add(long from, long to) {
    long start = from;
    long end = to;
    Map.Entry<Long, Long> before = Announce.read(ranges).floorEntry(from);
    if (before != null && before.getValue() >= from) {
      start = before.getKey();
      end = Math.max(end, before.getValue());
    }
    Map.Entry<Long, Long> last = Announce.read(ranges).floorEntry(to);
    if (last != null) {
      end = Math.max(end, last.getValue());
    }
    Announce.write(ranges).put(start, end);
    removeStarts(start + 1, end);
  }

  private void remove(long from, long to) {
    Map.Entry<Long, Long> last = Announce.read(ranges).lowerEntry(to);
    if (last == null || last.getValue() <= from) {
      return;
    }
    if (last.getValue() > to) {
      Announce.write(ranges).put(to, last.getValue());
    }
    Map.Entry<Long, Long> before = Announce.read(ranges).lowerEntry(from);
    if (before != null && before.getValue() > from) {
      Announce.write(ranges).put(before.getKey(), from);
    }
    removeStarts(from, to - 1);
  }

  private void removeStarts(long first, long last) {
    Long start = Announce.read(ranges).ceilingKey(first);
    while (start != null && start <= last) {
      Announce.write(ranges).remove(start);
      start = Announce.read(ranges).higherKey(start);
    }
  }
}
