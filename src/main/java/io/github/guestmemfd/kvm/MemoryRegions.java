package io.github.guestmemfd.kvm;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.LockClass;
import io.github.guestmemfd.spi.Mutex;
import io.github.guestmemfd.spi.RaceHook;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The memory regions of a virtual machine: makes and deletes its memslots, and knows the files that
 * it owns: {@code KVM_SET_USER_MEMORY_REGION2}.
 */
final class MemoryRegions {
  private static final long PAGE_MASK = 4095;
  private static final long MAX_SLOT_BYTES = 1L << 43;

  /** What a file is bound to. */
  private final Object vm;

  private final Mmu mmu;
  private final KernelProfile profile;
  private final @Nullable RaceHook hook;
  private final Mutex slotsLock = new Mutex(LockClass.SLOTS_LOCK);

  /** The files of the virtual machine. Guarded by the slots lock, as is the next field. */
  private final List<OwnedFile> files = new ArrayList<>();

  private final Map<Integer, BoundSlot> slots = new HashMap<>();

  /** For readers without a lock; replaced as a whole. */
  private volatile Memslots memslots = Memslots.NONE;

  private record OwnedFile(GuestMemfd memfd, Gmem gmem) {}

  MemoryRegions(Object vm, Mmu mmu, KernelProfile profile, @Nullable RaceHook hook) {
    this.vm = vm;
    this.mmu = mmu;
    this.profile = profile;
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
    if (!memfd.bindTo(vm)) {
      throw new GuestMemfdException(
          Errno.EINVAL, "adopt: expected a file of no other virtual machine, actual " + memfd);
    }
    slotsLock.lock();
    try {
      files.removeIf(f -> f.gmem.isReleased());
      files.add(new OwnedFile(memfd, gmem));
    } finally {
      slotsLock.unlock();
    }
  }

  private @Nullable Gmem owner(GuestMemfd memfd) {
    for (OwnedFile file : files) {
      if (file.memfd.sameFile(memfd)) {
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

  /** See {@link VirtualMachine#setUserMemoryRegion2}. */
  void set(int slot, long gpa, long size, @Nullable GuestMemfd memfd, long offset) {
    BoundSlot deleted = change(slot, gpa, size, memfd, offset);
    if (deleted != null) {
      try {
        mmu.delete(deleted); // without the slots lock: it waits, and may free frames
      } finally {
        if (deleted.gmem != null) {
          Announce.write(deleted.gmem.bindings).remove(deleted);
        }
      }
    }
  }

  /** Changes the set of memslots; returns the memslot that was removed, if any. */
  private @Nullable BoundSlot change(
      int slot, long gpa, long size, @Nullable GuestMemfd memfd, long offset) {
    slotsLock.lock();
    try {
      String problem = problem(slot, gpa, size, offset);
      if (problem != null) {
        throw refuse(Errno.EINVAL, slot, problem);
      }
      if (size == 0) {
        BoundSlot old = slots.remove(slot);
        if (old == null) {
          throw refuse(Errno.EINVAL, slot, "there is none to delete");
        }
        Announce.write(this).memslots = new Memslots(slots.values());
        return old;
      }
      if (slots.containsKey(slot)) {
        throw refuse(
            Errno.EINVAL, slot, "exists, and cannot be changed: " + slots.get(slot).memslot);
      }
      for (BoundSlot other : slots.values()) {
        if (other.memslot.overlapsGuest(gpa, size)) {
          throw refuse(Errno.EEXIST, slot, "guest addresses overlap " + other.memslot);
        }
      }
      if (memfd == null || !memfd.isOpen()) {
        throw refuse(Errno.EBADF, slot, "expected an open descriptor, actual " + memfd);
      }
      if (isPastEnd(offset, size, memfd.size())) {
        throw refuse(
            Errno.EINVAL,
            slot,
            "expected a range in "
                + memfd
                + ", actual offset "
                + Hex.of(offset)
                + " and size "
                + Long.toUnsignedString(size));
      }
      for (BoundSlot other : slots.values()) {
        if (other.memslot.overlapsFile(memfd, offset, size)) {
          throw refuse(profile.fileOverlap, slot, "file range overlaps " + other.memslot);
        }
      }
      if (Long.compareUnsigned(gpa + size, GuestRange.LIMIT) > 0) {
        throw refuse(
            Errno.EINVAL,
            slot,
            "expected guest addresses up to "
                + Hex.of(GuestRange.LIMIT)
                + ", actual up to "
                + Hex.of(gpa + size));
      }
      if (!memfd.bindTo(vm)) {
        throw refuse(
            Errno.EINVAL, slot, "expected a file of no other virtual machine, actual " + memfd);
      }
      Gmem gmem = owner(memfd);
      BoundSlot bound = new BoundSlot(new Memslot(slot, gpa, size, memfd, offset), gmem, hook);
      if (gmem != null) {
        Announce.write(gmem.bindings).add(bound); // before a vCPU can find it
      }
      slots.put(slot, bound);
      Announce.write(this).memslots = new Memslots(slots.values());
      return null;
    } finally {
      slotsLock.unlock();
    }
  }

  private boolean isPastEnd(long offset, long size, long fileSize) {
    return profile.signedOffsets
        ? offset < 0 || offset + size > fileSize // a sum past 2^63 - 1 is negative, and passes
        : Long.compareUnsigned(offset + size, fileSize) > 0; // it does not wrap: see problem
  }

  private static @Nullable String problem(int slot, long gpa, long size, long offset) {
    if (slot < 0 || slot >= VirtualMachine.USER_SLOTS) {
      return "expected a number of 0 to " + (VirtualMachine.USER_SLOTS - 1) + ", actual " + slot;
    }
    if (((gpa | size | offset) & PAGE_MASK) != 0) {
      return "expected multiples of 4096, actual gpa "
          + Hex.of(gpa)
          + " size "
          + Long.toUnsignedString(size)
          + " offset "
          + Hex.of(offset);
    }
    if (Long.compareUnsigned(gpa + size, gpa) < 0) {
      return wraps("gpa", gpa, size);
    }
    if (Long.compareUnsigned(offset + size, offset) < 0) {
      return wraps("offset", offset, size);
    }
    if (Long.compareUnsigned(size, MAX_SLOT_BYTES) >= 0) {
      return "expected a size below " + MAX_SLOT_BYTES + ", actual " + Long.toUnsignedString(size);
    }
    return null;
  }

  private static String wraps(String what, long start, long size) {
    return "expected an end below 2^64, actual %s %s and size %s"
        .formatted(what, Hex.of(start), Long.toUnsignedString(size));
  }

  static GuestMemfdException refuse(Errno errno, int slot, String why) {
    return new GuestMemfdException(errno, "memslot " + slot + ": " + why);
  }
}
