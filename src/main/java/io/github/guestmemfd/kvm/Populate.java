package io.github.guestmemfd.kvm;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.PopulateHook;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Pages;
import java.nio.ByteBuffer;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** The initial content of private pages, by guest address: {@code kvm_gmem_populate}. */
final class Populate {
  private final MemoryRegions regions;

  /** Null where a page has the attribute that its file has for it. */
  private final @Nullable VmAttributes attributes;

  Populate(MemoryRegions regions, @Nullable VmAttributes attributes) {
    this.regions = regions;
    this.attributes = attributes;
  }

  /** See {@link VirtualMachine#populate}. */
  long populate(long gpa, long size, @Nullable ByteBuffer source, PopulateHook hook) {
    Objects.requireNonNull(hook, "hook");
    String wrong = GuestRange.wrong(gpa, size);
    if (wrong != null) {
      throw refused(Errno.EINVAL, gpa, size, wrong);
    }
    BoundSlot slot = regions.memslots().find(gpa);
    if (slot == null) {
      throw refused(Errno.EINVAL, gpa, size, "no memslot at " + Hex.of(gpa));
    }
    Optional<GuestMemfd> file = slot.memslot.openFile();
    if (file.isEmpty()) {
      Errno errno = slot.memslot.memfd() == null ? Errno.EINVAL : Errno.EFAULT;
      throw refused(errno, gpa, size, slot.memslot.whyNoFile());
    }
    IfPrivate ifPrivate = attributes == null ? null : new IfPrivate(attributes, slot.memslot, hook);
    try (GuestMemfd memfd = file.get()) {
      return memfd.populate(
          slot.memslot.offsetOf(gpa),
          Math.min(size, slot.endGpa() - gpa),
          source,
          ifPrivate == null ? hook : ifPrivate);
    } catch (GuestMemfdException e) {
      if (ifPrivate != null && ifPrivate.isShared) { // else the callback that is named is no user's
        throw refused(Errno.EINVAL, gpa, size, "the page at " + Hex.of(gpa) + " is shared");
      }
      throw e;
    }
  }

  /** A page that is shared in the machine is not handed over, and so not populated. */
  private static final class IfPrivate implements PopulateHook {
    private final VmAttributes attributes;
    private final Memslot slot;
    private final PopulateHook hook;
    private boolean isShared;

    IfPrivate(VmAttributes attributes, Memslot slot, PopulateHook hook) {
      this.attributes = attributes;
      this.slot = slot;
      this.hook = hook;
    }

    @Override
    public Errno populated(Folio folio) {
      isShared = !attributes.isPrivate(slot.gpaOf(folio.offset()) >>> Pages.SHIFT);
      return isShared ? Errno.EINVAL : hook.populated(folio);
    }
  }

  private static GuestMemfdException refused(Errno errno, long gpa, long size, String why) {
    return new GuestMemfdException(
        errno, "populate gpa " + Hex.of(gpa) + " size " + size + ": " + why);
  }
}
