package io.github.guestmemfd.kvm;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.InvalidationFilter;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.spi.Announce;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;

/**
 * The callbacks of a file of a virtual machine: the kernel's {@code struct kvm_gmem}. It knows the
 * memslots that the file backs, and forwards every callback to a second client, the user's.
 *
 * <p>The filter of an invalidation is for the second client: the guest page table has a page mapped
 * as what it is, if at all, and so the pages of a range that change are those of the filter.
 *
 * <p>Memory of the host at a user address is told to the MMU in the same way: the kernel's {@code
 * mmu_notifier}. What differs is where a memslot begins in it.
 */
final class Gmem implements GuestMemfdOps {
  /** Not a user address: for a file, whose memslots begin at their offsets. */
  private static final long NONE = -1;

  /** The memslots that the file backs; for memory of the host, all that can reach some. */
  final List<BoundSlot> bindings;

  private final Mmu mmu;
  private final GuestMemfdOps next;

  /** The user address of the host's memory. */
  private final long userAddress;

  private volatile boolean released;

  private Gmem(Mmu mmu, GuestMemfdOps next, List<BoundSlot> bindings, long userAddress) {
    this.mmu = mmu;
    this.next = next;
    this.bindings = bindings;
    this.userAddress = userAddress;
  }

  /** The callbacks of a guest_memfd. */
  static Gmem ofFile(Mmu mmu, GuestMemfdOps next) {
    return new Gmem(mmu, next, new CopyOnWriteArrayList<>(), NONE);
  }

  /**
   * The callbacks of memory of the host.
   *
   * @param slots all memslots whose pages may be at user addresses
   */
  static Gmem ofHostMemory(Mmu mmu, List<BoundSlot> slots, long userAddress) {
    return new Gmem(mmu, GuestMemfdOps.NONE, slots, userAddress);
  }

  /** The pages of memslots that a range of the file backs. */
  private List<Mmu.Pages> pages(long offset, long length) {
    List<Mmu.Pages> pages = new ArrayList<>();
    for (BoundSlot slot : Announce.read(bindings)) { // what is bound later cannot get the pages
      long start =
          userAddress == NONE ? slot.memslot.offset() : slot.memslot.userAddress() - userAddress;
      long from = Math.max(0, (offset - start) >> Pages.SHIFT);
      long to = Math.min(slot.pages(), (offset + length - start) >> Pages.SHIFT);
      if (from < to) {
        pages.add(new Mmu.Pages(slot, from, to));
      }
    }
    return pages;
  }

  private List<Mmu.Pages> allPages() {
    List<Mmu.Pages> pages = new ArrayList<>();
    for (BoundSlot slot : Announce.read(bindings)) {
      pages.add(new Mmu.Pages(slot, 0, slot.pages()));
    }
    return pages;
  }

  @Override
  public Errno invalidateBegin(long offset, long length, InvalidationFilter filter) {
    Errno errno = mmu.invalidateBegin(pages(offset, length));
    if (errno != Errno.OK) {
      return errno;
    }
    boolean done = false;
    try {
      errno = next.invalidateBegin(offset, length, filter);
      done = errno == Errno.OK;
      return errno;
    } finally {
      if (!done) {
        mmu.invalidateEnd();
      }
    }
  }

  @Override
  public void invalidateEnd(long offset, long length) {
    try {
      next.invalidateEnd(offset, length);
    } finally {
      mmu.invalidateEnd();
    }
  }

  @Override
  public Errno prepareAccessible(Folio folio) {
    return next.prepareAccessible(folio);
  }

  @Override
  public Errno prepareInaccessible(Folio folio) {
    return next.prepareInaccessible(folio);
  }

  @Override
  public Errno makePrivate(Folio folio) {
    return next.makePrivate(folio);
  }

  @Override
  public void makeShared(Folio folio) {
    next.makeShared(folio);
  }

  @Override
  public void freeFolio(Folio folio) {
    next.freeFolio(folio);
  }

  /** Zaps the pages of a range that no fault finds any more. An interrupt does not stop it. */
  void zap(long offset, long length) {
    try {
      mmu.invalidateBeginUninterruptibly(pages(offset, length));
    } finally {
      mmu.invalidateEnd();
    }
  }

  boolean isOf(Mmu other) {
    return mmu == other;
  }

  /** Whether the file is gone. */
  boolean isReleased() {
    return Announce.read(this).released;
  }

  @Override
  public void release() {
    Announce.write(this).released = true;
    try {
      mmu.invalidateBeginUninterruptibly(allPages());
    } finally {
      try {
        next.release();
      } finally {
        mmu.invalidateEnd();
      }
    }
  }
}
