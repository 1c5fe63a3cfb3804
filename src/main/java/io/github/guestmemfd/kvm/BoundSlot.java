package io.github.guestmemfd.kvm;

import io.github.guestmemfd.FrameAccess;
import io.github.guestmemfd.spi.Callback;
import io.github.guestmemfd.spi.Counters;
import io.github.guestmemfd.spi.LockOrder;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** A memslot with its file's client, and its part of the guest page table. */
final class BoundSlot {
  private static final int PAGE_SHIFT = 12;

  final Memslot memslot;

  /** Null if it has no file, or one that was not created by the virtual machine. */
  final @Nullable Gmem gmem;

  /** Whether the file has its shared pages too: {@code KVM_MEMSLOT_GMEM_ONLY}. */
  final boolean isFileOnly;

  final GuestPageTable table;

  /** Counters of this slot; the virtual machine counts the same events separately. */
  final Counters<VmMeter> counters;

  /** What the guest has written; null if that is not logged. Guarded by mmu_lock. */
  final @Nullable DirtyLog dirty;

  /** Called at the race points of its file; null for none. */
  final @Nullable RaceHook hook;

  /** The accesses of vCPUs to the frames of the file; null if it has none. */
  private final @Nullable FrameAccess fileFrames;

  private final UserMemory user;

  /** Whether the memslot is deleted: no entry is installed any more. Guarded by mmu_lock. */
  boolean isGone;

  /**
   * The memslot that this one replaces, until that is deleted: its entries may still be used.
   * Guarded by mmu_lock.
   */
  @Nullable BoundSlot replaced;

  /**
   * The memslot that has this one as {@link #replaced}: what replaced this one or, if that is gone
   * already, what replaced that. Guarded by mmu_lock; set by who replaces it, before that is seen.
   */
  @Nullable BoundSlot replacedBy;

  /**
   * Creates the slot, without any page mapped.
   *
   * @param user what is at user addresses
   * @param old what it replaces; null if it is new
   * @param vmHook what is called at the race points of the virtual machine; null for none
   */
  BoundSlot(
      Memslot memslot,
      @Nullable Gmem gmem,
      boolean isFileOnly,
      UserMemory user,
      @Nullable BoundSlot old,
      @Nullable RaceHook vmHook) {
    this.memslot = memslot;
    this.gmem = gmem;
    this.isFileOnly = isFileOnly;
    this.user = user;
    this.hook =
        vmHook == null || memslot.memfd() == null
            ? vmHook
            : Objects.requireNonNull(vmHook.ofFile(memslot.memfd().fileKey()), "ofFile");
    this.replaced = old;
    this.table = new GuestPageTable(pages(memslot));
    this.fileFrames = memslot.memfd() == null ? null : memslot.memfd().frameAccess();
    this.counters = old == null ? new Counters<>(VmMeter.class) : old.counters;
    if (!memslot.has(MemslotFlag.LOG_DIRTY_PAGES)) {
      this.dirty = null;
    } else {
      this.dirty = old == null || old.dirty == null ? new DirtyLog() : old.dirty;
    }
  }

  private static long pages(Memslot memslot) {
    return memslot.size() >>> PAGE_SHIFT;
  }

  /** Whether a page of this attribute is the file's, else the host's at the user address. */
  boolean isInFile(MemoryAttribute attribute) {
    return memslot.memfd() != null && (isFileOnly || attribute == MemoryAttribute.PRIVATE);
  }

  boolean isReadOnly() {
    return memslot.has(MemslotFlag.READONLY);
  }

  /** The accesses by which the frame of an entry is used. */
  FrameAccess frames(long entry) {
    return Objects.requireNonNull(TdpEntry.isHost(entry) ? user.frames() : fileFrames);
  }

  /** The accesses to the frames of the file; null if it has none. */
  @Nullable FrameAccess fileFrames() {
    return fileFrames;
  }

  /** The accesses to the host's memory; null if there has been none. */
  @Nullable FrameAccess hostFrames() {
    return user.frames();
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

  /** The user address of a page. */
  long userAddress(long page) {
    return memslot.userAddress() + (page << PAGE_SHIFT);
  }

  /** The address after the last one of this slot. */
  long endGpa() {
    return memslot.gpa() + memslot.size();
  }

  boolean contains(long gpa) {
    return memslot.contains(gpa);
  }

  // ---- race points ----

  /** An access has been announced. */
  void inFlight(FrameAccess accesses, long access, long gfn) {
    if (hook != null) {
      try {
        at(RacePoint.ACCESS_IN_FLIGHT, gfn);
      } catch (Throwable e) {
        accesses.end(access);
        throw e;
      }
    }
  }

  void at(RacePoint point, long gfn) {
    RaceHook h = hook;
    if (h != null) {
      LockOrder.beforeCall(Callback.RACE_HOOK);
      h.at(point, gfn);
    }
  }
}
