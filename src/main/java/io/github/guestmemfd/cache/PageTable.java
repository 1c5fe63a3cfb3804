package io.github.guestmemfd.cache;

import io.github.guestmemfd.memory.Accesses;
import io.github.guestmemfd.memory.FrameTable;
import org.jspecify.annotations.Nullable;

/**
 * The page table of a mapping: which of its pages are mapped to which frame.
 *
 * <pre>
 *  63                                31   30  29                    0
 * +------------------------------------+----+-----------------------+
 * |            version (33)            | P  |       pfn (30)        |   a page table entry, PTE
 * +------------------------------------+----+-----------------------+
 * </pre>
 *
 * <p>An entry is entered in two steps, since the fault that enters it may come too late. First it
 * is <i>pending</i> (P): accesses take it for unmapped, but unmapping finds it. Then, if the page
 * still is what the fault found and is mapped, it is confirmed. Any fault may confirm a pending
 * entry. A fault may remove one through which no access can be under way; unmapping may remove any.
 * An entry holds a reference on its frame, which entering takes over and removing gives back.
 *
 * <p>Unmapping goes by three steps too: {@link #revoke} turns entries pending, so that no access
 * begins; then the accesses under way are waited for ({@link Accesses}); then {@link #remove} gives
 * the references back. A wait that is given up leaves the entries pending, with their references:
 * the next unmapping finds them, and a fault may confirm them again.
 *
 * <p><b>Assumptions.</b> A thread that revokes entries of a range first makes it impossible to
 * confirm new ones: the pages are busy, or no longer mapped.
 *
 * <p><b>Guarantees.</b> Every step but confirming raises the version, so that a fault which has
 * looked at the page before an entry was revoked cannot confirm or remove it after that. An access
 * that {@code begin} let in is announced for its frame, and was let in while the page was mapped.
 * An optimistic reader reads the entry, then the bytes, then, after an acquire fence, the entry
 * again; if the two are the same, the bytes were read while the page was mapped. Only a reader that
 * sleeps through exactly a multiple of 2^33 changes could be deceived.
 */
public final class PageTable extends PageTableEntries {

  static final long PFN_MASK = (1L << FrameTable.PFN_BITS) - 1;
  static final long PENDING = 1L << FrameTable.PFN_BITS;
  static final long VERSION = PENDING << 1;

  private final Accesses accesses;

  /**
   * Makes a page table with no entries.
   *
   * @param pages how many pages the mapping has
   * @param accesses where accesses are announced
   */
  public PageTable(long pages, Accesses accesses) {
    super(pages);
    this.accesses = accesses;
  }

  /**
   * An entry as it is now.
   *
   * @param page the page of the mapping
   * @return the entry, read with volatile semantics
   */
  public long entry(long page) {
    return word(page);
  }

  /**
   * An entry as it is now, for callers that look at it twice.
   *
   * @param leaf the {@link #leaf} of the page; null if it had none
   * @param page the page of the mapping
   * @return the entry, read with volatile semantics
   */
  public static long entry(long @Nullable [] leaf, long page) {
    return leaf == null ? 0 : word(leaf, page);
  }

  /**
   * The frame that accesses through an entry reach.
   *
   * @param entry an entry
   * @return the pfn, 0 if the page is not mapped or the entry is pending
   */
  public static int pfn(long entry) {
    return isMapped(entry) ? held(entry) : 0;
  }

  /**
   * Whether accesses through an entry reach a frame.
   *
   * @param entry an entry
   * @return false if the page is not mapped or the entry is pending
   */
  public static boolean isMapped(long entry) {
    return (int) entry << 1 > 0; // the pending bit is the sign, above the pfn
  }

  /**
   * Whether an entry has been entered and not yet confirmed, or has been revoked.
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
    return (int) entry & (int) PFN_MASK;
  }

  // ---- faults ----

  /**
   * Enters a page as pending, taking over the caller's reference on the frame.
   *
   * @param page the page of the mapping
   * @param pfn the frame
   * @return the entry; 0, and the caller keeps its reference, if there is one already
   */
  public long install(long page, int pfn) {
    for (; ; ) {
      long entry = word(page);
      if (held(entry) != 0) {
        return 0;
      }
      long pending = (entry | PENDING | pfn) + VERSION;
      if (compareAndSet(page, entry, pending)) {
        return pending;
      }
    }
  }

  /**
   * Confirms a pending entry, unless it has changed.
   *
   * @param page the page of the mapping
   * @param pending the entry, as the caller saw it before it looked whether the page still is what
   *     the entry says, and is mapped
   */
  public void confirm(long page, long pending) {
    compareAndSet(page, pending, pending & ~PENDING);
  }

  /**
   * Removes a pending entry, unless it has changed.
   *
   * @param page the page of the mapping
   * @param pending the entry, as the caller has entered it
   * @return whether it is removed, and its reference now the caller's
   */
  public boolean tryRemove(long page, long pending) {
    return compareAndSet(page, pending, removed(pending));
  }

  private static long removed(long entry) {
    return (entry & ~(PFN_MASK | PENDING)) + VERSION;
  }

  // ---- accesses ----

  /**
   * Announces an access to a page and, where that is mapped, those behind it, as far as their
   * frames follow one another. The access must be {@linkplain Accesses#end ended}.
   *
   * @param page the first page of the mapping
   * @param most how many pages at most, 1 to {@link Accesses#MAX_FRAMES}, all in the mapping
   * @return the access, to the frames from {@link Accesses#pfn} on; 0, and nothing is announced, if
   *     the first page is not mapped
   */
  public long begin(long page, int most) {
    long[] leaf = leaf(page);
    while (leaf != null) {
      int pfn = pfn(word(leaf, page));
      if (pfn == 0) {
        break;
      }
      int behind = most == 1 ? 0 : inLeaf(page, most) - 1;
      int pages = 1 + run(leaf, page + 1, pfn + 1, behind); // at least the one that was looked at
      long access = accesses.begin(pfn, pages);
      if (run(leaf, page, pfn, pages) == pages) { // the entries again, now that it is announced
        return access;
      }
      accesses.end(access);
    }
    return 0;
  }

  /** How many pages, from one on, are mapped to frames that follow one another. */
  private static int run(long[] leaf, long page, int pfn, int most) {
    int n = 0;
    while (n < most && pfn(word(leaf, page + n)) == pfn + n) {
      n++;
    }
    return n;
  }

  // ---- unmapping ----

  /**
   * The first page with an entry in a range, pending or not.
   *
   * @param from the first page of the range
   * @param to the page after the last
   * @return the page; {@code to} if there is none
   */
  public long next(long from, long to) {
    return next(from, to, PFN_MASK);
  }

  /**
   * Keeps any new access to a page from beginning. Its entry, if there is one, is pending after
   * this, and keeps its reference.
   *
   * @param page the page of the mapping
   */
  public void revoke(long page) {
    for (; ; ) {
      long entry = word(page);
      if (held(entry) == 0 || compareAndSet(page, entry, (entry | PENDING) + VERSION)) {
        return;
      }
    }
  }

  /**
   * Removes a revoked entry, through which no access is under way.
   *
   * @param page the page of the mapping
   * @return the frame, whose reference is now the caller's; 0 if there was no entry
   */
  public int remove(long page) {
    for (; ; ) {
      long entry = word(page);
      if (held(entry) == 0) {
        return 0;
      }
      if (compareAndSet(page, entry, removed(entry))) {
        return held(entry);
      }
    }
  }
}
