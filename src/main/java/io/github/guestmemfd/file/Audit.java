package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.cache.Folios;
import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.cache.PageTable;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameOwners;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.observe.Holder;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** A check of the invariants of a host to which nothing is being done. It is run once. */
public final class Audit {

  /** What the counts of a frame should be, by all its known holders. */
  private static final class Expected {
    boolean cached;
    int own;
    int unsafe;
    int accessible;
    int safe;
  }

  /** How long to wait for the completion of a conversion that is under way. */
  private static final long PATIENCE_NANOS = 10_000_000_000L;

  private final Host host;
  private final FrameTable frames;
  private final Map<Integer, Expected> expected = new HashMap<>();
  private final Map<Long, FileOperations> files = new HashMap<>();
  private final List<String> found = new ArrayList<>();

  /**
   * Makes a check that has not been run.
   *
   * @param host what to look at
   */
  public Audit(Host host) {
    this.host = host;
    this.frames = host.frames;
  }

  /**
   * Checks every file and frame.
   *
   * @return what is wrong, in words
   */
  public List<String> violations() {
    if (frames.accesses.underWay() != null) { // perhaps this thread's, which must not wait
      found.add("an access was announced, and has not ended");
    } else if (!CallbackContext.isInTheMiddleOfAny()) {
      host.completions.await(host.idle, PATIENCE_NANOS);
    }
    host.drainLru();
    for (FrameOwners.Listener listener : frames.listeners()) {
      FileOperations file = (FileOperations) listener;
      files.put(file.inode.ino, file);
      if (!file.inode.isGone()) { // else only its orphans are left
        file(file);
      }
    }
    if (host.register != null) {
      host.register.entries().forEach(this::expect);
    }
    long used = 0;
    for (int pfn = 1; pfn <= frames.highest(); pfn++) {
      frame(pfn);
      used += frames.isInUse(pfn) ? 1 : 0;
    }
    if (used != frames.used()) {
      found.add("frames in use: expected " + used + ", actual " + frames.used());
    }
    return List.copyOf(found);
  }

  private void file(FileOperations file) {
    Inode inode = file.inode;
    PageCache cache = inode.cache;
    long pages = inode.pages;
    long busy = cache.nextBusy(0, pages);
    if (busy < pages) {
      found(inode, busy, "is busy");
    }
    for (Folios folios = cache.folios(0, pages); folios.next(); ) {
      long i = folios.index();
      page(inode, i, folios.slot(), file.pendings.at(i) != null);
    }
    for (Mapping mapping : file.reverseMap.mappings()) {
      for (long page = mapping.table.next(0, mapping.pages);
          page < mapping.pages;
          page = mapping.table.next(page + 1, mapping.pages)) {
        long index = mapping.firstIndex + page;
        entry(inode, index, PageTable.held(mapping.table.entry(page)), cache.slot(index));
      }
    }
  }

  private Expected of(int pfn) {
    return expected.computeIfAbsent(pfn, n -> new Expected());
  }

  /** Says what is wrong with a page. */
  private void found(Inode file, long index, String what) {
    found.add("page at offset " + Hex.of(index << Pages.SHIFT) + " of " + file + " " + what);
  }

  /** A page that has a folio. */
  private void page(Inode file, long index, long slot, boolean pending) {
    int pfn = SlotWord.pfn(slot);
    Expected e = of(pfn);
    if (e.cached) {
      found(file, index, "has frame " + pfn + ", which is in another place too");
    }
    e.cached = true;
    if (SlotWord.isNeither(slot) && !pending) {
      found(file, index, "is neither side's, and no conversion is pending");
    }
    boolean prepared = frames.isPrepared(pfn);
    if (SlotWord.isReady(slot) && !(prepared && frames.isUptodate(pfn))) {
      found(file, index, "is ready, and its frame is not");
    }
    boolean removed = prepared && file.isOutOfDirectMap(SlotWord.isInaccessible(slot));
    if (removed != frames.isRemovedFromDirectMap(pfn)) {
      found(file, index, removed ? "is in the direct map" : "is missing in the direct map");
    }
  }

  /** A page table entry, also one that an operation which was given up has revoked. */
  private void entry(Inode file, long index, int pfn, long slot) {
    of(pfn).own++;
    if (SlotWord.pfn(slot) != pfn) {
      found(file, index, "is mapped to frame " + pfn + ", which it has not");
    } else if (!SlotWord.isOpenToHost(slot)) {
      found(file, index, "is mapped, and the host may not touch it");
    }
  }

  private void expect(Holder holder) {
    for (int pfn : holder.frames()) {
      Expected e = of(pfn);
      switch (holder.kind) {
        case REFERENCE -> e.own++;
        case PIN -> e.own += Counts.PIN_BIAS;
        case UNSAFE -> e.unsafe++;
        case ACCESSIBLE -> e.accessible++;
        case SAFE -> {
          e.safe++;
          FileOperations file = files.get(holder.ino);
          e.own += file == null ? 0 : file.steps.refsOfOne();
        }
        case DESCRIPTOR, MAPPING, PENDING_CONVERSION ->
            throw new AssertionError(holder.kind + " has a frame");
      }
    }
  }

  private void frame(int pfn) {
    String anomaly = frames.anomaly(pfn);
    if (anomaly != null) {
      found.add("frame " + pfn + " " + anomaly);
      return;
    }
    Expected e = expected.getOrDefault(pfn, new Expected());
    long counts = frames.counts(pfn);
    boolean cached = e.cached || frames.isLeftToLock(pfn);
    if (frames.isInUse(pfn) && cached != Counts.isCached(counts)) {
      found.add(
          "frame "
              + pfn
              + (cached
                  ? " lacks its page cache's reference"
                  : " has left its page cache's reference behind"));
    }
    if (host.register != null && frames.isInUse(pfn)) {
      compare(pfn, "references of its own kind", e.own, Counts.ownRefs(counts));
      compare(pfn, "unsafe references", e.unsafe, Counts.unsafe(counts));
      compare(pfn, "accessible references", e.accessible, Counts.accessible(counts));
      compare(pfn, "safe holders", e.safe, Counts.safe(counts));
    }
  }

  private void compare(int pfn, String what, int expectedCount, int actual) {
    if (expectedCount != actual) {
      found.add(
          "frame " + pfn + ": " + what + ": expected " + expectedCount + ", actual " + actual);
    }
  }
}
