package io.github.guestmemfd.spi;

import java.util.Arrays;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * What a thread holds, in the order in which it took it. For one thread, but that any thread may
 * {@linkplain KeptLock#giveBack give back} what is kept beyond a call. Makes no objects but for
 * that.
 */
final class HeldLocks {
  /** A lock that is held. Used again for other locks. */
  private static final class Entry {
    LockClass lockClass = LockClass.ACCESS;
    @Nullable Object lock;
    long from;
    long to;
    @Nullable KeptLock kept;
  }

  private Entry[] entries = new Entry[0];
  private int count;

  /** Whether the thread plays others in a test: what they take is not its own. */
  boolean playsOthers;

  // ---- changes ----

  void add(LockClass lockClass, Object lock, long from, long to, @Nullable KeptLock kept) {
    if (playsOthers) {
      return;
    }
    if (count == entries.length) {
      entries = Arrays.copyOf(entries, count + 8);
      for (int i = count; i < entries.length; i++) {
        entries[i] = new Entry();
      }
    }
    Entry entry = entries[count++];
    entry.lockClass = lockClass;
    entry.lock = lock;
    entry.from = from;
    entry.to = to;
    entry.kept = kept;
  }

  /**
   * Removes a lock that was taken, or the beginning or end of a range that was.
   *
   * @return false if there is none
   */
  boolean remove(LockClass lockClass, Object lock, long from, long to) {
    for (int i = count - 1; i >= 0; i--) {
      Entry entry = entries[i];
      if (entry.lockClass == lockClass
          && entry.lock == lock
          && entry.from <= from
          && entry.to >= to
          && (entry.from == from || entry.to == to)) {
        if (entry.from != from) {
          entry.to = from;
        } else if (entry.to != to) {
          entry.from = to;
        } else {
          removeAt(i);
        }
        return true;
      }
    }
    return playsOthers;
  }

  private void removeAt(int at) {
    Entry removed = entries[at];
    System.arraycopy(entries, at + 1, entries, at, count - at - 1);
    entries[--count] = removed;
    removed.lock = null;
    removed.kept = null;
  }

  /** Makes the lock of a class that was taken last one of another class. */
  void turn(LockClass from, LockClass to) {
    for (int i = count - 1; i >= 0 && !playsOthers; i--) {
      if (entries[i].lockClass == from) {
        entries[i].lockClass = to;
        return;
      }
    }
  }

  /** Forgets all. */
  void clear() {
    while (count > 0) {
      removeAt(count - 1);
    }
  }

  private void forgetWhatWasGivenBack() {
    for (int i = count - 1; i >= 0; i--) {
      KeptLock kept = entries[i].kept;
      if (kept != null && kept.isOver()) {
        removeAt(i);
      }
    }
  }

  // ---- questions ----

  /** Whether the thread may wait for a lock. */
  boolean mayTake(LockClass lockClass, Object lock, long from) {
    forgetWhatWasGivenBack();
    for (int i = 0; i < count; i++) {
      Entry held = entries[i];
      boolean inOrder =
          held.lockClass == lockClass
              ? lockClass.isAscending() && (held.lock != lock || held.from <= from)
              : !held.lockClass.isLeaf() && held.lockClass.compareTo(lockClass) < 0;
      if (!inOrder && !playsOthers) {
        return false;
      }
    }
    return true;
  }

  /** Whether the thread may wait for something that is no lock. */
  boolean mayWait() {
    for (int i = 0; i < count; i++) {
      if (!entries[i].lockClass.mayWait() && !playsOthers) {
        return false;
      }
    }
    return true;
  }

  /** Whether the thread may call something. */
  boolean mayCall(Callback callback) {
    for (int i = 0; i < count; i++) {
      if (!callback.mayHold(entries[i].lockClass) && !playsOthers) {
        return false;
      }
    }
    return true;
  }

  /** In the order in which they were taken. */
  @Override
  public String toString() {
    forgetWhatWasGivenBack();
    return count == 0
        ? "nothing"
        : Arrays.stream(entries, 0, count)
            .map(e -> name(e.lockClass, e.from, e.to))
            .collect(Collectors.joining(", then "));
  }

  static String name(LockClass lockClass, long from, long to) {
    return switch (lockClass) {
      case INVALIDATE_LOCK -> lockClass + " of pages " + from + " to " + (to - 1);
      case KEPT_FOLIO_LOCK -> lockClass + " of page " + from;
      case FOLIO_LOCK -> lockClass + " of frame " + from;
      default -> lockClass.toString();
    };
  }
}
