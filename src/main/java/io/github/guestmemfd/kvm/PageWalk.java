package io.github.guestmemfd.kvm;

import io.github.guestmemfd.FrameAccess;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.spi.Counters;
import java.lang.invoke.VarHandle;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * The way of a vCPU from a guest address to a frame: finds the memslot, announces an access by its
 * part of the guest page table, and faults the page in where it is not mapped.
 */
final class PageWalk {
  private static final int PAGE_SHIFT = Integer.numberOfTrailingZeros(HostMemory.PAGE_SIZE);
  private static final int OFFSET_MASK = HostMemory.PAGE_SIZE - 1;

  private final MemoryRegions regions;
  private final Mmu mmu;
  private final KvmRun run;
  private final Counters<VmMeter> counters;

  /** The memslot used last, and the set of memslots that it belongs to. */
  private @Nullable Memslots lastMemslots;

  private @Nullable BoundSlot lastSlot;

  /** Its first guest physical address. */
  private long lastGpa;

  /** How many pages it has; 0 if there is none. */
  private long lastPages;

  /** The same, and 0 too if it has a race hook: pages that may be read with no access announced. */
  private long lastPeekable;

  /** Its part of the guest page table. */
  private @Nullable GuestPageTable lastTable;

  /** The accesses to its pages of either attribute; null where it has had none so far. */
  private @Nullable FrameAccess lastShared;

  private @Nullable FrameAccess lastPrivate;

  /** The accesses by which the one begun last is ended. */
  private @Nullable FrameAccess used;

  /** What the vCPU has read last. */
  long value;

  /**
   * Makes the walk of a vCPU.
   *
   * @param run takes its exits
   * @param counters its counters
   */
  PageWalk(MemoryRegions regions, Mmu mmu, KvmRun run, Counters<VmMeter> counters) {
    this.regions = regions;
    this.mmu = mmu;
    this.run = run;
    this.counters = counters;
  }

  /**
   * Finds a page and announces an access to it.
   *
   * @param size the bytes of the access, and {@code number} what it writes, for an exit for MMIO
   * @return the access, to be ended in {@link #used}; 0 if the vCPU exits instead
   */
  long begin(long gpa, int size, MemoryAttribute attribute, Access access, long number) {
    Objects.requireNonNull(attribute, "attribute");
    if (!run.isExitRequested()) {
      BoundSlot slot = slotAt(gpa);
      long begun = slot == null ? 0 : begin(slot, gpa, attribute, access == Access.WRITE);
      if (begun != 0) {
        return begun;
      }
    }
    return beginSlowly(gpa, size, attribute, access, number);
  }

  /** The accesses by which the one begun last is made and ended. */
  FrameAccess used() {
    return Objects.requireNonNull(used); // after begin
  }

  /**
   * Reads from a page that is mapped for that view, in the memslot used last, with no access
   * announced. Not for a virtual machine with a race hook, whose tests meet accesses under way.
   *
   * @param size 1 to 8 bytes
   * @return whether {@link #value} is what was read; if not, the read needs {@link #begin}
   */
  boolean tryPeek(long gpa, int size, MemoryAttribute attribute) {
    Objects.requireNonNull(attribute, "attribute");
    int at = (int) gpa & OFFSET_MASK;
    long page = (gpa - lastGpa) >>> PAGE_SHIFT;
    if (run.isExitRequested()
        || regions.memslots() != lastMemslots
        || page >= lastPeekable
        || at > HostMemory.PAGE_SIZE - size) {
      return false;
    }
    long[] leaf = Objects.requireNonNull(lastTable).leaf(page); // it has pages
    long entry = GuestPageTable.get(leaf, page);
    if (!TdpEntry.maps(entry, attribute, false)) {
      return false;
    }
    FrameAccess frames = attribute == MemoryAttribute.SHARED ? lastShared : lastPrivate;
    if (frames == null) {
      return false;
    }
    long number = peek(frames, TdpEntry.pfn(entry), at, size);
    if (GuestPageTable.get(leaf, page) != entry) {
      return false; // and the number, which may be of another page, is dropped
    }
    value = number;
    return true;
  }

  /** As {@link FrameAccess#peek}; eight bytes by fewer checks. */
  private static long peek(FrameAccess frames, int pfn, int at, int size) {
    if (size != Long.BYTES) {
      return frames.peek(pfn, at, size);
    }
    long number = frames.buffer(pfn).getLong(FrameAccess.base(pfn) + at);
    VarHandle.acquireFence(); // the bytes before the second look at the entry
    return number;
  }

  /**
   * Turns to the memslot of an address.
   *
   * @return whether it is another one, or the memslots have changed: then a read may be tried again
   */
  boolean turnsTo(long gpa) {
    Memslots memslots = lastMemslots;
    BoundSlot slot = lastSlot;
    return slotAt(gpa) != slot || memslots != lastMemslots;
  }

  /** Announces an access to a page, if it is mapped for that view, and for writing if need be. */
  long begin(BoundSlot slot, long gpa, MemoryAttribute attribute, boolean write) {
    long page = slot.page(gpa);
    long[] leaf = slot.table.leaf(page);
    long entry = GuestPageTable.get(leaf, page);
    if (!TdpEntry.maps(entry, attribute, write)) {
      return 0;
    }
    FrameAccess frames = slot.frames(entry);
    long begun = frames.begin(TdpEntry.pfn(entry));
    if (GuestPageTable.get(leaf, page)
        != entry) { // checked again, now that the access is announced
      frames.end(begun);
      return 0;
    }
    slot.inFlight(frames, begun, gpa >>> PAGE_SHIFT);
    used = frames;
    return begun;
  }

  private long beginSlowly(
      long gpa, int size, MemoryAttribute attribute, Access access, long number) {
    boolean counted = false;
    boolean write = access == Access.WRITE;
    for (int round = 0; ; round++) {
      if (run.tryExitAsRequested()) {
        return 0;
      }
      BoundSlot slot = slotAt(gpa);
      if (slot == null) {
        run.exitMmio(gpa, size, access, number);
        return 0;
      }
      long page = slot.page(gpa);
      long begun = begin(slot, gpa, attribute, write);
      if (begun != 0) {
        return begun;
      }
      if (!counted) {
        counters.count(VmMeter.FAULTS);
        slot.counters.count(VmMeter.FAULTS);
        counted = true;
        if (lastShared == null) {
          lastMemslots = null; // to find the memslot anew, if the host has memory for it by now
        }
      }
      int result = mmu.fault(slot, page, attribute, write, counters);
      if (result == Mmu.RETRY ? !mmu.awaitRetry(round) : result == -Errno.EINTR.code()) {
        run.exitInterrupted();
        return 0;
      }
      if (result != Mmu.RETRY && result != Mmu.MAPPED) {
        exit(result, slot, gpa, size, attribute, access, number);
        return 0;
      }
    }
  }

  /** Exits for what a fault has answered. */
  private void exit(
      int result,
      BoundSlot slot,
      long gpa,
      int size,
      MemoryAttribute attribute,
      Access access,
      long number) {
    switch (result) {
      case Mmu.READ_ONLY -> run.exitMmio(gpa, size, access, number);
      case Mmu.NO_HOST_MEMORY -> run.exitHostFault(gpa, slot.userAddress(slot.page(gpa)), access);
      case Mmu.MISMATCH -> run.exitMemoryFault(gpa, attribute, access, Errno.EFAULT);
      default -> run.exitMemoryFault(gpa, attribute, access, Errno.ofResult(result));
    }
  }

  private @Nullable BoundSlot slotAt(long gpa) {
    Memslots memslots = regions.memslots();
    return memslots == lastMemslots && (gpa - lastGpa) >>> PAGE_SHIFT < lastPages
        ? lastSlot
        : find(memslots, gpa);
  }

  private @Nullable BoundSlot find(Memslots memslots, long gpa) {
    BoundSlot slot = memslots.find(gpa);
    lastMemslots = memslots;
    lastSlot = slot;
    lastGpa = slot == null ? 0 : slot.memslot.gpa();
    lastPages = slot == null ? 0 : slot.pages();
    lastPeekable = 0;
    if (slot != null && slot.hook == null) {
      lastPeekable = lastPages;
      lastTable = slot.table;
      lastShared = frames(slot, MemoryAttribute.SHARED);
      lastPrivate = frames(slot, MemoryAttribute.PRIVATE);
    }
    return slot;
  }

  private static @Nullable FrameAccess frames(BoundSlot slot, MemoryAttribute attribute) {
    return slot.isInFile(attribute) ? slot.fileFrames() : slot.hostFrames();
  }
}
