package io.github.guestmemfd.kvm;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.spi.Announce;
import java.util.ArrayList;
import java.util.List;
import java.util.NavigableMap;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;

/**
 * The handover of memory to another virtual machine of the same host: {@code KVM_LINK_GUEST_MEMFD}
 * and {@code KVM_CAP_VM_MOVE_ENC_CONTEXT_FROM}, as in version 2 of the RFC "New KVM ioctl to link a
 * gmem inode to a new gmem file" of May 2025, which is not merged.
 */
final class Handover {
  /** The virtual machine, compared by identity. */
  private final Object vm;

  private final KernelProfile profile;
  private final @Nullable VmType type;
  private final MemoryRegions regions;
  private final Mmu mmu;

  /** Null for a machine whose files have the attributes. */
  private final @Nullable VmAttributes attributes;

  /** Whether the machine takes part in a move: {@code migration_in_progress}. */
  private final AtomicBoolean moving = new AtomicBoolean();

  Handover(
      Object vm,
      KernelProfile profile,
      @Nullable VmType type,
      MemoryRegions regions,
      Mmu mmu,
      @Nullable VmAttributes attributes) {
    this.vm = vm;
    this.profile = profile;
    this.type = type;
    this.regions = regions;
    this.mmu = mmu;
    this.attributes = attributes;
  }

  // ---- a file ----

  /**
   * Links a file.
   *
   * @param owner the handover of the virtual machine that has the file; null if none has
   */
  GuestMemfd link(GuestMemfd memfd, @Nullable Handover owner, long flags) {
    Gmem source = owner == null || owner == this ? null : owner.regions.owner(memfd);
    String wrong =
        flags != 0
            ? "expected flags 0x0, actual " + Hex.of(flags)
            : !memfd.isOpen()
                ? "the descriptor is closed"
                : owner == this
                    ? "expected a file of another virtual machine"
                    : owner == null || source == null
                        ? "expected a file that a virtual machine created"
                        : otherKernel(owner);
    Optional<GuestMemfd> held = wrong == null ? memfd.reopen() : Optional.empty();
    if (source == null || held.isEmpty()) {
      String why = wrong == null ? "the descriptor was closed" : wrong;
      throw refused(Errno.EINVAL, "link of " + memfd + ": " + why);
    }
    try (GuestMemfd open = held.get()) { // so that the source's view does not end meanwhile
      open.atLastClose(source::unlink);
      GuestMemfd linked = open.link(vm);
      Gmem view = source.link(mmu);
      linked.atLastClose(view::unlink);
      regions.own(linked, view);
      return linked;
    }
  }

  // ---- the machine ----

  /** Takes over from another virtual machine. */
  void moveFrom(Handover source) {
    String otherKernel = otherKernel(source);
    if (otherKernel != null) {
      throw refused(Errno.EINVAL, otherKernel);
    }
    if (source.type == type && source != this) {
      if (!Announce.write(moving).compareAndSet(false, true)) {
        throw refused(Errno.EBUSY, "this virtual machine takes part in another move");
      }
      try {
        if (!Announce.write(source.moving).compareAndSet(false, true)) {
          throw refused(Errno.EBUSY, "the source takes part in another move");
        }
        try {
          if (mmu.isDead()) { // since this was last looked at
            throw refused(Errno.EIO, "the virtual machine is dead");
          }
          if (source.mmu.isDead()) { // it has no attributes left to give
            throw refused(Errno.EINVAL, "the source is dead");
          }
          move(source);
        } finally {
          Announce.write(source.moving).set(false);
        }
      } finally {
        Announce.write(moving).set(false);
      }
    } else {
      throw refused(
          Errno.EINVAL,
          "expected another virtual machine of type "
              + name(type)
              + ", actual "
              + (source == this ? "the same" : "one of type " + name(source.type)));
    }
  }

  /** What is wrong with the kernel of another machine; null if nothing: a host has one kernel. */
  private @Nullable String otherKernel(Handover other) {
    return other.profile == profile
        ? null
        : "expected a machine of Linux "
            + profile.release()
            + ", as this one, actual one of "
            + other.profile.release();
  }

  private static String name(@Nullable VmType type) {
    return type == null ? "none" : type.name();
  }

  /** Both are marked. */
  private void move(Handover source) {
    Memslots own;
    Memslots theirs;
    do { // once more, if memslots were changed in between
      own = regions.memslots();
      theirs = source.regions.memslots();
      String mismatch = mismatch(theirs.all(), own.all());
      if (mismatch != null) {
        throw refused(Errno.EINVAL, mismatch);
      }
    } while (!source.regions.tryDie(/* own= */ theirs, regions, /* theirs= */ own));
    try {
      source.mmu.invalidate(source.regions.allPages()); // kvm_vm_dead kicks the vCPUs
    } finally {
      takeAttributes(source); // it is dead, and cannot be asked again
    }
  }

  private void takeAttributes(Handover source) {
    NavigableMap<Long, Long> taken =
        source.attributes == null ? new TreeMap<>() : source.attributes.take();
    VmAttributes here = attributes;
    if (here != null) {
      try {
        mmu.invalidateAll(regions::allPages, () -> here.replace(taken));
      } finally {
        // A second client goes with its file, and so does what it has mapped of the source's
        // private pages. By what were this machine's attributes it may have mapped others.
        Unmapping.unmap(shared(regions.allPages(), here));
      }
    }
  }

  /** Those of some pages that are shared. */
  private static List<SlotPages> shared(List<SlotPages> all, VmAttributes attributes) {
    List<SlotPages> shared = new ArrayList<>();
    for (SlotPages part : all) {
      BoundSlot slot = part.slot();
      long end = slot.gfn(part.to());
      for (long at = slot.gfn(part.from()); at < end; ) {
        long to = attributes.firstOther(at, end, MemoryAttribute.SHARED);
        if (to > at) {
          shared.add(new SlotPages(slot, at - slot.gfn(0), to - slot.gfn(0)));
          at = to;
        } else {
          at = attributes.firstOther(at, end, MemoryAttribute.PRIVATE);
        }
      }
    }
    return shared;
  }

  /** Where the memslots of two machines differ, in words; null if they match. */
  private static @Nullable String mismatch(List<BoundSlot> source, List<BoundSlot> own) {
    for (int i = 0; i < Math.min(source.size(), own.size()); i++) {
      Memslot from = source.get(i).memslot;
      Memslot to = own.get(i).memslot;
      if (from.gpa() != to.gpa()
          || from.size() != to.size()
          || from.flags() != to.flags()
          || (from.has(MemslotFlag.GUEST_MEMFD) && !isSameMemory(from, to))) {
        return "expected memslots that match, actual " + from + " and " + to;
      }
    }
    return source.size() == own.size()
        ? null
        : "expected as many memslots as the source has, "
            + source.size()
            + ", actual "
            + own.size();
  }

  /** Whether two memslots have the same part of one file, through descriptors that are open. */
  private static boolean isSameMemory(Memslot from, Memslot to) {
    Optional<GuestMemfd> a = from.openFile();
    try {
      Optional<GuestMemfd> b = to.openFile();
      try {
        return from.offset() == to.offset()
            && a.isPresent()
            && b.isPresent()
            && a.get().sameFile(b.get());
      } finally {
        b.ifPresent(GuestMemfd::close);
      }
    } finally {
      a.ifPresent(GuestMemfd::close);
    }
  }

  private static GuestMemfdException refused(Errno errno, String why) {
    return new GuestMemfdException(errno, "handover: " + why);
  }
}
