package io.github.guestmemfd.cache;

import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.spi.IdleStrategy;
import java.lang.invoke.VarHandle;

/**
 * The page table of a mapping: which of its pages are mapped to which frame, and how many accesses
 * are under way through each.
 *
 * <pre>
 *  63             40  39         30  29                    0
 * +------------------+--------------+-----------------------+
 * |   version (24)   | inflight(10) |       pfn (30)        |   a page table entry, PTE
 * +------------------+--------------+-----------------------+
 * </pre>
 *
 * <p><b>Assumptions.</b> (1) An entry is removed only while the page is busy or the mapping closed,
 * and whoever installs one then looks at both, and removes it again if it came late. (2) Between
 * {@link #begin} and {@link #end} a thread only moves bytes. (3) Fewer than 512 threads access one
 * page of one mapping at the same instant, or the rest waits.
 *
 * <p><b>Guarantees.</b> An access that {@code begin} let in ends before {@link #zap} of that page
 * returns. An optimistic reader reads the entry, then the bytes, then, after an acquire fence, the
 * entry again; if {@link #sameMapping} holds of the two, the bytes were read while the page was
 * mapped. It could be deceived only by sleeping through exactly a multiple of 2^24 unmappings.
 *
 * <p>An entry holds a reference on its frame, which installing takes over and zapping gives back.
 */
public final class PageTable {

  static final long PFN_MASK = (1L << FrameTable.PFN_BITS) - 1;
  static final int INFLIGHT_SHIFT = FrameTable.PFN_BITS;
  static final int INFLIGHT_BITS = 10;
  static final long INFLIGHT = 1L << INFLIGHT_SHIFT;
  static final long INFLIGHT_MASK = ((1L << INFLIGHT_BITS) - 1) << INFLIGHT_SHIFT;
  static final long MAX_INFLIGHT = INFLIGHT << (INFLIGHT_BITS - 1);
  static final long VERSION = 1L << (INFLIGHT_SHIFT + INFLIGHT_BITS);

  private final SparseWords entries;
  private final IdleStrategy idle;

  /**
   * Makes a page table with no entries.
   *
   * @param pages how many pages the mapping has
   * @param idle how threads wait
   */
  public PageTable(long pages, IdleStrategy idle) {
    this.entries = new SparseWords(pages, 0, PFN_MASK);
    this.idle = idle;
  }

  /**
   * An entry as it is now.
   *
   * @param page the page of the mapping
   * @return the entry, read with volatile semantics
   */
  public long entry(long page) {
    return entries.get(page);
  }

  /**
   * The frame an entry maps.
   *
   * @param entry an entry
   * @return the pfn, 0 for none
   */
  public static int pfn(long entry) {
    return (int) (entry & PFN_MASK);
  }

  /**
   * Whether the page stayed mapped between two reads of its entry.
   *
   * @param before the first
   * @param after the second
   * @return the answer
   */
  public static boolean sameMapping(long before, long after) {
    return ((before ^ after) & ~INFLIGHT_MASK) == 0;
  }

  /**
   * Maps a page, taking over the caller's reference on the frame.
   *
   * @param page the page of the mapping
   * @param pfn the frame
   * @return false, and the caller keeps its reference, if the page is mapped already
   */
  public boolean install(long page, int pfn) {
    for (; ; ) {
      long entry = entries.get(page);
      if (pfn(entry) != 0) {
        return false;
      }
      if (entries.compareAndSet(page, entry, entry | pfn)) {
        return true;
      }
    }
  }

  /**
   * Announces an access, so that the page stays mapped until {@link #end}.
   *
   * @param page the page of the mapping
   * @return the frame, or 0 if the page is not mapped and nothing is announced
   */
  public int begin(long page) {
    long[] leaf = entries.leaf(page);
    if (leaf == null) {
      return 0;
    }
    for (int round = 0; ; round++) {
      if (pfn(SparseWords.getVolatile(leaf, page)) == 0) {
        return 0;
      }
      long old = SparseWords.getAndAdd(leaf, page, INFLIGHT);
      if (pfn(old) != 0 && (old & INFLIGHT_MASK) < MAX_INFLIGHT) {
        return pfn(old);
      }
      SparseWords.getAndAdd(leaf, page, -INFLIGHT);
      if (pfn(old) != 0) {
        idle.idle(round, FrameTable.IN_FLIGHT_NANOS); // crowded; accesses are short
      }
    }
  }

  /**
   * Ends an access.
   *
   * @param page the page of the mapping
   */
  public void end(long page) {
    long[] leaf = entries.leaf(page);
    if (leaf != null) {
      SparseWords.getAndAdd(leaf, page, -INFLIGHT);
    }
  }

  /**
   * The first mapped page in a range.
   *
   * @param from the first page of the range
   * @param to the page after the last
   * @return the page; {@code to} if there is none
   */
  public long next(long from, long to) {
    return entries.next(from, to);
  }

  /**
   * Unmaps a page and waits for accesses under way through it.
   *
   * @param page the page of the mapping
   * @return the frame, whose reference is now the caller's; 0 if the page was not mapped
   * @throws InterruptedException if the thread is interrupted while it waits; the page is then
   *     mapped as before
   */
  public int zap(long page) throws InterruptedException {
    int pfn = remove(page);
    if (pfn == 0) {
      return 0;
    }
    for (int round = 0; isInUse(page); round++) {
      if (Thread.interrupted()) {
        if (install(page, pfn)) {
          throw new InterruptedException();
        }
        // A late fault has mapped the page again, for as long as it takes to see that it must not.
        // Its entry keeps the frame for the accesses under way; ours is gone.
        Thread.currentThread().interrupt();
        break;
      }
      idle.idle(round, FrameTable.IN_FLIGHT_NANOS);
    }
    return zapped(pfn);
  }

  /**
   * As {@link #zap}, for callers that must not leave the page mapped.
   *
   * @param page the page of the mapping
   * @return as for {@code zap}
   */
  public int zapUninterruptibly(long page) {
    int pfn = remove(page);
    if (pfn == 0) {
      return 0;
    }
    boolean interrupted = false;
    for (int round = 0; isInUse(page); round++) {
      interrupted |= Thread.interrupted();
      idle.idle(round, FrameTable.IN_FLIGHT_NANOS);
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
    return zapped(pfn);
  }

  private int remove(long page) {
    for (; ; ) {
      long entry = entries.get(page);
      if (pfn(entry) == 0) {
        return 0;
      }
      if (entries.compareAndSet(page, entry, (entry & ~PFN_MASK) + VERSION)) {
        return pfn(entry);
      }
    }
  }

  private boolean isInUse(long page) {
    return (entries.get(page) & INFLIGHT_MASK) != 0;
  }

  private static int zapped(int pfn) {
    // Whatever is written to the frame from here on comes after the entry was removed: with the
    // acquire fence of an optimistic reader this makes a reader of those bytes see the removal.
    VarHandle.fullFence();
    return pfn;
  }
}
