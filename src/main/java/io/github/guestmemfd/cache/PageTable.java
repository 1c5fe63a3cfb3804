package io.github.guestmemfd.cache;

import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.spi.IdleStrategy;
import java.lang.invoke.VarHandle;

/**
 * The page table of a mapping: which of its pages are mapped to which frame, and how many accesses
 * are under way through each.
 *
 * <pre>
 *  63             41   40  39         30  29                    0
 * +------------------+----+--------------+-----------------------+
 * |   version (23)   | P  | inflight(10) |       pfn (30)        |   a page table entry, PTE
 * +------------------+----+--------------+-----------------------+
 * </pre>
 *
 * <p>An entry is entered in two steps, since the fault that enters it may come too late: first
 * <i>pending</i> (P), when accesses take it for unmapped, but unmapping finds it; then, if the page
 * still is what the fault found and the mapping is open, it is confirmed. Anybody may confirm. An
 * entry holds a reference on its frame, which entering takes over and whoever removes the entry
 * gives back.
 *
 * <p><b>Assumptions.</b> (1) Who removes entries of a range first makes it impossible to confirm
 * new ones: the pages are busy, or the table closed. (2) Between {@link #begin} and {@link #end} a
 * thread only moves bytes. (3) Fewer than 512 threads access one page of one mapping at the same
 * instant, or the rest waits.
 *
 * <p><b>Guarantees.</b> An access that {@code begin} let in ends before {@link #zap} of that page
 * returns. An optimistic reader reads the entry, then the bytes, then, after an acquire fence, the
 * entry again; if {@link #sameMapping} holds of the two, the bytes were read while the page was
 * mapped. It could be deceived only by sleeping through exactly a multiple of 2^23 unmappings.
 */
public final class PageTable {

  static final long PFN_MASK = (1L << FrameTable.PFN_BITS) - 1;
  static final int INFLIGHT_SHIFT = FrameTable.PFN_BITS;
  static final int INFLIGHT_BITS = 10;
  static final long INFLIGHT = 1L << INFLIGHT_SHIFT;
  static final long INFLIGHT_MASK = ((1L << INFLIGHT_BITS) - 1) << INFLIGHT_SHIFT;
  static final long MAX_INFLIGHT = INFLIGHT << (INFLIGHT_BITS - 1);
  static final long PENDING = 1L << (INFLIGHT_SHIFT + INFLIGHT_BITS);
  static final long VERSION = PENDING << 1;

  private final SparseWords entries;
  private final IdleStrategy idle;
  private volatile boolean closed;

  /**
   * Makes a page table with no entries.
   *
   * @param pages how many pages the mapping has
   * @param idle how threads wait
   */
  public PageTable(long pages, IdleStrategy idle) {
    this.entries = new SparseWords(pages, PFN_MASK, 0);
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
   * The frame that accesses through an entry reach.
   *
   * @param entry an entry
   * @return the pfn, 0 if the page is not mapped or the entry is pending
   */
  public static int pfn(long entry) {
    return (entry & PENDING) == 0 ? (int) (entry & PFN_MASK) : 0;
  }

  /**
   * Whether an entry has been entered and not yet confirmed.
   *
   * @param entry an entry
   * @return the answer
   */
  public static boolean isPending(long entry) {
    return (entry & PENDING) != 0;
  }

  /**
   * The frame that an entry holds a reference on.
   *
   * @param entry an entry
   * @return the pfn, 0 for none
   */
  public static int held(long entry) {
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

  /** Ends all confirming, before the last entries are removed. */
  public void close() {
    closed = true;
  }

  /**
   * Whether the table is closed.
   *
   * @return true after {@link #close}
   */
  public boolean isClosed() {
    return closed;
  }

  /**
   * Enters a page as pending, taking over the caller's reference on the frame.
   *
   * @param page the page of the mapping
   * @param pfn the frame
   * @return false, and the caller keeps its reference, if there is an entry already
   */
  public boolean install(long page, int pfn) {
    for (; ; ) {
      long entry = entries.get(page);
      if (held(entry) != 0) {
        return false;
      }
      if (entries.compareAndSet(page, entry, entry | PENDING | pfn)) {
        return true;
      }
    }
  }

  /**
   * Confirms a pending entry, or removes it.
   *
   * @param page the page of the mapping
   * @param pending the entry, as the caller saw it before it looked whether it is good
   * @param good whether the page still is what the entry says, and the table open
   * @return the frame whose reference is now the caller's, as the entry was removed; else 0
   */
  public int settle(long page, long pending, boolean good) {
    for (; ; ) {
      long entry = entries.get(page);
      if (!sameMapping(entry, pending)) {
        return 0; // somebody else has settled it
      }
      long settled = good ? entry & ~PENDING : removed(entry);
      if (entries.compareAndSet(page, entry, settled)) {
        return good ? 0 : held(entry);
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
   * The first page with an entry in a range, pending or not.
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
   * @return the frame, whose reference is now the caller's; 0 if there was no entry
   * @throws InterruptedException if the thread is interrupted while it waits; the entry is then
   *     pending, or given back if the table has been closed
   */
  public int zap(long page) throws InterruptedException {
    int pfn = remove(page);
    for (int round = 0; pfn != 0 && isInUse(page); round++) {
      if (Thread.interrupted()) {
        if (install(page, pfn)) {
          // Closing looks for entries after it has set closed: it or we find this one.
          pfn = closed ? zapUninterruptibly(page) : 0;
          if (pfn == 0) {
            throw new InterruptedException();
          }
        } else { // a late fault has; its pending entry keeps the frame for the accesses under way
          pfn = awaitUnused(page, pfn);
        }
        Thread.currentThread().interrupt();
        break;
      }
      idle.idle(round, FrameTable.IN_FLIGHT_NANOS);
    }
    return zapped(pfn);
  }

  /**
   * As {@link #zap}, for callers that must not leave an entry.
   *
   * @param page the page of the mapping
   * @return as for {@code zap}
   */
  public int zapUninterruptibly(long page) {
    int pfn = remove(page);
    return pfn == 0 ? 0 : zapped(awaitUnused(page, pfn));
  }

  private int awaitUnused(long page, int pfn) {
    boolean interrupted = false;
    for (int round = 0; isInUse(page); round++) {
      interrupted |= Thread.interrupted();
      idle.idle(round, FrameTable.IN_FLIGHT_NANOS);
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
    return pfn;
  }

  private int remove(long page) {
    for (; ; ) {
      long entry = entries.get(page);
      if (held(entry) == 0) {
        return 0;
      }
      if (entries.compareAndSet(page, entry, removed(entry))) {
        return held(entry);
      }
    }
  }

  private static long removed(long entry) {
    return (entry & ~(PFN_MASK | PENDING)) + VERSION;
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
