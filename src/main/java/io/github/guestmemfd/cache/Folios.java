package io.github.guestmemfd.cache;

/**
 * A walk over the folios of a range, in ascending order: cheaper than a {@linkplain PageCache#next
 * search} for each, which begins at the root of the tree. For one thread.
 *
 * <p>It looks at each page once, when it comes there. What holds the range busy sees all its
 * folios; others see of each page what it was at that moment.
 */
public final class Folios {
  private final SparseWords.Present slots;

  Folios(SparseWords.Present slots) {
    this.slots = slots;
  }

  /**
   * Goes to the next folio.
   *
   * @return false if there is none
   */
  public boolean next() {
    return slots.next();
  }

  /**
   * The page index of the folio.
   *
   * @return the index, after {@link #next} has returned true
   */
  public long index() {
    return slots.index;
  }

  /**
   * The slot of the folio, as it was when this walk came there.
   *
   * @return a word for {@link SlotWord}, read with volatile semantics
   */
  public long slot() {
    return slots.word;
  }

  /**
   * The frame of the folio.
   *
   * @return its pfn
   */
  public int pfn() {
    return SlotWord.pfn(slots.word);
  }
}
