package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.cache.PageCache.Wanted;
import io.github.guestmemfd.cache.PageTable;
import io.github.guestmemfd.cache.SlotWord;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.observe.Events;
import io.github.guestmemfd.observe.FaultEvent;
import io.github.guestmemfd.observe.Meter;
import io.github.guestmemfd.spi.RacePoint;

/**
 * The faults of the host: map the page of an access.
 *
 * <h2>A fault against a range operation</h2>
 *
 * A host fault that looked the folio up in time may enter its page table entry too late, after the
 * range operation has unmapped the page, or even after it is over. It therefore enters it as
 * pending, when no access can use it, and looks at the slot once more. Either the unmapping finds
 * the entry, or the fault finds that the page is busy or has another frame, and takes its entry
 * back. Until then its reference keeps a conversion from succeeding; a punch does not look at
 * references, and need not.
 */
public final class HostFault {
  /** A fault on a page that has been unmapped. Not an errno. */
  public static final int UNMAPPED = -1001;

  private final Inode inode;
  private final Lookup lookup;
  private final PageCache cache;
  private final FrameTable frames;

  HostFault(Inode inode, Lookup lookup) {
    this.inode = inode;
    this.lookup = lookup;
    this.cache = inode.cache;
    this.frames = inode.frames;
  }

  /**
   * Maps a page of a mapping for an access.
   *
   * @param mapping the mapping
   * @param page the page of the mapping
   * @param write whether the access is a write
   * @return 0, a negated errno, {@link Lookup#SIGBUS} or {@link #UNMAPPED}
   */
  public int fault(Mapping mapping, long page, boolean write) {
    inode.meters.count(Meter.FAULTS);
    FaultEvent event = Events.fault();
    int result = map(mapping, page, write);
    if (event != null) {
      event.finish(inode.ino, mapping.firstIndex + page, write, name(result));
    }
    return result;
  }

  private static String name(int result) {
    return switch (result) {
      case Lookup.SIGBUS -> "SIGBUS";
      case UNMAPPED -> "UNMAPPED";
      default -> Errno.ofResult(result).name();
    };
  }

  private int map(Mapping mapping, long page, boolean write) {
    long index = mapping.firstIndex + page;
    if (index >= inode.pages) {
      return Lookup.SIGBUS;
    }
    int pfn = lookup.get(index, Counts.REF, Wanted.ACCESSIBLE);
    if (pfn < 0) {
      return pfn;
    }
    if (write) {
      inode.updateMtime();
    }
    return enter(mapping, page, pfn);
  }

  /**
   * Maps a page that another mapping of the file has mapped, unless that means to wait: a page that
   * is not there and ready loses its entries, and the next access faults.
   *
   * @param mapping the mapping
   * @param page the page of the mapping
   */
  void copyEntry(Mapping mapping, long page) {
    long slot = cache.lookup(mapping.firstIndex + page, Counts.REF, Wanted.ACCESSIBLE);
    if (PageCache.isHit(slot, Wanted.ACCESSIBLE)) {
      int pfn = SlotWord.pfn(slot);
      if (SlotWord.isReady(slot)) {
        enter(mapping, page, pfn);
      } else {
        frames.undoGet(pfn, Counts.REF);
      }
    }
  }

  /** Enters a page into the page table, with the reference on its frame that the caller has. */
  private int enter(Mapping mapping, long page, int pfn) {
    long index = mapping.firstIndex + page;
    long installed = 0;
    try {
      inode.at(RacePoint.BEFORE_PTE_INSTALL, index);
      installed = mapping.table.install(page, pfn);
    } catch (OutOfMemoryError e) {
      CallbackContext.outOfMemory(e);
      return -Errno.ENOMEM.code();
    } finally {
      if (installed == 0) {
        frames.put(pfn, Counts.REF);
      }
    }
    boolean done = false;
    try {
      inode.at(RacePoint.AFTER_PTE_INSTALL, index);
      done = true;
    } finally {
      settle(mapping, page, index, installed, done);
    }
    return mapping.isMapped(page) ? 0 : UNMAPPED;
  }

  /**
   * Confirms a page table entry that is pending, if the page still is what it says. Otherwise it is
   * removed, if no access through it can be under way: if it is the one that this fault has
   * entered, or if its frame has left the page cache, since what took the frame out has waited for
   * accesses to it. Any other may have been revoked by an unmapping that was then interrupted.
   *
   * @param installed the entry of this fault; 0 if there was one already
   */
  private void settle(Mapping mapping, long page, long index, long installed, boolean wanted) {
    long entry = installed != 0 ? installed : mapping.table.entry(page);
    if (!PageTable.isPending(entry)) {
      return;
    }
    long slot = cache.slot(index);
    boolean good =
        wanted
            && SlotWord.pfn(slot) == PageTable.held(entry)
            && PageCache.isReadyHit(slot, Wanted.ACCESSIBLE) // not if its memory has failed
            && mapping.isMapped(page);
    if (good) {
      mapping.table.confirm(page, entry);
    } else if ((installed != 0 || SlotWord.pfn(slot) != PageTable.held(entry))
        && mapping.table.tryRemove(page, entry)) {
      frames.put(PageTable.held(entry), Counts.REF);
    }
  }
}
