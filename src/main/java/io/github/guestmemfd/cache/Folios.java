package io.github.guestmemfd.cache;

import org.jspecify.annotations.Nullable;

/**
 * A walk over the folios of a range, in ascending order: cheaper than a {@linkplain PageCache#next
 * search} for each, which begins at the root of the tree. For one thread.
 *
 * <p>It looks at each page once, when it comes there. A thread that holds the range busy sees all
 * its folios; another one sees of each page what it was at that moment.
 */
public final class Folios {
  private final SparseWords slots;
  private final long to;

  /** The leaf that the walk is in, where that ends, and the next page to look at. */
  private long @Nullable [] leaf;

  private long end;
  private long at;

  private long slot;

  Folios(SparseWords slots, long from, long to) {
    this.slots = slots;
    this.at = from;
    this.end = from;
    this.to = to;
  }

  /**
   * Goes to the next folio.
   *
   * @return false if there is none
   */
  public boolean next() {
    while (at < to) {
      if (at == end) {
        leaf = slots.leaf(at);
        end = Math.min(slots.end(at), to);
      }
      long[] here = leaf;
      if (here == null) {
        at = end; // a subtree without folios
      } else {
        while (at < end) {
          slot = SparseWords.getVolatile(here, at++);
          if (slots.isPresent(slot)) {
            return true;
          }
        }
      }
    }
    return false;
  }

  /**
   * The page index of the folio.
   *
   * @return the index, after {@link #next} has returned true
   */
  public long index() {
    return at - 1;
  }

  /**
   * The slot of the folio, as it was when this walk came there.
   *
   * @return a word for {@link SlotWord}, read with volatile semantics
   */
  public long slot() {
    return slot;
  }

  /**
   * The frame of the folio.
   *
   * @return its pfn
   */
  public int pfn() {
    return SlotWord.pfn(slot);
  }
}
