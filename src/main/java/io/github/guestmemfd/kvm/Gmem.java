package io.github.guestmemfd.kvm;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.InvalidationFilter;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.spi.Announce;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import org.jspecify.annotations.Nullable;

/**
 * The callbacks of a file of a virtual machine: the kernel's {@code struct kvm_gmem}. It knows the
 * memslots that the file backs, and forwards every callback to a second client, the user's.
 *
 * <p>The filter of an invalidation is for the second client: the guest page table has a page mapped
 * as what it is, if at all, and so the pages of a range that change are those of the filter.
 *
 * <p>A file that is linked into another virtual machine has a Gmem for that too, a <em>view</em>.
 * The first one is the client of the file, and tells the views of invalidations. The second client
 * stays the file's: it is told once of each, whichever machines the file is of.
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

  /** The client of the file: itself, unless it is a view. */
  private final Gmem first;

  /** The views, of the client of the file. */
  private final List<Gmem> views = new CopyOnWriteArrayList<>();

  /**
   * The views that were told of an invalidation which has begun, by its offset, if there were any:
   * those that come later are not told of its end. The ranges of those under way do not overlap.
   */
  private final Map<Long, List<Gmem>> told = new ConcurrentHashMap<>();

  /** The user address of the host's memory. */
  private final long userAddress;

  private volatile boolean released;

  private Gmem(
      Mmu mmu,
      GuestMemfdOps next,
      @Nullable Gmem first,
      List<BoundSlot> bindings,
      long userAddress) {
    this.mmu = mmu;
    this.next = next;
    this.first = first == null ? this : first;
    this.bindings = bindings;
    this.userAddress = userAddress;
  }

  /** The callbacks of a guest_memfd. */
  static Gmem ofFile(Mmu mmu, GuestMemfdOps next) {
    return new Gmem(mmu, next, null, new CopyOnWriteArrayList<>(), NONE);
  }

  /**
   * Another virtual machine's view of the file: what is bound there follows the file from here on.
   *
   * @param other the MMU of the other machine
   */
  Gmem link(Mmu other) {
    Gmem view = new Gmem(other, GuestMemfdOps.NONE, first, new CopyOnWriteArrayList<>(), NONE);
    Announce.write(first.views).add(view);
    return view;
  }

  /**
   * Ends this machine's view of the file, which other machines may have yet: nothing of it stays
   * mapped, and no memslot reaches it any more.
   */
  void unlink() {
    Announce.write(this).released = true;
    try {
      mmu.invalidate(allPages());
    } finally {
      Announce.write(first.views).remove(this);
    }
  }

  /**
   * The callbacks of memory of the host.
   *
   * @param slots all memslots whose pages may be at user addresses
   */
  static Gmem ofHostMemory(Mmu mmu, List<BoundSlot> slots, long userAddress) {
    return new Gmem(mmu, GuestMemfdOps.NONE, null, slots, userAddress);
  }

  /** The pages of memslots that a range of the file backs. */
  private List<SlotPages> pages(long offset, long length) {
    List<SlotPages> pages = new ArrayList<>();
    for (BoundSlot slot : Announce.read(bindings)) { // what is bound later cannot get the pages
      long start =
          userAddress == NONE ? slot.memslot.offset() : slot.memslot.userAddress() - userAddress;
      long from = Math.max(0, (offset - start) >> Pages.SHIFT);
      long to = Math.min(slot.pages(), (offset + length - start) >> Pages.SHIFT);
      if (from < to) {
        pages.add(new SlotPages(slot, from, to));
      }
    }
    return pages;
  }

  /** The pages of all memslots that the file backs. */
  List<SlotPages> allPages() {
    List<SlotPages> pages = new ArrayList<>();
    for (BoundSlot slot : Announce.read(bindings)) {
      pages.add(new SlotPages(slot, 0, slot.pages()));
    }
    return pages;
  }

  /** The guest page table follows ranges; single folios are for the second client. */
  @Override
  public boolean takesFolios() {
    return next.takesFolios();
  }

  @Override
  public Errno invalidateBegin(long offset, long length, InvalidationFilter filter) {
    List<Gmem> now = List.copyOf(Announce.read(views)); // what is linked later cannot get the pages
    if (!now.isEmpty()) {
      Announce.write(told).put(offset, now);
    }
    int begun = 0;
    boolean done = false;
    try {
      Errno errno = mmu.invalidateBegin(pages(offset, length));
      begun += errno == Errno.OK ? 1 : 0;
      while (errno == Errno.OK && begun <= now.size()) {
        Gmem view = now.get(begun - 1);
        errno = view.mmu.invalidateBegin(view.pages(offset, length));
        begun += errno == Errno.OK ? 1 : 0;
      }
      if (errno == Errno.OK) {
        errno = next.invalidateBegin(offset, length, filter);
      }
      done = errno == Errno.OK;
      return errno;
    } finally {
      if (!done) {
        end(offset, begun);
      }
    }
  }

  @Override
  public void invalidateEnd(long offset, long length) {
    try {
      next.invalidateEnd(offset, length);
    } finally {
      end(offset, Integer.MAX_VALUE);
    }
  }

  /** Ends an invalidation, of as many MMUs as it has begun for. */
  private void end(long offset, int begun) {
    List<Gmem> those = Announce.read(told).isEmpty() ? null : Announce.write(told).remove(offset);
    if (begun > 0) {
      mmu.invalidateEnd();
    }
    for (int i = 1; those != null && i <= those.size() && i < begun; i++) {
      those.get(i - 1).mmu.invalidateEnd();
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
    mmu.invalidate(pages(offset, length));
  }

  /** The second client of the file, if it follows the attributes of a machine too; else null. */
  @Nullable MachineOps machineOps() {
    return first.next instanceof MachineOps client ? client : null;
  }

  boolean isOf(Mmu other) {
    return mmu == other;
  }

  /** Whether the file is gone. */
  boolean isReleased() {
    return Announce.read(this).released;
  }

  /** The machines that it was linked into have given up their views before. */
  @Override
  public void release() {
    Announce.write(this).released = true;
    mmu.invalidate(allPages(), next::release);
  }
}
