package io.github.guestmemfd.kvm;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.abi.Protection;
import java.util.Optional;

/** The operations of a virtual machine monitor on the files behind guest addresses. */
final class ByGuestAddress {
  private final MemoryRegions regions;
  private final UserMemory user;

  ByGuestAddress(MemoryRegions regions, UserMemory user) {
    this.regions = regions;
    this.user = user;
  }

  HostMapping mmap(long gpa, long size, Protection... protection) {
    return mmap("mmap", gpa, size, protection);
  }

  private HostMapping mmap(String operation, long gpa, long size, Protection... protection) {
    Memslots memslots = checked(operation, gpa, size);
    BoundSlot slot = at(memslots, gpa);
    if (!slot.isInFile(MemoryAttribute.SHARED)) {
      return mmapHostMemory(operation, gpa, size, slot, protection);
    }
    long end = memslots.endOfPiece(slot, gpa + size);
    if (end < gpa + size) {
      throw notOnePiece(operation, gpa, size, end);
    }
    try (GuestMemfd memfd = file(operation, gpa, size, slot)) {
      return memfd.mmap(slot.memslot.offsetOf(gpa), size, protection);
    }
  }

  private HostMapping mmapHostMemory(
      String operation, long gpa, long size, BoundSlot slot, Protection... protection) {
    long address = slot.userAddress(slot.page(gpa));
    UserMemory.Area area = user.at(address);
    Optional<GuestMemfd> memory = area == null ? Optional.empty() : area.file().reopen();
    if (area == null || memory.isEmpty()) {
      throw new GuestMemfdException(
          Errno.EFAULT,
          what(operation, gpa, size) + ": no memory of the host at " + Hex.of(address));
    }
    try (GuestMemfd memfd = memory.get()) {
      long end = Math.min(slot.endGpa(), gpa + (area.end() - address));
      if (end < gpa + size) {
        throw notOnePiece(operation, gpa, size, end);
      }
      return memfd.mmap(address - area.address(), size, protection);
    }
  }

  private static GuestMemfdException notOnePiece(String operation, long gpa, long size, long end) {
    return new GuestMemfdException(
        Errno.EINVAL,
        what(operation, gpa, size)
            + ": expected one piece of one file, which ends at "
            + Hex.of(end));
  }

  HostReference pin(long gpa, long size) {
    Optional<String> callback = GuestMemfd.currentCallback();
    if (callback.isPresent()) { // the mapping by which it is pinned could not be unmapped
      throw new GuestMemfdException(
          Errno.EDEADLK, what("pin", gpa, size) + ": called from inside " + callback.get());
    }
    HostReference reference = null;
    try (HostMapping mapping = mmap("pin", gpa, size, Protection.READ, Protection.WRITE)) {
      reference = mapping.pinFully(0, size);
    } catch (Throwable e) {
      if (reference != null) { // a callback threw while it was unmapped
        reference.close();
      }
      throw e;
    }
    return reference;
  }

  void punchHole(long gpa, long size) {
    Memslots memslots = checked("punch", gpa, size);
    for (long at = gpa, to; at < gpa + size; at = to) {
      BoundSlot slot = at(memslots, at);
      to = memslots.endOfPiece(slot, gpa + size);
      try (GuestMemfd memfd = file("punch", gpa, size, slot)) {
        memfd.punchHole(slot.memslot.offsetOf(at), to - at);
      }
    }
  }

  /** See {@link VirtualMachine#discardHostMemory}. */
  void discardHostMemory(long gpa, long size) {
    String wrong = GuestRange.wrong(gpa, size);
    if (wrong != null) {
      throw new GuestMemfdException(Errno.EINVAL, what("discard", gpa, size) + ": " + wrong);
    }
    for (SlotPages pages :
        regions.memslots().pages(gpa >>> Pages.SHIFT, (gpa + size) >>> Pages.SHIFT)) {
      BoundSlot slot = pages.slot();
      if (!slot.isInFile(MemoryAttribute.SHARED)) {
        eachPiece(
            slot.userAddress(pages.from()), slot.userAddress(pages.to()), GuestMemfd::punchHole);
      }
    }
  }

  /** A range of a file that is memory of the host. */
  @FunctionalInterface
  private interface Piece {
    void use(GuestMemfd memfd, long offset, long length);
  }

  /** The pieces of memory between two user addresses, in ascending order. */
  private void eachPiece(long from, long to, Piece piece) {
    for (UserMemory.Area area : user.between(from, to)) {
      Optional<GuestMemfd> memory = area.file().reopen();
      if (memory.isPresent()) {
        try (GuestMemfd memfd = memory.get()) {
          long first = Math.max(from, area.address());
          piece.use(memfd, first - area.address(), Math.min(to, area.end()) - first);
        }
      }
    }
  }

  // ---- how much is used ----

  /** See {@link VirtualMachine#memoryUse}. */
  MemoryUse use() {
    long shared = 0;
    long files = 0;
    long doubled = 0;
    for (BoundSlot slot : regions.memslots().all()) {
      Pair pair = new Pair(slot);
      files += pair.inFile(0, slot.pages());
      if (!slot.isInFile(MemoryAttribute.SHARED)) {
        shared += pair.shared(0, slot.pages());
        doubled += pair.doubled(0, slot.pages());
      }
    }
    return new MemoryUse(shared << Pages.SHIFT, files << Pages.SHIFT, doubled << Pages.SHIFT);
  }

  /** The pages that are present of the two memories of a memslot. */
  private final class Pair {
    private final BoundSlot slot;

    Pair(BoundSlot slot) {
      this.slot = slot;
    }

    long inFile(long from, long to) {
      Optional<GuestMemfd> file = slot.memslot.openFile();
      if (file.isEmpty()) {
        return 0;
      }
      try (GuestMemfd memfd = file.get()) {
        return memfd.cachedPages(slot.offset(from), (to - from) << Pages.SHIFT);
      }
    }

    long shared(long from, long to) {
      long[] pages = new long[1];
      eachPiece(
          slot.userAddress(from),
          slot.userAddress(to),
          (memfd, offset, length) -> pages[0] += memfd.cachedPages(offset, length));
      return pages[0];
    }

    /** Goes down only where both have some, and not all. */
    long doubled(long from, long to) {
      long a = inFile(from, to);
      long b = a == 0 ? 0 : shared(from, to);
      long pages = to - from;
      if (a == 0 || b == 0 || a >= pages || b >= pages) {
        return Math.min(a, b);
      }
      long middle = (from + to) >>> 1;
      return doubled(from, middle) + doubled(middle, to);
    }
  }

  // ---- what they share ----

  /** The memslots, which cover all of a range of pages. */
  private Memslots checked(String operation, long gpa, long size) {
    String wrong = GuestRange.wrong(gpa, size);
    if (wrong != null) {
      throw new GuestMemfdException(Errno.EINVAL, what(operation, gpa, size) + ": " + wrong);
    }
    Memslots memslots = regions.memslots();
    long missing = memslots.firstMissing(gpa, size);
    if (missing >= 0) {
      throw new GuestMemfdException(
          Errno.ENOENT, what(operation, gpa, size) + ": no memslot at " + Hex.of(missing));
    }
    return memslots;
  }

  private static BoundSlot at(Memslots memslots, long gpa) {
    BoundSlot slot = memslots.find(gpa);
    if (slot == null) {
      throw new AssertionError("a gap at " + Hex.of(gpa) + " in what was checked");
    }
    return slot;
  }

  private static GuestMemfd file(String operation, long gpa, long size, BoundSlot slot) {
    return slot.memslot
        .openFile()
        .orElseThrow(
            () ->
                new GuestMemfdException(
                    Errno.EBADF, what(operation, gpa, size) + ": " + slot.memslot.whyNoFile()));
  }

  private static String what(String operation, long gpa, long size) {
    return operation + " gpa " + Hex.of(gpa) + " size " + size;
  }
}
