package io.github.guestmemfd.file;

import io.github.guestmemfd.cache.Folios;
import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.cache.PageTable;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.memory.Accesses;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.RacePoint;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import org.jspecify.annotations.Nullable;

/** The mappings of a file, by which its pages are unmapped: the kernel's {@code i_mmap}. */
public final class ReverseMap {
  private final Inode inode;
  private final PageCache cache;
  private final FrameTable frames;

  private final List<Mapping> mappings = new CopyOnWriteArrayList<>();

  ReverseMap(Inode inode) {
    this.inode = inode;
    this.cache = inode.cache;
    this.frames = inode.frames;
  }

  /** All mappings, as they are now. */
  List<Mapping> mappings() {
    return Announce.read(mappings);
  }

  /**
   * Adds a mapping of the file, which its maker has opened: {@link Remap} takes it out.
   *
   * @param mapping the mapping
   */
  public void add(Mapping mapping) {
    mapping.track();
    boolean done = false;
    try {
      Announce.write(mappings).add(mapping);
      done = true;
    } finally {
      if (!done) { // no memory for it
        mapping.untrack();
      }
    }
  }

  /** Takes a mapping out, which has no entries and will have none. */
  void remove(Mapping mapping) {
    mapping.untrack();
    Announce.write(mappings).remove(mapping);
  }

  /**
   * Drops the page table entries of a locked range in every mapping, and waits for every access
   * under way to a folio of the range, even if its entry is gone already.
   */
  void unmap(long from, long to) throws InterruptedException {
    revoke(from, to);
    awaitAccesses(from, to);
    removeRevoked(from, to);
    inode.at(RacePoint.AFTER_UNMAP, from);
  }

  /**
   * As {@link #unmap}, for a conversion of the accessible pages of a locked range, which later
   * {@linkplain #awaitAccessesToChanging waits} for accesses by every path: here it waits only
   * where entries are to be removed. The pages that are inaccessible have none.
   */
  void unmapAccessible(long from, long to) throws InterruptedException {
    if (!Announce.read(mappings).isEmpty()) { // one that is added later finds the pages busy
      revoke(from, to);
      awaitAccessesToChanging(from, to, true);
      removeRevoked(from, to);
    }
    inode.at(RacePoint.AFTER_UNMAP, from);
  }

  private void revoke(long from, long to) throws InterruptedException {
    for (Mapping mapping : Announce.read(mappings)) {
      mapping.revoke(mapping.page(from), mapping.page(to));
    }
  }

  private void removeRevoked(long from, long to) {
    for (Mapping mapping : Announce.read(mappings)) {
      mapping.remove(mapping.page(from), mapping.page(to));
    }
  }

  /** Waits for accesses under way to the folios of a locked range, by any path. */
  void awaitAccesses(long from, long to) throws InterruptedException {
    Accesses.UnderWay underWay = underWay(from, to);
    if (underWay != null) {
      underWay.await(inode.host.idle);
    }
  }

  /** As {@link #awaitAccesses}, but only to folios that a conversion changes. */
  void awaitAccessesToChanging(long from, long to, boolean inaccessible)
      throws InterruptedException {
    Accesses.UnderWay underWay = frames.accesses.underWay();
    if (underWay != null) {
      for (Folios folios = cache.folios(from, to); folios.next(); ) {
        if (SlotWord.isInaccessible(folios.slot()) != inaccessible) {
          underWay.include(folios.pfn());
        }
      }
      underWay.await(inode.host.idle);
    }
  }

  Accesses.@Nullable UnderWay underWay(long from, long to) {
    Accesses.UnderWay underWay = frames.accesses.underWay();
    if (underWay != null) {
      for (Folios folios = cache.folios(from, to); folios.next(); ) {
        underWay.include(folios.pfn());
      }
    }
    return underWay;
  }

  /** How many mappings have a frame at a page. */
  int mapped(long index, int pfn) {
    int mapped = 0;
    for (Mapping mapping : Announce.read(mappings)) {
      long page = index - mapping.firstIndex;
      if (page >= 0 && page < mapping.pages && PageTable.held(mapping.table.entry(page)) == pfn) {
        mapped++;
      }
    }
    return mapped;
  }
}
