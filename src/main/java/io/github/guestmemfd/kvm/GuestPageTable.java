package io.github.guestmemfd.kvm;

import java.util.List;
import java.util.concurrent.atomic.AtomicReferenceArray;
import org.jspecify.annotations.Nullable;

/**
 * The guest page table of a memslot, in two levels: what of it is mapped. Reading takes no lock;
 * {@code mmu_lock} is held to change it. Nodes stay until the memslot goes.
 */
final class GuestPageTable {
  private static final int SHIFT = 9;
  private static final int FANOUT = 1 << SHIFT;

  private final long pages;

  /** Made at the first fault: a memslot of 8 TiB has 4 million of them. */
  private volatile @Nullable AtomicReferenceArray<AtomicReferenceArray<TdpEntry>> root;

  GuestPageTable(long pages) {
    this.pages = pages;
  }

  @Nullable TdpEntry get(long page) {
    AtomicReferenceArray<AtomicReferenceArray<TdpEntry>> nodes = root;
    AtomicReferenceArray<TdpEntry> leaf = nodes == null ? null : nodes.get((int) (page >>> SHIFT));
    return leaf == null ? null : leaf.get((int) page & (FANOUT - 1));
  }

  void put(long page, TdpEntry entry) {
    AtomicReferenceArray<AtomicReferenceArray<TdpEntry>> nodes = root;
    if (nodes == null) {
      nodes = new AtomicReferenceArray<>((int) ((pages + FANOUT - 1) >>> SHIFT));
      root = nodes;
    }
    int node = (int) (page >>> SHIFT);
    AtomicReferenceArray<TdpEntry> leaf = nodes.get(node);
    if (leaf == null) {
      leaf = new AtomicReferenceArray<>(FANOUT);
      nodes.set(node, leaf);
    }
    leaf.set((int) page & (FANOUT - 1), entry);
  }

  /** Zaps and removes the entries of a range; they may be in use for a while yet. */
  void zap(long from, long to, List<TdpEntry> zapped) {
    AtomicReferenceArray<AtomicReferenceArray<TdpEntry>> nodes = root;
    if (nodes == null) {
      return;
    }
    for (long page = from; page < to; ) {
      AtomicReferenceArray<TdpEntry> leaf = nodes.get((int) (page >>> SHIFT));
      long end = Math.min(to, (page | (FANOUT - 1)) + 1);
      for (; leaf != null && page < end; page++) {
        TdpEntry entry = leaf.get((int) page & (FANOUT - 1));
        if (entry != null) {
          entry.zap();
          leaf.set((int) page & (FANOUT - 1), null);
          zapped.add(entry);
        }
      }
      page = end;
    }
  }
}
