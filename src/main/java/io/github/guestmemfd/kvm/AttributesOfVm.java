package io.github.guestmemfd.kvm;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Pages;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;

/**
 * The attributes of guest addresses where they belong to the virtual machine: {@code
 * KVM_SET_MEMORY_ATTRIBUTES}. A change moves no content, and no holder blocks it: the next access
 * of the guest is to the other memory.
 */
final class AttributesOfVm implements Attributes {
  private final VmType type;
  private final VmAttributes attributes;
  private final MemoryRegions regions;
  private final Mmu mmu;

  AttributesOfVm(VmType type, VmAttributes attributes, MemoryRegions regions, Mmu mmu) {
    this.type = type;
    this.attributes = attributes;
    this.regions = regions;
    this.mmu = mmu;
  }

  @Override
  public Optional<MemoryAttribute> of(long gpa) {
    return Optional.of(attributes.of(gpa >>> Pages.SHIFT));
  }

  @Override
  public Optional<MemoryAttribute> of(GuestMemfd memfd, long offset) {
    boolean isShared = memfd.isAccessible(offset);
    BoundSlot slot = regions.memslots().find(memfd, offset);
    if (slot == null || slot.gmem == null || slot.gmem.machineOps() == null || mmu.isDead()) {
      return Optional.empty();
    }
    long page = (offset - slot.memslot.offset()) >>> Pages.SHIFT;
    return Optional.of(isShared ? MemoryAttribute.SHARED : attributes.of(slot.gfn(page)));
  }

  @Override
  public List<MemoryAttributeRange> of(long gpa, long size) {
    String wrong = GuestRange.wrongUnsigned(gpa, size);
    if (wrong != null) {
      throw new GuestMemfdException(
          Errno.EINVAL, "attributes gpa " + Hex.of(gpa) + " size " + size + ": " + wrong);
    }
    List<MemoryAttributeRange> parts = new ArrayList<>();
    long end = end(gpa, size);
    for (long at = gpa >>> Pages.SHIFT; at < end; ) {
      MemoryAttribute attribute = attributes.of(at);
      long to = attributes.firstOther(at, end, attribute);
      if (to > at) { // else it was changed in between
        MemoryAttributes.add(parts, at << Pages.SHIFT, (to - at) << Pages.SHIFT, attribute);
      }
      at = to;
    }
    return List.copyOf(parts);
  }

  private static long end(long gpa, long size) {
    return (gpa >>> Pages.SHIFT) + (size >>> Pages.SHIFT);
  }

  @Override
  public void set(long gpa, long size, MemoryAttribute attribute) {
    BusyGuestPage stopped = new BusyGuestPage();
    Errno errno = trySet(gpa, size, attribute, stopped);
    if (errno != Errno.OK) {
      throw refused(errno, gpa, size, attribute);
    }
  }

  private MemoryAttributesException refused(
      Errno errno, long gpa, long size, MemoryAttribute attribute) {
    String wrong =
        unsupported(attribute)
            ? "a machine of type " + type + " has no private memory"
            : GuestRange.wrongUnsigned(gpa, size);
    String why =
        switch (errno) {
          case EINTR -> "the thread was interrupted";
          case EDEADLK -> "called from inside a callback";
          default -> wrong == null ? errno.name() : wrong;
        };
    return new MemoryAttributesException(errno, setTo(gpa, size, attribute) + ": " + why, gpa, gpa);
  }

  /** The call, for messages. */
  static String setTo(long gpa, long size, MemoryAttribute attribute) {
    return "set memory attributes of gpa "
        + Hex.of(gpa)
        + " size "
        + Long.toUnsignedString(size)
        + " to "
        + attribute;
  }

  private boolean unsupported(MemoryAttribute attribute) {
    return attribute == MemoryAttribute.PRIVATE && !type.hasPrivateMemory();
  }

  @Override
  public Errno trySet(long gpa, long size, MemoryAttribute attribute, BusyGuestPage busy) {
    Objects.requireNonNull(attribute, "attribute");
    Objects.requireNonNull(busy, "busy").set(gpa);
    if (mmu.isDead()) {
      return Errno.EIO;
    }
    if (unsupported(attribute) || GuestRange.wrongUnsigned(gpa, size) != null) {
      return Errno.EINVAL;
    }
    Errno errno = change(gpa >>> Pages.SHIFT, end(gpa, size), attribute);
    if (errno == Errno.OK) {
      busy.set(gpa + size);
    }
    return errno;
  }

  private Errno change(long first, long end, MemoryAttribute attribute) {
    if (attributes.firstOther(first, end, attribute) == end) {
      return mmu.isDead() ? Errno.EIO : Errno.OK; // nothing is touched; what is dead has none
    }
    if (GuestMemfd.isInsideCallback()) {
      return Errno.EDEADLK; // in a window the thread would wait for its own access
    }
    Errno errno = mmu.invalidateBegin(() -> regions.memslots().pages(first, end), first, end);
    if (errno != Errno.OK) {
      return errno;
    }
    try {
      return attribute == MemoryAttribute.SHARED
          ? unmapAndSet(first, end)
          : store(first, end, attribute);
    } finally {
      mmu.invalidateEnd();
    }
  }

  private Errno store(long first, long end, MemoryAttribute attribute) {
    return attributes.set(first, end, attribute) ? Errno.OK : Errno.EIO;
  }

  /** Private pages turn shared: clients that have them mapped too are told. */
  private Errno unmapAndSet(long first, long end) {
    Unmapping unmapping = new Unmapping();
    try {
      Errno errno = unmapping.begin(regions.memslots().pages(first, end));
      if (errno == Errno.OK) {
        errno = store(first, end, MemoryAttribute.SHARED);
      }
      if (errno == Errno.OK) {
        // Memslots that were made meanwhile: what their clients have mapped by the old attribute.
        unmapping.beginAll(regions.memslots().pages(first, end));
      }
      return errno;
    } finally {
      unmapping.end();
    }
  }

  @Override
  public CompletableFuture<Void> setLater(long gpa, long size, MemoryAttribute attribute) {
    Objects.requireNonNull(attribute, "attribute");
    Errno errno = trySet(gpa, size, attribute, new BusyGuestPage());
    return errno == Errno.OK
        ? CompletableFuture.completedFuture(null)
        : CompletableFuture.failedFuture(refused(errno, gpa, size, attribute));
  }
}
