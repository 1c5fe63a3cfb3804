package io.github.guestmemfd;

import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.spi.Hex;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** One look at a host to which nothing is being done: is everything as it must be? */
final class Audit {

  /** What the counts of a frame should be, by all that is known to hold it. */
  private static final class Expected {
    boolean cached;
    int own;
    int unsafe;
    int accessible;
    int safe;
  }

  private final HostMemory host;
  private final FrameTable frames;
  private final Map<Integer, Expected> expected = new HashMap<>();
  private final List<String> found = new ArrayList<>();

  Audit(HostMemory host) {
    this.host = host;
    this.frames = host.frames;
  }

  List<String> violations() {
    host.drainLru();
    if (frames.accesses.underWay() != null) {
      found.add("an access was announced, and has not ended");
    }
    for (FrameTable.Listener file : frames.listeners()) {
      ((Inode) file).audit(this);
    }
    if (host.register != null) {
      host.register.all().forEach(this::expect);
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

  private Expected of(int pfn) {
    return expected.computeIfAbsent(pfn, n -> new Expected());
  }

  /** Says what is wrong with a page. */
  void found(Inode file, long index, String what) {
    found.add(
        "page at offset " + Hex.of(index << HostMemory.PAGE_SHIFT) + " of " + file + " " + what);
  }

  /** A page that has a folio. */
  void page(Inode file, long index, long slot, boolean pending) {
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
    boolean removed = file.removesFromDirectMap() && prepared && SlotWord.isInaccessible(slot);
    if (removed != frames.isRemovedFromDirectMap(pfn)) {
      found(file, index, removed ? "is in the direct map" : "is missing in the direct map");
    }
  }

  /** A page table entry, also one that an operation which was given up has revoked. */
  void entry(Inode file, long index, int pfn, long slot) {
    of(pfn).own++;
    if (SlotWord.pfn(slot) != pfn) {
      found(file, index, "is mapped to frame " + pfn + ", which it has not");
    } else if (!SlotWord.isOpenToHost(slot)) {
      found(file, index, "is mapped, and the host may not touch it");
    }
  }

  private void expect(TrackedHolder holder) {
    for (int pfn : holder.frames()) {
      Expected e = of(pfn);
      switch (holder.kind()) {
        case REFERENCE -> e.own++;
        case PIN -> e.own += Counts.PIN_BIAS;
        case UNSAFE -> e.unsafe++;
        case ACCESSIBLE -> e.accessible++;
        case SAFE -> {
          e.safe++;
          e.own += holder.inode().guest.refsOfOne();
        }
        case DESCRIPTOR, MAPPING, PENDING_CONVERSION ->
            throw new AssertionError(holder + " has a frame");
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
