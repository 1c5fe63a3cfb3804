package io.github.guestmemfd.kvm;

import io.github.guestmemfd.FrameAccess;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileTrait;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.Mutex;
import io.github.guestmemfd.spi.RaceHook;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import org.jspecify.annotations.Nullable;

/**
 * The memory regions of a virtual machine: makes and deletes its memslots, and knows the files that
 * it owns: {@code KVM_SET_USER_MEMORY_REGION2}.
 */
final class MemoryRegions {
  /** What a file is bound to. */
  private final Object vm;

  private final Mmu mmu;
  private final KernelProfile profile;

  /** Null for a machine that converts in place. */
  private final @Nullable VmType type;

  private final UserMemory user;
  private final @Nullable RaceHook hook;
  private final Mutex slotsLock = new Mutex(LockClass.SLOTS_LOCK);

  /** The files of the virtual machine. Guarded by the slots lock, as is the next field. */
  private final List<OwnedFile> files = new ArrayList<>();

  private final Map<Integer, BoundSlot> slots = new HashMap<>();

  /** The memslots whose pages may be at user addresses, also those that are being deleted. */
  private final List<BoundSlot> userSlots = new CopyOnWriteArrayList<>();

  /** For readers without a lock; replaced as a whole. */
  private volatile Memslots memslots = Memslots.NONE;

  private record OwnedFile(GuestMemfd memfd, Gmem gmem) {}

  MemoryRegions(
      Object vm,
      Mmu mmu,
      KernelProfile profile,
      @Nullable VmType type,
      UserMemory user,
      @Nullable RaceHook hook) {
    this.vm = vm;
    this.mmu = mmu;
    this.profile = profile;
    this.type = type;
    this.user = user;
    this.hook = hook;
  }

  /**
   * The memslots as they are now; a thread that caches one compares this to see if it is current.
   */
  Memslots memslots() {
    return Announce.read(this).memslots;
  }

  /** Makes a file, whose client is of this virtual machine, belong to it. */
  void adopt(GuestMemfd memfd, Gmem gmem) {
    long flags = memfd.flags() & ~CreateFlag.NO_DIRECT_MAP.bit();
    if (type != null && (flags & ~fileFlags(type)) != 0) {
      throw new GuestMemfdException(
          Errno.EINVAL,
          "file of a machine of type "
              + type
              + ": expected flags of "
              + CreateFlag.names(fileFlags(type))
              + ", actual "
              + CreateFlag.names(flags));
    }
    if (type != null
        && type.populates()
        && CreateFlag.NO_DIRECT_MAP.isIn(memfd.flags())
        && profile.fileTraits().contains(FileTrait.ZAP_BEFORE_MAPPING)) {
      throw new GuestMemfdException(
          Errno.EINVAL,
          "file of a machine of type "
              + type
              + ": expected one in the direct map, since its pages are populated, actual "
              + CreateFlag.names(memfd.flags()));
    }
    if (!memfd.traits().equals(profile.fileTraits())) {
      throw new GuestMemfdException(
          Errno.EINVAL,
          "file of a machine of Linux "
              + profile.release()
              + ": expected traits "
              + profile.fileTraits()
              + ", actual "
              + memfd.traits());
    }
    if (!memfd.bindTo(vm)) {
      throw new GuestMemfdException(
          Errno.EINVAL, "adopt: expected a file of no other virtual machine, actual " + memfd);
    }
    own(memfd, gmem);
  }

  /** Remembers a file of the virtual machine, with its callbacks for it. */
  void own(GuestMemfd memfd, Gmem gmem) {
    slotsLock.lock();
    try {
      files.removeIf(f -> f.gmem.isReleased());
      files.add(new OwnedFile(memfd, gmem));
    } finally {
      slotsLock.unlock();
    }
  }

  /** A file that is converted in place can begin as either, whatever the machine. */
  private long fileFlags(VmType of) {
    return profile.convertsInPlace() ? CreateFlag.KERNEL_BITS | of.fileFlags() : of.fileFlags();
  }

  /** The callbacks of this virtual machine for a file; null if it is not one of its files. */
  @Nullable Gmem owner(GuestMemfd memfd) {
    slotsLock.lock();
    try {
      return ownerLocked(memfd);
    } finally {
      slotsLock.unlock();
    }
  }

  /** All pages that the guest may have mapped, also of memslots that are being deleted. */
  List<SlotPages> allPages() {
    List<SlotPages> pages = new ArrayList<>();
    slotsLock.lock();
    try {
      for (OwnedFile file : files) {
        pages.addAll(file.gmem.allPages());
      }
    } finally {
      slotsLock.unlock();
    }
    for (BoundSlot slot : Announce.read(userSlots)) {
      pages.add(new SlotPages(slot, 0, slot.pages()));
    }
    return pages;
  }

  /**
   * Ends the virtual machine, unless memslots have changed. What it has mapped is to be invalidated
   * then.
   *
   * @param own its memslots, as they were looked at
   * @param others the memory regions of the virtual machine that its memory goes to
   * @param theirs the memslots of that
   * @return whether both have these memslots, and this one is dead
   */
  boolean tryDie(Memslots own, MemoryRegions others, Memslots theirs) {
    slotsLock.lock();
    try {
      if (memslots() != own || others.memslots() != theirs) {
        return false;
      }
      mmu.markDead(); // from here on no memslot is changed
      return true;
    } finally {
      slotsLock.unlock();
    }
  }

  /** The callbacks of memory of the host at a user address. */
  Gmem clientOfHostMemory(long userAddress) {
    return Gmem.ofHostMemory(mmu, Announce.read(userSlots), userAddress);
  }

  private @Nullable Gmem ownerLocked(GuestMemfd memfd) {
    for (OwnedFile file : files) {
      if (file.memfd.sameOpenFile(memfd)) {
        return file.gmem;
      }
    }
    return null;
  }

  /** The counters of a memslot. */
  VmMetrics metrics(int slot) {
    slotsLock.lock();
    try {
      BoundSlot bound = slots.get(slot);
      if (bound == null) {
        throw refuse(Errno.EINVAL, slot, "there is none");
      }
      return new VmMetrics(bound.counters.read());
    } finally {
      slotsLock.unlock();
    }
  }

  /** See {@link VirtualMachine#setUserMemoryRegion2(Memslot)}. */
  void set(Memslot wanted) {
    forbidInsideCallback(wanted.slot());
    BoundSlot old;
    try {
      old = change(wanted.withoutIgnored());
    } catch (OutOfMemoryError e) {
      GuestMemfdException refused = refuse(Errno.ENOMEM, wanted.slot(), "" + e.getMessage());
      refused.initCause(e);
      throw refused;
    }
    if (old != null) {
      try {
        mmu.delete(old); // without the slots lock: it waits, and may free frames
      } finally {
        try {
          if (profile.hasTwoMemories(type)) {
            Unmapping.unmap(List.of(new SlotPages(old, 0, old.pages())));
          }
        } finally {
          unbind(old);
        }
      }
    }
  }

  /** Changes the set of memslots; the one that was deleted or replaced, if any. */
  private @Nullable BoundSlot change(Memslot wanted) {
    int slot = wanted.slot();
    slotsLock.lock();
    try {
      if (mmu.isDead()) {
        throw refuse(Errno.EIO, slot, "the virtual machine is dead");
      }
      String problem = MemslotRules.problem(wanted, type);
      if (problem != null) {
        throw refuse(Errno.EINVAL, slot, problem);
      }
      BoundSlot old = slots.get(slot);
      if (wanted.size() == 0) {
        if (old == null) {
          throw refuse(Errno.EINVAL, slot, "there is none to delete");
        }
        Memslots left = memslotsWith(old, null);
        Announce.write(this).memslots = left;
        slots.values().remove(old);
        return old;
      }
      if (old != null) {
        String immutable = MemslotRules.immutable(old.memslot, wanted);
        if (immutable != null) {
          throw refuse(Errno.EINVAL, slot, immutable);
        }
        if (old.memslot.equals(wanted)) {
          return null;
        }
      }
      requireFreeGuestAddresses(wanted);
      if (!wanted.has(MemslotFlag.GUEST_MEMFD)) {
        requireGuestLimit(wanted);
        store(wanted, null, old);
        return old;
      }
      GuestMemfd memfd = prepareBinding(wanted);
      commitBinding(wanted, memfd, old);
      return old;
    } finally {
      slotsLock.unlock();
    }
  }

  private void requireFreeGuestAddresses(Memslot wanted) {
    for (BoundSlot other : slots.values()) {
      if (other.memslot.slot() != wanted.slot()
          && other.memslot.overlapsGuest(wanted.gpa(), wanted.size())) {
        throw refuse(Errno.EEXIST, wanted.slot(), "guest addresses overlap " + other.memslot);
      }
    }
  }

  private static void requireGuestLimit(Memslot wanted) {
    long end = wanted.gpa() + wanted.size();
    if (Long.compareUnsigned(end, GuestRange.LIMIT) > 0) {
      throw refuse(
          Errno.EINVAL,
          wanted.slot(),
          "expected guest addresses up to "
              + Hex.of(GuestRange.LIMIT)
              + ", actual up to "
              + Hex.of(end));
    }
  }

  /**
   * The first step of binding, which changes nothing: looks at the descriptor, and at the range by
   * itself. The kernel holds the file open until the second; a memslot here takes one that ends in
   * between, and is left without it.
   */
  private GuestMemfd prepareBinding(Memslot wanted) {
    GuestMemfd memfd = wanted.memfd();
    int slot = wanted.slot();
    if (memfd == null || !memfd.isOpen()) {
      throw refuse(Errno.EBADF, slot, "expected an open descriptor, actual " + memfd);
    }
    if (isPastEnd(wanted.offset(), wanted.size(), memfd.size())) {
      throw refuse(
          Errno.EINVAL,
          slot,
          "expected a range in "
              + memfd
              + ", actual offset "
              + Hex.of(wanted.offset())
              + " and size "
              + Long.toUnsignedString(wanted.size()));
    }
    return memfd;
  }

  /** The second step: looks at what is bound already, and binds, or changes nothing. */
  private void commitBinding(Memslot wanted, GuestMemfd memfd, @Nullable BoundSlot old) {
    int slot = wanted.slot();
    for (BoundSlot other : slots.values()) {
      if (other.memslot.overlapsFile(memfd, wanted.offset(), wanted.size())) {
        throw refuse(profile.fileOverlap, slot, "file range overlaps " + other.memslot);
      }
    }
    requireGuestLimit(wanted);
    store(wanted, ownerLocked(memfd), old);
  }

  private boolean isPastEnd(long offset, long size, long fileSize) {
    return profile.signedOffsets
        ? offset < 0 || offset + size > fileSize // a sum past 2^63 - 1 is negative, and passes
        : Long.compareUnsigned(offset + size, fileSize) > 0; // it does not wrap: see MemslotRules
  }

  /**
   * Makes a memslot, in place of the old one. Before a vCPU can find it, its memory knows it.
   *
   * <p>All that needs memory comes first, and is undone if there is none. Then the file is tied to
   * the machine, which cannot be undone; after that nothing fails.
   */
  private void store(Memslot memslot, @Nullable Gmem gmem, @Nullable BoundSlot old) {
    GuestMemfd memfd = memslot.memfd();
    boolean fileOnly =
        memfd != null && (!profile.hasTwoMemories(type) || CreateFlag.MMAP.isIn(memfd.flags()));
    Integer number = memslot.slot();
    BoundSlot bound = new BoundSlot(memslot, gmem, fileOnly, user, old, hook);
    Memslots with = memslotsWith(old, bound);
    slots.put(number, bound);
    try {
      if (old != null) {
        old.replacedBy = bound;
      }
      if (gmem != null) {
        Announce.write(gmem.bindings).add(bound);
      }
      if (!fileOnly) {
        Announce.write(userSlots).add(bound);
      }
      if (memfd != null && !memfd.bindTo(vm)) {
        throw refuse(
            Errno.EINVAL,
            memslot.slot(),
            "expected a file of no other virtual machine, actual " + memfd);
      }
    } catch (Throwable e) {
      restore(number, old);
      unbind(bound);
      throw e;
    }
    Announce.write(this).memslots = with;
  }

  /** Puts the old memslot back; needs no memory, since there is an entry of this number. */
  private void restore(Integer number, @Nullable BoundSlot old) {
    if (old == null) {
      slots.remove(number);
    } else {
      old.replacedBy = null;
      slots.put(number, old);
    }
  }

  private void unbind(BoundSlot slot) {
    if (slot.gmem != null) {
      Announce.write(slot.gmem.bindings).remove(slot);
    }
    if (!slot.isFileOnly) {
      Announce.write(userSlots).remove(slot);
    }
  }

  /** The memslots as they are, but for one that goes, and with one that comes. */
  private Memslots memslotsWith(@Nullable BoundSlot gone, @Nullable BoundSlot made) {
    List<BoundSlot> all = new ArrayList<>(slots.values());
    if (gone != null) {
      all.remove(gone);
    }
    if (made != null) {
      all.add(made);
    }
    return new Memslots(all);
  }

  /** See {@link VirtualMachine#getDirtyLog}. */
  BitSet takeDirty(int slot, @Nullable BitSet wanted) {
    forbidInsideCallback(slot);
    if (slot < 0 || slot >= VirtualMachine.USER_SLOTS) {
      throw refuse(Errno.EINVAL, slot, "expected a number below " + VirtualMachine.USER_SLOTS);
    }
    for (; ; ) {
      BoundSlot bound = bound(slot);
      if (bound == null || bound.dirty == null) {
        throw refuse(
            Errno.ENOENT,
            slot,
            "expected one with LOG_DIRTY_PAGES, actual "
                + (bound == null ? "none" : bound.memslot));
      }
      if (wanted != null && wanted.length() > bound.pages()) {
        throw refuse(
            Errno.EINVAL,
            slot,
            "expected pages below " + bound.pages() + ", actual " + (wanted.length() - 1));
      }
      BitSet taken;
      try {
        taken = mmu.takeDirty(bound, bound.dirty, wanted);
      } catch (InterruptedException e) {
        throw refuse(FrameAccess.interrupted(e), slot, "interrupted while writes were under way");
      }
      if (bound(slot) == bound) {
        return taken;
      }
      mmu.putBack(bound.dirty, taken); // what has replaced it may have written, and writes on
    }
  }

  private @Nullable BoundSlot bound(int slot) {
    slotsLock.lock();
    try {
      return slots.get(slot);
    } finally {
      slotsLock.unlock();
    }
  }

  /** What waits for accesses must not do so for the thread's own: in a window it has one. */
  private static void forbidInsideCallback(int slot) {
    if (GuestMemfd.isInsideCallback()) {
      throw refuse(Errno.EDEADLK, slot, "called from inside a callback");
    }
  }

  static GuestMemfdException refuse(Errno errno, int slot, String why) {
    return new GuestMemfdException(errno, "memslot " + slot + ": " + why);
  }
}
