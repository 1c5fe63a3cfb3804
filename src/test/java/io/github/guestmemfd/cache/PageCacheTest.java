package io.github.guestmemfd.cache;

import static io.github.guestmemfd.cache.PageCache.Wanted.ACCESSIBLE;
import static io.github.guestmemfd.cache.PageCache.Wanted.ANY;
import static io.github.guestmemfd.cache.PageCache.Wanted.INACCESSIBLE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.fixtures.Meanwhile;
import io.github.guestmemfd.fixtures.WaitProbe;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameContents;
import io.github.guestmemfd.memory.FrameOwners;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.spi.PlaysOtherThreads;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.spi.Wait;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The page cache of a file without the file around it, one step after the other. */
@ExtendWith(PlaysOtherThreads.class)
@Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class PageCacheTest {
  private static final long PAGES = 1 << 20;
  private static final int FRAMES = 8;

  private final WaitProbe probe = new WaitProbe();
  private final FrameTable frames = new FrameTable(FRAMES, probe);
  private final FrameContents contents = new FrameContents(FRAMES);
  private final AtomicInteger startedOver = new AtomicInteger();
  private final List<String> passed = new ArrayList<>();

  /** What happens at a race point, once, before it is written down. */
  private @Nullable RacePoint at;

  private Runnable step = () -> {};

  private final FrameOwners.Owner owner = frames.newOwner(pfn -> {});
  private final PageCache cache = cache(contents, null, false, false);

  private PageCache cache(
      @Nullable FrameContents of, @Nullable LruBatches lru, boolean inaccessible, boolean lends) {
    RaceHook hook =
        (point, index) -> {
          if (point == at) {
            at = null;
            step.run();
          }
          passed.add(point + " " + index);
        };
    return new PageCache(
        PAGES,
        inaccessible,
        frames,
        of,
        owner,
        probe,
        hook,
        lru,
        lends,
        startedOver::incrementAndGet);
  }

  private void once(RacePoint point, Runnable happens) {
    at = point;
    step = happens;
  }

  /** Fills a hole; returns the frame. */
  private int fill(PageCache in, long index) {
    assertTrue(in.fill(index, in.slot(index), false));
    int pfn = SlotWord.pfn(in.slot(index));
    assertNotEquals(0, pfn);
    return pfn;
  }

  private int fill(long index) {
    return fill(cache, index);
  }

  private static void lock(PageCache of, long from, long to) {
    try {
      assertTrue(of.lock(from, to));
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
  }

  private void lock(long from, long to) {
    lock(cache, from, to);
  }

  /** Something happens to a page that leaves it as it was, but for the sequence. */
  private void touch(long index) {
    lock(index, index + 1);
    cache.unlock(index, index + 1);
  }

  // ---- lookup ----

  @Test
  void pagesAreWantedByTheirAttribute() {
    assertTrue(ANY.matches(0));
    assertTrue(ANY.matches(SlotWord.INACCESSIBLE));
    assertTrue(ACCESSIBLE.matches(0));
    assertFalse(ACCESSIBLE.matches(SlotWord.INACCESSIBLE));
    assertFalse(INACCESSIBLE.matches(0));
    assertTrue(INACCESSIBLE.matches(SlotWord.INACCESSIBLE));
  }

  @Test
  void aLookupHitsOpenFoliosOfTheKindWanted() {
    assertFalse(PageCache.isHit(0, ANY));
    assertTrue(PageCache.isHit(7, ANY));
    assertFalse(PageCache.isHit(7, INACCESSIBLE));
    assertFalse(PageCache.isHit(7 | SlotWord.BUSY, ANY));
    assertFalse(PageCache.isHit(7 | SlotWord.NEITHER, ANY));
  }

  @Test
  void aLookupTakesAReference() {
    assertEquals(cache.slot(600), cache.lookup(600, Counts.REF, ANY), "a hole");
    int pfn = fill(600);
    passed.clear();
    assertEquals(cache.slot(600), cache.lookup(600, Counts.REF, ACCESSIBLE));
    assertEquals(Counts.CACHE_REF + Counts.REF, frames.counts(pfn));
    assertEquals(
        List.of("AFTER_SLOT_LOAD 600", "BEFORE_SLOT_RELOAD 600", "AFTER_LOOKUP 600"), passed);
    assertEquals(cache.slot(600), cache.lookup(600, Counts.REF, INACCESSIBLE));
    assertEquals(Counts.CACHE_REF + Counts.REF, frames.counts(pfn), "no hit, no reference");
    assertEquals(0, startedOver.get());
  }

  @Test
  void aLookupStartsOverWhenItsSlotHasChanged() {
    int pfn = fill(0);
    once(RacePoint.BEFORE_SLOT_RELOAD, () -> touch(0));
    long found = cache.lookup(0, Counts.UNSAFE_REF, ANY);
    assertEquals(cache.slot(0), found);
    assertEquals(Counts.CACHE_REF + Counts.UNSAFE_REF, frames.counts(pfn));
    assertEquals(1, startedOver.get());
  }

  /** The leaf of the slot is made after the lookup has found none. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aLookupOfAHoleThatIsFilledMeanwhile(boolean changed) {
    if (changed) {
      once(RacePoint.BEFORE_SLOT_RELOAD, () -> touch(0));
    }
    AtomicLong found = new AtomicLong();
    Meanwhile.beforeAccess(
        Object[].class, // the nodes of the tree
        2, // the look at the slot, after that for its leaf
        () -> fill(0),
        () -> found.set(cache.lookup(0, Counts.REF, ANY)));
    assertEquals(cache.slot(0), found.get());
    int pfn = SlotWord.pfn(cache.slot(0));
    assertEquals(Counts.CACHE_REF + Counts.REF, frames.counts(pfn));
    assertEquals(changed ? 1 : 0, startedOver.get());
  }

  /** Of a frame that is frozen no reference is to be had: it is looked at again. */
  @Test
  void aLookupWaitsForNoFrozenFrame() {
    int pfn = fill(0);
    once(
        RacePoint.AFTER_SLOT_LOAD,
        () -> {
          assertTrue(frames.freeze(pfn, counts -> true));
          once(RacePoint.AFTER_SLOT_LOAD, () -> frames.unfreeze(pfn));
        });
    cache.lookup(0, Counts.REF, ANY);
    assertEquals(Counts.CACHE_REF + Counts.REF, frames.counts(pfn));
    assertEquals(0, startedOver.get(), "nothing was taken back");
  }

  @Test
  void aLookupThatThrowsTakesNothing() {
    int pfn = fill(0);
    for (RacePoint point : List.of(RacePoint.BEFORE_SLOT_RELOAD, RacePoint.AFTER_LOOKUP)) {
      startedOver.set(0);
      once(
          point,
          () -> {
            throw new IllegalStateException("planned");
          });
      assertThrows(IllegalStateException.class, () -> cache.lookup(0, Counts.REF, ANY));
      assertEquals(Counts.CACHE_REF, frames.counts(pfn));
      assertEquals(1, startedOver.get());
    }
  }

  // ---- folios come ----

  @Test
  void aHoleIsFilledWithAFrameThatWasPromisedOrNot() {
    assertTrue(frames.reserve(FRAMES - 1));
    long hole = cache.slot(5);
    assertTrue(cache.fill(5, hole, false), "the last one");
    assertEquals(List.of("BEFORE_SLOT_FILL 5"), passed);
    assertFalse(cache.fill(6, cache.slot(6), false), "none is left");
    assertEquals(1, cache.present());
    assertTrue(cache.fill(6, cache.slot(6), true));
    assertEquals(2, cache.present());
    assertEquals(FRAMES, frames.used());
    int pfn = SlotWord.pfn(cache.slot(6));
    assertEquals(Counts.CACHE_REF, frames.counts(pfn));
    assertEquals(Pages.SIZE, contents.view(pfn).capacity());
    assertFalse(SlotWord.isReady(cache.slot(6)));
  }

  @Test
  void aHoleIsFilledOnce() {
    long hole = cache.slot(0);
    int pfn = fill(0);
    long slot = cache.slot(0);
    assertTrue(cache.fill(0, hole, false));
    assertEquals(slot, cache.slot(0));
    assertEquals(1, cache.present());
    assertEquals(1, frames.used(), "the other frame is given back");
    assertEquals(Counts.CACHE_REF, frames.counts(pfn));
  }

  /** The batch has a reference, also on a frame that does not come into the cache after all. */
  @Test
  void whatIsFilledGoesThroughABatch() {
    LruBatches lru = new LruBatches(frames, 1, 8);
    PageCache batched = cache(null, lru, false, true);
    long hole = batched.slot(0);
    int pfn = fill(batched, 0);
    assertEquals(Counts.LENT_CACHE_REF + Counts.REF, frames.counts(pfn));
    assertTrue(batched.fill(0, hole, false));
    assertEquals(2, frames.used());
    assertEquals(2, lru.drain());
    assertEquals(Counts.LENT_CACHE_REF, frames.counts(pfn));
    assertEquals(1, frames.used());
  }

  /** The JVM has no memory: at the first step of the allocation, and when the frame is there. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aFillWithoutMemoryKeepsNothing(boolean allocated) {
    Runnable fails =
        () -> {
          throw new OutOfMemoryError("planned");
        };
    Runnable fill =
        () -> assertThrows(OutOfMemoryError.class, () -> cache.fill(0, cache.slot(0), false));
    if (allocated) {
      once(RacePoint.BEFORE_SLOT_FILL, fails);
      fill.run();
    } else {
      long hole = cache.slot(0);
      assertTrue(frames.reserve(1));
      Meanwhile.beforeAccess(
          AtomicLong.class,
          1, // the head of the free list
          fails,
          () -> assertThrows(OutOfMemoryError.class, () -> cache.fill(0, hole, true)));
    }
    assertEquals(0, frames.used());
    assertEquals(0, cache.present());
    assertEquals(0, SlotWord.pfn(cache.slot(0)));
    fill(0);
  }

  @Test
  void aFolioIsMarkedReadyUnlessItsSlotHasChanged() {
    fill(0);
    long slot = cache.slot(0);
    touch(0);
    cache.markReady(0, slot);
    assertFalse(SlotWord.isReady(cache.slot(0)));
    cache.markReady(0, cache.slot(0));
    assertTrue(SlotWord.isReady(cache.slot(0)));
  }

  @Test
  void foliosAreCounted() {
    for (long index : new long[] {0, 3, 511, 512, PAGES - 1}) {
      fill(index);
    }
    assertEquals(5, cache.present());
    assertEquals(5, cache.present(0, PAGES));
    assertEquals(3, cache.present(1, 513));
    assertEquals(2, cache.present(1, 512));
    assertEquals(0, cache.present(4, 511));
    assertEquals(511, cache.next(4, PAGES));
    assertEquals(510, cache.next(4, 510), "none");
  }

  // ---- the invalidate lock ----

  @Test
  void aRangeIsLockedByOneAtATime() throws Exception {
    lock(10, 20);
    assertTrue(cache.awaitNotBusy(9));
    assertTrue(cache.awaitNotBusy(20));
    assertEquals(10, cache.nextBusy(0, PAGES));
    assertEquals(20, cache.nextBusy(20, 100) - 80, "none");
    Worker<Boolean> page = Worker.start(() -> cache.awaitNotBusy(19));
    probe.awaitWaiting(page);
    Worker<Boolean> range =
        Worker.start(
            () -> {
              boolean locked = cache.lock(5, 15);
              cache.unlock(5, 15);
              return locked;
            });
    probe.awaitWaiting(range);
    assertEquals(5, cache.nextBusy(0, PAGES), "it keeps what it has");
    assertTrue(cache.unlock(10, 20), "there are waiters");
    assertTrue(page.result());
    assertTrue(range.result());
    assertEquals(PAGES, cache.nextBusy(0, PAGES));
    lock(0, PAGES);
    assertFalse(cache.unlock(0, PAGES), "no thread waits");
  }

  @Test
  void anInterruptedLockKeepsNothing() throws Exception {
    lock(10, 20);
    Worker<?> range =
        Worker.start(() -> assertThrows(InterruptedException.class, () -> cache.lock(5, 15)));
    probe.awaitWaiting(range);
    range.interrupt();
    range.result();
    assertEquals(10, cache.nextBusy(0, PAGES));
    cache.unlock(10, 20);
    assertEquals(PAGES, cache.nextBusy(0, PAGES));
  }

  /** A node of the tree cannot be made: what was locked before it is free again. */
  @Test
  void aLockWithoutMemoryKeepsNothing() {
    fill(0); // so that the first leaf is there
    OutOfMemoryError none = new OutOfMemoryError("planned");
    OutOfMemoryError e =
        assertThrows(
            OutOfMemoryError.class,
            () ->
                Meanwhile.beforeWrite(
                    513, // after a leaf of words
                    () -> {
                      throw none;
                    },
                    () -> lock(0, 600)));
    assertEquals(none, e.getCause());
    assertEquals(PAGES, cache.nextBusy(0, PAGES));
  }

  @Test
  void aDeadFileIsBusyForEver() throws Exception {
    lock(0, PAGES);
    Worker<Boolean> page = Worker.start(() -> cache.awaitNotBusy(19));
    probe.awaitWaiting(page);
    Worker<Boolean> range = Worker.start(() -> cache.lock(0, 5));
    probe.awaitWaiting(range);
    cache.die();
    assertFalse(page.result());
    assertFalse(range.result());
    assertFalse(cache.awaitNotBusy(3));
    assertEquals(0, cache.nextBusy(0, PAGES));
  }

  /** A lock that finds the file gone half way gives back what it has. */
  @Test
  void aLockOfADyingFileKeepsNothing() throws Exception {
    lock(10, 20);
    Worker<Boolean> range = Worker.start(() -> cache.lock(5, 15));
    probe.awaitWaiting(range);
    cache.die();
    assertFalse(range.result());
    assertEquals(10, cache.nextBusy(0, PAGES));
  }

  /** An operation may be waiting for the folio lock that this thread keeps. */
  @Test
  void aThreadThatKeepsAFolioLockDoesNotWait() throws Exception {
    int pfn = fill(0);
    frames.lock(pfn);
    frames.keepLock(pfn);
    assertTrue(cache.awaitNotBusy(0), "nothing to wait for");
    lock(0, 1);
    assertTrue(
        Wait.isDeadlock(assertThrows(InterruptedException.class, () -> cache.awaitNotBusy(0))));
    cache.unlock(0, 1);
    frames.unlockKept(pfn);
  }

  // ---- attributes ----

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void pagesAreFoundByTheirAttribute(boolean inaccessible) {
    PageCache file = cache(null, null, inaccessible, false);
    assertEquals(3, file.next(3, PAGES, inaccessible));
    assertEquals(PAGES, file.next(3, PAGES, !inaccessible));
    lock(file, 0, 100);
    file.setAttribute(0, 100, inaccessible);
    file.setAttribute(10, 20, !inaccessible);
    assertEquals(10, file.next(3, PAGES, !inaccessible));
    assertEquals(20, file.next(10, PAGES, inaccessible));
    assertEquals(10, file.nextChanged(3, 100, true));
    assertEquals(20, file.nextChanged(10, 100, false));
    assertEquals(100, file.nextChanged(20, 100, true));
    assertEquals(10, file.nextForHost(3, PAGES, inaccessible));
    assertEquals(20, file.nextForHost(10, PAGES, !inaccessible));
    assertEquals(3, file.nextForHost(3, PAGES, !inaccessible));
    file.undoAttribute(10, 15);
    assertEquals(15, file.next(3, PAGES, !inaccessible));
    file.unlock(0, 100);
    assertEquals(15, file.next(3, PAGES, !inaccessible));
    assertEquals(20, file.next(15, PAGES, inaccessible));
  }

  /** A file whose pages are all alike stays so, whatever is done to all of them. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aWholeFileChangesAsOne(boolean inaccessible) {
    PageCache file = cache(null, null, inaccessible, false);
    for (boolean attribute : new boolean[] {!inaccessible, inaccessible, inaccessible}) {
      lock(file, 0, PAGES);
      file.setAttribute(0, PAGES, attribute);
      assertEquals(0, file.nextBusy(0, PAGES));
      file.unlock(0, PAGES);
      assertEquals(PAGES, file.nextBusy(0, PAGES));
      assertEquals(attribute ? SlotWord.INACCESSIBLE : 0, file.slot(PAGES - 1));
    }
    lock(file, 0, PAGES);
    file.setPending(0, PAGES, true);
    file.unlock(0, PAGES);
    assertEquals(
        inaccessible ? SlotWord.INACCESSIBLE : SlotWord.NEITHER, file.slot(PAGES - 1), "pending");
  }

  @Test
  void pendingPagesAreNeitherSides() {
    lock(0, 100);
    cache.setAttribute(15, 20, true);
    cache.setPending(10, 20, true);
    cache.unlock(0, 100);
    assertTrue(SlotWord.isNeither(cache.slot(10)));
    assertFalse(SlotWord.isNeither(cache.slot(15)), "it is inaccessible");
    assertEquals(10, cache.nextForHost(0, PAGES, false));
    assertEquals(20, cache.nextForHost(10, PAGES, true));
    lock(0, 100);
    cache.setPending(10, 12, false);
    cache.setAttribute(12, 15, true);
    cache.unlock(0, 100);
    assertFalse(SlotWord.isNeither(cache.slot(10)));
    assertTrue(SlotWord.isOpenToHost(cache.slot(11)));
    assertFalse(SlotWord.isNeither(cache.slot(12)), "it has come to be inaccessible");
  }

  // ---- folios move and go ----

  /** A locked page whose folio is ready, with a number in it. */
  private int ready(PageCache of, long index) {
    int pfn = fill(of, index);
    of.markReady(index, of.slot(index));
    lock(of, index, index + 1);
    return pfn;
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aFolioMovesWithItsContent(boolean frozen) {
    int from = ready(cache, 3);
    contents.view(from).putLong(8, 42);
    if (frozen) {
      assertTrue(frames.freeze(from, counts -> true));
    }
    assertEquals(from, cache.move(3));
    int to = SlotWord.pfn(cache.slot(3));
    assertNotEquals(from, to);
    assertEquals(42, contents.view(to).getLong(8));
    assertTrue(SlotWord.isReady(cache.slot(3)));
    assertTrue(frames.isUptodate(to));
    assertTrue(frames.isPrepared(to));
    assertEquals(Counts.CACHE_REF, frames.counts(to));
    assertEquals(Counts.CACHE_REF, frames.counts(from));
    assertEquals(2, frames.used());
    cache.putMoved(from);
    assertEquals(1, frames.used());
    cache.unlock(3, 4);
  }

  @Test
  void aFolioStaysWhereItIsHeldOrNotReadyOrHasNoBytes() {
    int pfn = fill(0);
    lock(0, 1);
    assertEquals(0, cache.move(0), "not ready");
    cache.unlock(0, 1);
    cache.markReady(0, cache.slot(0));
    assertTrue(frames.tryGet(pfn, Counts.REF));
    lock(0, 1);
    assertEquals(0, cache.move(0), "held");
    frames.put(pfn, Counts.REF);
    assertTrue(frames.reserve(FRAMES - 1));
    assertEquals(0, cache.move(0), "no memory");
    frames.unreserve(FRAMES - 1);
    assertEquals(pfn, SlotWord.pfn(cache.slot(0)));
    assertEquals(1, frames.used());
    PageCache metadata = cache(null, null, false, false);
    ready(metadata, 0);
    assertEquals(0, metadata.move(0), "no bytes");
    assertEquals(2, frames.used());
  }

  /** The JVM has no memory: when a frame is allocated, and when its bytes are. */
  @ParameterizedTest
  @CsvSource({"false, false", "false, true", "true, false", "true, true"})
  void aMoveWithoutMemoryLeavesTheFolio(boolean allocated, boolean frozen) {
    int pfn = ready(cache, 0);
    if (frozen) {
      assertTrue(frames.freeze(pfn, counts -> true));
    }
    long counts = frames.counts(pfn);
    Runnable fails =
        () -> {
          assertEquals(2, frames.used(), "a frame is promised, or there");
          throw new OutOfMemoryError("planned");
        };
    Runnable move = () -> assertEquals(0, cache.move(0));
    if (allocated) {
      Meanwhile.beforeAccess(ByteBuffer[].class, 1, fails, move);
    } else {
      Meanwhile.beforeAccess(AtomicLong.class, 3, fails, move); // two are for the promise
    }
    assertEquals(1, frames.used());
    assertEquals(pfn, SlotWord.pfn(cache.slot(0)));
    assertEquals(counts, frames.counts(pfn), "as it was before");
  }

  /** Something else goes wrong once the other frame is there. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aMoveThatThrowsLeavesTheFolio(boolean frozen) {
    int pfn = ready(cache, 0);
    if (frozen) {
      assertTrue(frames.freeze(pfn, counts -> true));
    }
    long counts = frames.counts(pfn);
    Runnable fails =
        () -> {
          throw new IllegalStateException("planned");
        };
    assertThrows(
        IllegalStateException.class,
        () -> Meanwhile.beforeAccess(ByteBuffer[].class, 1, fails, () -> cache.move(0)));
    assertEquals(1, frames.used());
    assertEquals(pfn, SlotWord.pfn(cache.slot(0)));
    assertEquals(counts, frames.counts(pfn));
  }

  @Test
  void aFolioThatIsRemovedLivesForItsHolders() {
    int pfn = fill(0);
    int other = fill(1);
    cache.markReady(1, cache.slot(1));
    assertTrue(frames.tryGet(pfn, Counts.REF));
    lock(0, 2);
    cache.remove(0);
    cache.remove(1);
    assertEquals(0, SlotWord.pfn(cache.slot(0)));
    assertEquals(0, SlotWord.pfn(cache.slot(1)));
    assertFalse(SlotWord.isReady(cache.slot(1)));
    assertEquals(0, cache.present());
    assertEquals(Counts.REF, frames.counts(pfn));
    assertEquals(1, frames.used());
    assertFalse(frames.isInUse(other));
    frames.put(pfn, Counts.REF);
    cache.unlock(0, 2);
  }

  @Test
  void theEndOfTheFileLeavesALockedFolioToItsLock() throws Exception {
    int pfn = fill(0);
    int locked = fill(1);
    frames.lock(locked);
    lock(0, 2);
    cache.abandon(0);
    cache.abandon(1);
    assertEquals(0, cache.present());
    assertEquals(0, cache.present(0, PAGES));
    assertFalse(frames.isInUse(pfn));
    assertEquals(Counts.CACHE_REF, frames.counts(locked));
    frames.unlock(locked);
    assertEquals(0, frames.used());
  }

  @Test
  void aFolioIsNoLongerReady() {
    ready(cache, 0);
    cache.clearReady(0);
    assertFalse(SlotWord.isReady(cache.slot(0)));
    assertNotEquals(0, SlotWord.pfn(cache.slot(0)));
  }

  @Test
  void aFolioThatIsLockedIsWaitedFor() throws Exception {
    int pfn = ready(cache, 0);
    cache.awaitFolioUnlocked(0);
    frames.lock(pfn);
    Worker<?> waiter =
        Worker.start(
            () -> {
              cache.awaitFolioUnlocked(0);
              return null;
            });
    probe.awaitWaiting(waiter);
    frames.unlock(pfn);
    waiter.result();
  }
}
