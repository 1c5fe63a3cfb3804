package io.github.guestmemfd.kvm;

import io.github.guestmemfd.spi.Announce;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.concurrent.atomic.AtomicReferenceArray;
import org.jspecify.annotations.Nullable;

/**
 * The guest page table of a memslot, in two levels of {@link TdpEntry}. Reading takes no lock;
 * {@code mmu_lock} is held to change it. Nodes stay until the memslot goes away.
 */
final class GuestPageTable {
  private static final int SHIFT = 9;
  private static final int FANOUT = 1 << SHIFT;

  private final long pages;

  /** Created at the first fault: a memslot of 8 TiB has 4 million of them. */
  private volatile @Nullable AtomicReferenceArray<AtomicLongArray> root;

  GuestPageTable(long pages) {
    this.pages = pages;
  }

  /** The entry of a page, read with volatile semantics. */
  long get(long page) {
    return get(leaf(page), page);
  }

  /** The part of the table that an entry stands in, which stays the entry's; null for none yet. */
  @Nullable AtomicLongArray leaf(long page) {
    AtomicReferenceArray<AtomicLongArray> nodes = Announce.read(this).root;
    return nodes == null ? null : leaf(nodes, page);
  }

  void put(long page, long entry) {
    AtomicReferenceArray<AtomicLongArray> nodes = Announce.read(this).root;
    if (nodes == null) {
      nodes = new AtomicReferenceArray<>((int) ((pages + FANOUT - 1) >>> SHIFT));
      Announce.write(this).root = nodes;
    }
    AtomicLongArray leaf = leaf(nodes, page);
    if (leaf == null) {
      leaf = new AtomicLongArray(FANOUT);
      int node = (int) (page >>> SHIFT);
      Announce.write(nodes, node);
      nodes.set(node, leaf);
    }
    set(leaf, page, entry);
  }

  private static @Nullable AtomicLongArray leaf(
      AtomicReferenceArray<AtomicLongArray> nodes, long page) {
    int node = (int) (page >>> SHIFT);
    Announce.read(nodes, node);
    return nodes.get(node);
  }

  /** The entry of a page in its {@link #leaf}, read with volatile semantics. */
  static long get(@Nullable AtomicLongArray leaf, long page) {
    if (leaf == null) {
      return 0;
    }
    int at = (int) page & (FANOUT - 1);
    Announce.read(leaf, at);
    return leaf.get(at);
  }

  private static void set(AtomicLongArray leaf, long page, long entry) {
    int at = (int) page & (FANOUT - 1);
    Announce.write(leaf, at);
    leaf.set(at, entry);
  }

  /** A change of an entry that is there. */
  @FunctionalInterface
  interface Change {
    long apply(long entry);
  }

  /** Changes the entries of a range that are there. */
  void update(long from, long to, Change change) {
    AtomicReferenceArray<AtomicLongArray> nodes = Announce.read(this).root;
    if (nodes == null) {
      return;
    }
    for (long page = from; page < to; ) {
      AtomicLongArray leaf = leaf(nodes, page);
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
