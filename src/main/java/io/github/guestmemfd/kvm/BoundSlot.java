package io.github.guestmemfd.kvm;

import io.github.guestmemfd.FrameAccess;
import io.github.guestmemfd.spi.Counters;
import io.github.guestmemfd.spi.RaceHook;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** A memslot with its file's client, and its part of the guest page table. */
final class BoundSlot {
  private static final int PAGE_SHIFT = 12;

  final Memslot memslot;

  /** Null if the file was not created by the virtual machine. */
  final @Nullable Gmem gmem;

  final GuestPageTable table;

  /** Counters of this slot; the virtual machine counts the same events separately. */
  final Counters<VmMeter> counters = new Counters<>(VmMeter.class);

  /** The accesses of vCPUs to the frames of the file. */
  final FrameAccess frames;

  /** Called at the race points of its file; null for none. */
  final @Nullable RaceHook hook;

  /** Whether the memslot is deleted: no entry is installed any more. Guarded by mmu_lock. */
  boolean isGone;

  /**
   * Creates the slot, without any page mapped.
   *
   * @param vmHook what is called at the race points of the virtual machine; null for none
   */
  BoundSlot(Memslot memslot, @Nullable Gmem gmem, @Nullable RaceHook vmHook) {
    this.memslot = memslot;
    this.gmem = gmem;
    this.hook =
        vmHook == null
            ? null
            : Objects.requireNonNull(vmHook.ofFile(memslot.memfd().fileKey()), "ofFile");
    this.table = new GuestPageTable(pages(memslot));
    this.frames = memslot.memfd().frameAccess();
  }

  private static long pages(Memslot memslot) {
    return memslot.size() >>> PAGE_SHIFT;
  }

  long pages() {
    return pages(memslot);
  }

  /** The page of this slot at a guest address in it. */
  long page(long gpa) {
    return (gpa - memslot.gpa()) >>> PAGE_SHIFT;
  }

  long gfn(long page) {
    return (memslot.gpa() >>> PAGE_SHIFT) + page;
  }

  /** The offset of a page in the file. */
  long offset(long page) {
    return memslot.offset() + (page << PAGE_SHIFT);
  }

  /** The first page of this slot in a range of the file that begins there. */
  long firstPage(long offset) {
    return Math.max(0, (offset - memslot.offset()) >> PAGE_SHIFT);
  }

  /** The page after the last one of this slot in a range of the file. */
  long endPage(long offset, long length) {
    return Math.min(pages(), (offset + length - memslot.offset()) >> PAGE_SHIFT);
  }

  /** The address after the last one of this slot. */
  long endGpa() {
    return memslot.gpa() + memslot.size();
  }

  boolean contains(long gpa) {
    return memslot.contains(gpa);
  }
}
