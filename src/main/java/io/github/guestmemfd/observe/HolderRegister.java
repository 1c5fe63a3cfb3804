package io.github.guestmemfd.observe;

import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.abi.TrackedHolder;
import io.github.guestmemfd.spi.Announce;
import java.util.ArrayList;
import java.util.Collection;
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
 * The register of the holders of a host that tracks them.
 *
 * <p>A holder is added after it has taken what it holds, and removed after it has given that back.
 * So a listed holder may have let go a moment ago, and one that blocks a conversion may not be
 * listed yet. Safe for use by any number of threads.
 */
public final class HolderRegister {
  private static final int MAX_DUMPED_LINES = 8;

  /** A kind of reference on a frame, as a put names it. */
  private record Grab(int pfn, HolderKind kind) {}

  private final Set<Holder> all = ConcurrentHashMap.newKeySet();

  /** Those of {@link #all} that are given back by naming frame and kind, in the order they came. */
  private final ConcurrentMap<Grab, List<Holder>> grabs = new ConcurrentHashMap<>();

  private final AtomicLong lastNumber = new AtomicLong();

  /** Makes an empty register. */
  public HolderRegister() {}

  /**
   * Enters a holder of a file or of frames, taken here.
   *
   * @param ino the file
   * @param file says in its {@code toString} which file it is
   * @param kind what the holder is
   * @param offset where in the file it begins, in bytes
   * @param length how much it holds, in bytes
   * @param frames the frames that it has a reference on, one each
   * @return the holder, for {@link #remove}
   */
  public Holder add(
      long ino, Object file, TrackedHolder.Kind kind, long offset, long length, int... frames) {
    Holder holder = describe(ino, file, kind, offset, length, frames);
    add(holder);
    return holder;
  }

  /**
   * A holder taken here, which is not entered yet.
   *
   * @param ino the file
   * @param file says in its {@code toString} which file it is
   * @param kind what the holder is
   * @param offset where in the file it begins, in bytes
   * @param length how much it holds, in bytes
   * @param frames the frames that it has a reference on, one each
   * @return the holder, for {@link #add(Holder)}
   */
  public Holder describe(
      long ino, Object file, TrackedHolder.Kind kind, long offset, long length, int... frames) {
    return new Holder(
        Announce.write(lastNumber).incrementAndGet(), kind, ino, file, offset, length, frames);
  }

  /**
   * Enters a holder.
   *
   * @param holder the holder, which has taken what it describes
   */
  public void add(Holder holder) {
    Announce.write(all).add(holder);
  }

  /**
   * Removes a holder, which has given back what it held.
   *
   * @param holder the holder; null for one that was never entered
   */
  public void remove(@Nullable Holder holder) {
    if (holder != null) {
      Announce.write(all).remove(holder);
    }
  }

  /**
   * Enters a reference that will be given back by naming its frame and kind.
   *
   * @param ino the file
   * @param file says in its {@code toString} which file it is
   * @param offset the page, in bytes from the start of the file
   * @param pfn the frame
   * @param kind the kind
   */
  public void grabbed(long ino, Object file, long offset, int pfn, HolderKind kind) {
    Holder holder = add(ino, file, TrackedHolder.Kind.of(kind), offset, Pages.SIZE, pfn);
    Announce.write(grabs)
        .compute(
            new Grab(pfn, kind),
            (grab, before) -> {
              List<Holder> now = before == null ? new ArrayList<>(1) : before;
              now.add(holder);
              return now;
            });
  }

  /**
   * Removes one of the references of a kind on a frame. Counts do not say which one was given back;
   * this takes the last one of the calling thread, or else the oldest.
   *
   * @param pfn the frame
   * @param kind the kind
   */
  public void put(int pfn, HolderKind kind) {
    Announce.write(grabs)
        .computeIfPresent(
            new Grab(pfn, kind),
            (grab, holders) -> {
              int which = 0;
              for (int i = 0; i < holders.size(); i++) {
                which = holders.get(i).isByThisThread() ? i : which;
              }
              remove(holders.remove(which));
              return holders.isEmpty() ? null : holders;
            });
  }

  /**
   * All holders, in no order.
   *
   * @return a view that changes
   */
  public Collection<Holder> entries() {
    return Announce.read(all);
  }

  /**
   * All holders, by file and in the order in which they came.
   *
   * @return a snapshot
   */
  public List<TrackedHolder> all() {
    return sorted(new ArrayList<>(Announce.read(all)));
  }

  /**
   * The holders that have a reference on a frame.
   *
   * @param pfn the frame
   * @return a snapshot, in the order in which they came
   */
  public List<TrackedHolder> of(int pfn) {
    List<Holder> holders = new ArrayList<>();
    for (Holder holder : Announce.read(all)) {
      if (holder.holds(pfn)) {
        holders.add(holder);
      }
    }
    return sorted(holders);
  }

  private static List<TrackedHolder> sorted(List<Holder> holders) {
    return holders.stream()
        .sorted(
            Comparator.<Holder>comparingLong(holder -> holder.ino)
                .thenComparingLong(holder -> holder.number))
        .map(Holder::tracked)
        .toList();
  }

  /**
   * A tree: files, their holders, and the lines that took them.
   *
   * @return lines of text
   */
  public String dump() {
    Map<Long, List<TrackedHolder>> files = new TreeMap<>();
    for (TrackedHolder holder : all()) {
      files.computeIfAbsent(holder.ino(), n -> new ArrayList<>()).add(holder);
    }
    StringBuilder text = new StringBuilder();
    files.forEach(
        (ino, holders) -> {
          text.append(holders.get(0).file()).append('\n');
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
}
