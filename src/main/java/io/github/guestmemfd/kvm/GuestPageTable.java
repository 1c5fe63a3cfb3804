package io.github.guestmemfd.kvm;

import io.github.guestmemfd.spi.Announce;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import org.jspecify.annotations.Nullable;

/**
 * The guest page table of a memslot, in two levels of {@link TdpEntry}. Reading takes no lock;
 * {@code mmu_lock} is held to change it. Nodes stay until the memslot goes away.
 */
final class GuestPageTable {
  private static final int SHIFT = 9;
  private static final int FANOUT = 1 << SHIFT;

  private static final VarHandle ENTRIES = MethodHandles.arrayElementVarHandle(long[].class);
  private static final VarHandle LEAVES = MethodHandles.arrayElementVarHandle(long[][].class);

  private final long pages;

  /** Created at the first fault: a memslot of 8 TiB has 4 million of them. */
  private volatile long @Nullable [] @Nullable [] root;

  GuestPageTable(long pages) {
    this.pages = pages;
  }

  /** The entry of a page, read with volatile semantics. */
  long get(long page) {
    return get(leaf(page), page);
  }

  /**
   * The part of the table that an entry stands in, which stays the entry's; null if there may be
   * none yet. A plain read is enough: where it is behind, the access faults, and looks again with
   * the lock held.
   */
  long @Nullable [] leaf(long page) {
    long @Nullable [] @Nullable [] nodes = Announce.read(this).root;
    return nodes == null ? null : leaf(nodes, page);
  }

  private static long @Nullable [] leaf(long[] @Nullable [] nodes, long page) {
    int node = (int) (page >>> SHIFT);
    Announce.read(nodes, node);
    return nodes[node];
  }

  void put(long page, long entry) {
    long @Nullable [] @Nullable [] nodes = Announce.read(this).root;
    if (nodes == null) {
      nodes = new long[(int) ((pages + FANOUT - 1) >>> SHIFT)][];
      Announce.write(this).root = nodes;
    }
    long[] leaf = leaf(nodes, page);
    if (leaf == null) {
      leaf = new long[FANOUT];
      int node = (int) (page >>> SHIFT);
      Announce.write(nodes, node);
      LEAVES.setVolatile(nodes, node, leaf);
    }
    set(leaf, page, entry);
  }

  /** The entry of a page in its {@link #leaf}, read with volatile semantics. */
  static long get(long @Nullable [] leaf, long page) {
    if (leaf == null) {
      return 0;
    }
    int at = (int) page & (FANOUT - 1);
    Announce.read(leaf, at);
    return (long) ENTRIES.getVolatile(leaf, at);
  }

  private static void set(long[] leaf, long page, long entry) {
    int at = (int) page & (FANOUT - 1);
    Announce.write(leaf, at);
    ENTRIES.setVolatile(leaf, at, entry);
  }

  /** A change of an entry that is there. */
  @FunctionalInterface
  interface Change {
    long apply(long entry);
  }

  /** Changes the entries of a range that are there. */
  void update(long from, long to, Change change) {
    long @Nullable [] @Nullable [] nodes = Announce.read(this).root;
    if (nodes == null) {
      return;
    }
    for (long page = from; page < to; ) {
      long[] leaf = leaf(nodes, page);
      long end = Math.min(to, (page | (FANOUT - 1)) + 1);
      for (; leaf != null && page < end; page++) {
        long entry = get(leaf, page);
        if (TdpEntry.pfn(entry) != 0) {
          set(leaf, page, change.apply(entry));
        }
      }
      page = end;
    }
  }
}
