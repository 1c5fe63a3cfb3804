package io.github.guestmemfd.kvm;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.ConversionBlockedException;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.AttributeRange;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/**
 * The attributes of guest addresses where those of their files count: reads them, and converts in
 * place.
 */
final class MemoryAttributes implements Attributes {
  private final MemoryRegions regions;

  MemoryAttributes(MemoryRegions regions) {
    this.regions = regions;
  }

  // ---- reading ----

  /** See {@link VirtualMachine#memoryAttribute(long)}. */
  @Override
  public Optional<MemoryAttribute> of(long gpa) {
    BoundSlot slot = regions.memslots().find(gpa);
    if (slot == null) {
      return Optional.empty();
    }
    if (slot.memslot.memfd() == null) {
      return Optional.of(MemoryAttribute.SHARED);
    }
    Optional<GuestMemfd> file = slot.memslot.openFile();
    if (file.isEmpty()) {
      return Optional.empty();
    }
    try (GuestMemfd memfd = file.get()) {
      return Optional.of(attribute(memfd.isAccessible(slot.offset(slot.page(gpa)))));
    }
  }

  @Override
  public Optional<MemoryAttribute> of(GuestMemfd memfd, long offset) {
    return Optional.of(attribute(memfd.isAccessible(offset)));
  }

  private static MemoryAttribute attribute(boolean accessible) {
    return accessible ? MemoryAttribute.SHARED : MemoryAttribute.PRIVATE;
  }

  /** See {@link VirtualMachine#memoryAttributes}. */
  @Override
  public List<MemoryAttributeRange> of(long gpa, long size) {
    String wrong = GuestRange.wrong(gpa, size);
    if (wrong != null) {
      throw new GuestMemfdException(
          Errno.EINVAL, "attributes gpa " + Hex.of(gpa) + " size " + size + ": " + wrong);
    }
    List<MemoryAttributeRange> parts = new ArrayList<>();
    long end = gpa + size;
    for (long at = gpa; at < end; ) {
      BoundSlot next = regions.memslots().next(at);
      if (next == null || next.memslot.gpa() >= end) {
        break;
      }
      Memslot slot = next.memslot;
      long from = Math.max(at, slot.gpa());
      at = Math.min(end, slot.gpa() + slot.size());
      add(parts, slot, from, at);
    }
    return List.copyOf(parts);
  }

  /** Adds the parts of a memslot; the first may extend the last part added before. */
  private static void add(List<MemoryAttributeRange> parts, Memslot slot, long from, long to) {
    if (slot.memfd() == null) {
      add(parts, from, to - from, MemoryAttribute.SHARED);
      return;
    }
    Optional<GuestMemfd> file = slot.openFile();
    if (file.isEmpty()) {
      return;
    }
    try (GuestMemfd memfd = file.get()) {
      for (AttributeRange range : memfd.attributes(slot.offsetOf(from), to - from)) {
        add(parts, slot.gpaOf(range.offset()), range.length(), attribute(range.accessible()));
      }
    }
  }

  /** Adds a part; it may extend the last one. */
  static void add(
      List<MemoryAttributeRange> parts, long start, long size, MemoryAttribute attribute) {
    int last = parts.size() - 1;
    MemoryAttributeRange before = last < 0 ? null : parts.get(last);
    if (before != null
        && before.attribute() == attribute
        && before.gpa() + before.size() == start) {
      parts.set(last, new MemoryAttributeRange(before.gpa(), before.size() + size, attribute));
    } else {
      parts.add(new MemoryAttributeRange(start, size, attribute));
    }
  }

  // ---- converting ----

  /** See {@link VirtualMachine#setMemoryAttributes}. */
  @Override
  public void set(long gpa, long size, MemoryAttribute attribute) {
    BusyGuestPage busy = new BusyGuestPage();
    Errno errno = trySet(gpa, size, attribute, busy);
    if (errno != Errno.OK) {
      throw new MemoryAttributesException(
          errno,
          setTo(gpa, size, attribute) + ": " + whyNotSet(errno, gpa, size, busy),
          busy.gpa(),
          busy.convertedUpTo());
    }
  }

  private static String setTo(long gpa, long size, MemoryAttribute attribute) {
    return "set memory attributes of gpa " + Hex.of(gpa) + " size " + size + " to " + attribute;
  }

  private String whyNotSet(Errno errno, long gpa, long size, BusyGuestPage busy) {
    String wrong = GuestRange.wrong(gpa, size);
    if (wrong != null) {
      return wrong;
    }
    return busy.folio().offset() >= 0 ? busy.toString() : regions.memslots().why(errno, busy.gpa());
  }

  /** See {@link VirtualMachine#trySetMemoryAttributes}. */
  @Override
  public Errno trySet(long gpa, long size, MemoryAttribute attribute, BusyGuestPage busy) {
    Objects.requireNonNull(attribute, "attribute");
    Objects.requireNonNull(busy, "busy");
    busy.set(gpa);
    if (GuestRange.isWrong(gpa, size)) {
      return Errno.EINVAL;
    }
    Memslots memslots = regions.memslots();
    long missing = memslots.firstMissing(gpa, size);
    if (missing >= 0) {
      busy.set(missing, gpa, false);
      return Errno.ENOENT;
    }
    long end = gpa + size;
    for (long at = gpa; at < end; ) {
      BoundSlot slot = Objects.requireNonNull(memslots.find(at));
      long offset = slot.memslot.offsetOf(at);
      long to = memslots.endOfPiece(slot, end);
      Errno errno = convert(slot.memslot, offset, to - at, attribute, busy.holders());
      if (errno == Errno.EAGAIN && attribute == MemoryAttribute.PRIVATE) {
        long busyOffset = busy.holders().offset();
        busy.set(busyOffset < 0 ? at : at + (busyOffset - offset), at, busyOffset >= 0);
      }
      if (errno != Errno.OK) {
        return errno;
      }
      at = to;
      busy.set(at);
    }
    return Errno.OK;
  }

  private static Errno convert(
      Memslot slot, long offset, long length, MemoryAttribute attribute, BusyFolio busy) {
    if (slot.memfd() == null && attribute == MemoryAttribute.SHARED) {
      return Errno.OK;
    }
    Optional<GuestMemfd> file = slot.openFile();
    if (file.isEmpty()) {
      return Errno.EBADF;
    }
    try (GuestMemfd memfd = file.get()) {
      return attribute == MemoryAttribute.PRIVATE
          ? memfd.tryMakeInaccessible(offset, length, busy)
          : memfd.tryMakeAccessible(offset, length);
    }
  }

  // ---- converting later ----

  /** See {@link VirtualMachine#setMemoryAttributesLater}. */
  @Override
  public CompletableFuture<Void> setLater(long gpa, long size, MemoryAttribute attribute) {
    Objects.requireNonNull(attribute, "attribute");
    try {
      return convertLater(gpa, size, attribute);
    } catch (RuntimeException | Error e) {
      return CompletableFuture.failedFuture(e);
    }
  }

  /** As {@link #setLater}, but throws the failures that occur at once. */
  private CompletableFuture<Void> convertLater(long gpa, long size, MemoryAttribute attribute) {
    String wrong = GuestRange.wrong(gpa, size);
    if (wrong != null) {
      throw notLater(Errno.EINVAL, gpa, size, attribute, wrong, gpa);
    }
    Memslots memslots = regions.memslots();
    long missing = memslots.firstMissing(gpa, size);
    if (missing >= 0) {
      String why = "no memslot at " + Hex.of(missing);
      throw notLater(Errno.ENOENT, gpa, size, attribute, why, missing);
    }
    BoundSlot slot = Objects.requireNonNull(memslots.find(gpa));
    long end = memslots.endOfPiece(slot, gpa + size);
    if (end < gpa + size) {
      String why = "expected one piece of one file, which ends at " + Hex.of(end);
      throw notLater(Errno.EINVAL, gpa, size, attribute, why, end);
    }
    long offset = slot.memslot.offsetOf(gpa);
    Optional<GuestMemfd> file = slot.memslot.openFile();
    if (file.isEmpty()) {
      String why = slot.memslot.whyNoFile();
      throw notLater(Errno.EBADF, gpa, size, attribute, why, gpa);
    }
    try (GuestMemfd memfd = file.get()) {
      if (attribute == MemoryAttribute.PRIVATE) {
        CompletableFuture<Void> later = memfd.makeInaccessibleLater(offset, size);
        if (later.isCompletedExceptionally()
            && later.handle((done, e) -> e).join() instanceof GuestMemfdException refused) {
          throw refused;
        }
        return later;
      }
      memfd.makeAccessible(offset, size);
      return CompletableFuture.completedFuture(null);
    } catch (GuestMemfdException e) {
      long at =
          e instanceof ConversionBlockedException busy ? busy.busyFolio().offset() - offset : 0;
      MemoryAttributesException refused =
          notLater(e.errno(), gpa, size, attribute, e.getMessage(), gpa + at);
      refused.initCause(e);
      throw refused;
    }
  }

  private static MemoryAttributesException notLater(
      Errno errno, long gpa, long size, MemoryAttribute attribute, @Nullable String why, long at) {
    return new MemoryAttributesException(
        errno, setTo(gpa, size, attribute) + " later: " + why, at, gpa);
  }
}
