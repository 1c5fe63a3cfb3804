package io.github.guestmemfd;

import io.github.guestmemfd.abi.HolderKind;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/**
 * The holders of a host that tracks them.
 *
 * <p>A holder is entered after it has what it holds, and leaves after it has given that back; so a
 * holder that is listed may be gone by a moment, and one that is in a conversion's way not be
 * listed yet. Safe for use by any number of threads.
 */
final class HolderRegister {
  /** A kind of reference on a frame, as {@link GuestMemfd#put} names it. */
  private record Grab(int pfn, HolderKind kind) {}

  private final Set<TrackedHolder> all = ConcurrentHashMap.newKeySet();

  /** Those of {@link #all} that are given back by naming frame and kind, in the order they came. */
  private final ConcurrentMap<Grab, List<TrackedHolder>> grabs = new ConcurrentHashMap<>();

  private final AtomicLong lastNumber = new AtomicLong();

  /** Enters a holder of a file or of frames, taken here. */
  TrackedHolder enter(
      Inode inode, TrackedHolder.Kind kind, long offset, long length, int... frames) {
    TrackedHolder holder = describe(inode, kind, offset, length, frames);
    enter(holder);
    return holder;
  }

  /** A holder taken here, which is not entered yet. */
  TrackedHolder describe(
      Inode inode, TrackedHolder.Kind kind, long offset, long length, int... frames) {
    return new TrackedHolder(
        lastNumber.incrementAndGet(), inode, kind, offset, length, frames, CallSite.here());
  }

  void enter(TrackedHolder holder) {
    all.add(holder);
  }

  void leave(@Nullable TrackedHolder holder) {
    if (holder != null) {
      all.remove(holder);
    }
  }

  /** Enters a reference that will be given back by naming its frame and kind. */
  void grabbed(Inode inode, long offset, int pfn, HolderKind kind) {
    TrackedHolder holder =
        enter(inode, TrackedHolder.Kind.of(kind), offset, HostMemory.PAGE_SIZE, pfn);
    grabs.compute(
        new Grab(pfn, kind),
        (grab, before) -> {
          List<TrackedHolder> now = before == null ? new ArrayList<>(1) : before;
          now.add(holder);
          return now;
        });
  }

  /**
   * One of the references of a kind on a frame has been given back. Nobody can say which; this
   * takes the last one of the calling thread, or else the oldest.
   */
  void put(int pfn, HolderKind kind) {
    grabs.computeIfPresent(
        new Grab(pfn, kind),
        (grab, holders) -> {
          int which = 0;
          for (int i = 0; i < holders.size(); i++) {
            which = holders.get(i).isByThisThread() ? i : which;
          }
          leave(holders.remove(which));
          return holders.isEmpty() ? null : holders;
        });
  }

  /** All holders, by file and in the order in which they came. */
  List<TrackedHolder> all() {
    return sorted(new ArrayList<>(all));
  }

  /** Those that have a reference on a frame. */
  List<TrackedHolder> of(int pfn) {
    List<TrackedHolder> holders = new ArrayList<>();
    for (TrackedHolder holder : all) {
      if (holder.holds(pfn)) {
        holders.add(holder);
      }
    }
    return sorted(holders);
  }

  private static List<TrackedHolder> sorted(List<TrackedHolder> holders) {
    holders.sort(Comparator.comparingLong(TrackedHolder::ino).thenComparingLong(h -> h.number));
    return List.copyOf(holders);
  }

  /** A tree: files, their holders, and the lines that took them. */
  String dump() {
    Map<Long, List<TrackedHolder>> files = new TreeMap<>();
    for (TrackedHolder holder : all()) {
      files.computeIfAbsent(holder.ino(), n -> new ArrayList<>()).add(holder);
    }
    StringBuilder text = new StringBuilder();
    files.forEach(
        (ino, holders) -> {
          text.append(holders.get(0).inode()).append('\n');
          for (TrackedHolder holder : holders) {
            text.append("  ").append(holder.what()).append(" by ").append(holder.threadName());
            text.append(", ").append(holder.since()).append('\n');
            holder.stack().stream()
                .limit(MAX_DUMPED_LINES)
                .forEach(line -> text.append("    at ").append(line).append('\n'));
          }
        });
    return text.toString();
  }

  private static final int MAX_DUMPED_LINES = 8;
}
