package io.github.guestmemfd.cache;

import io.github.guestmemfd.cache.PageCache.Wanted;
import io.github.guestmemfd.memory.FrameOwners;
import io.github.guestmemfd.memory.Frames;
import io.github.guestmemfd.spi.IdleStrategy;
import org.jspecify.annotations.Nullable;

/** Page caches of one page, or a few, for states. */
final class Pages {
  private static final FrameOwners.Owner OWNER = Frames.TABLE.newOwner(pfn -> {});

  private Pages() {}

  /** The page cache of a file with nothing in it, accessible. */
  static PageCache empty(long pages) {
    return empty(pages, null);
  }

  /** The page cache of a file with nothing in it, accessible, whose folios go into batches. */
  static PageCache empty(long pages, @Nullable LruBatches lru) {
    return empty(pages, lru, IdleStrategy.spinThenPark());
  }

  /**
   * The page cache of a file whose first page alone is busy, so that it has a word of its own.
   *
   * @param idle how threads wait for it
   */
  static PageCache busy(IdleStrategy idle) {
    PageCache cache = empty(2, null, idle);
    lock(cache, 0, 1);
    return cache;
  }

  private static PageCache empty(long pages, @Nullable LruBatches lru, IdleStrategy idle) {
    return new PageCache(pages, false, Frames.TABLE, null, OWNER, idle, null, lru, false, () -> {});
  }

  /** The page cache of a file of one page, which is there. */
  static PageCache full() {
    PageCache cache = empty(1);
    cache.fill(0, cache.slot(0), false);
    return cache;
  }

  static void lock(PageCache cache, long from, long to) {
    Frames.run(() -> cache.lock(from, to));
  }

  /** Takes out what is at page 0, which is locked. */
  static void clear(PageCache cache) {
    if (SlotWord.pfn(cache.slot(0)) != 0) {
      cache.remove(0);
    }
  }

  static boolean isHit(long slot) {
    return PageCache.isHit(slot, Wanted.ANY);
  }
}
