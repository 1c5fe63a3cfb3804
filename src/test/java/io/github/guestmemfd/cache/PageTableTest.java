package io.github.guestmemfd.cache;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.fixtures.Duel;
import io.github.guestmemfd.fixtures.Meanwhile;
import io.github.guestmemfd.fixtures.WaitProbe;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.memory.Accesses;
import io.github.guestmemfd.memory.FrameTable;
import io.github.guestmemfd.spi.PlaysOtherThreads;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;

/** Page table entries and the accesses through them. */
@ExtendWith(PlaysOtherThreads.class)
@Timeout(300)
class PageTableTest {

  private final WaitProbe probe = new WaitProbe();
  private final Accesses accesses = new Accesses();
  private final PageTable table = new PageTable(1L << 40, accesses);

  /** Enters a page and confirms it, as a fault does that is in time. */
  private void map(long page, int pfn) {
    long entry = table.install(page, pfn);
    assertNotEquals(0, entry);
    table.confirm(page, entry);
    assertEquals(pfn, PageTable.pfn(table.entry(page)));
  }

  /** Unmaps a page as a range operation does that has made it busy. */
  private int zap(long page) throws InterruptedException {
    table.revoke(page);
    Accesses.UnderWay underWay = accesses.underWay();
    if (underWay != null) {
      underWay.include(PageTable.held(table.entry(page)));
      underWay.await(probe);
    }
    return table.remove(page);
  }

  private long begin(long page) {
    return table.begin(page, 1);
  }

  @Test
  void fieldsAreDisjointAndCoverTheWord() {
    long version = -1L << 31;
    assertEquals(PageTable.VERSION, Long.lowestOneBit(version));
    long all = 0;
    for (long field : new long[] {PageTable.PFN_MASK, PageTable.PENDING, version}) {
      assertEquals(0, all & field);
      all |= field;
    }
    assertEquals(-1L, all);
    assertTrue(FrameTable.MAX_FRAMES <= PageTable.PFN_MASK);
  }

  @Test
  void mapsAndUnmaps() throws Exception {
    assertEquals(0, begin(3));
    assertEquals(0, zap(3));
    map(3, 42);
    assertEquals(0, table.install(3, 43), "mapped already");
    assertEquals(42, PageTable.pfn(table.entry(3)));
    long access = begin(3);
    assertEquals(42, Accesses.pfn(access));
    accesses.end(access);
    assertEquals(0, begin(4), "its neighbour is not mapped");
    assertEquals(42, zap(3));
    assertEquals(0, PageTable.held(table.entry(3)));
    assertEquals(0, begin(3));
    assertEquals(0, zap(3));
    map(3, 43);
    assertEquals(43, zap(3));
    assertEquals(0, zap(3));
  }

  /** Accesses do not see a pending entry; who unmaps does. */
  @Test
  void aPendingEntryIsHeldButNotMapped() throws Exception {
    long entry = table.install(3, 42);
    assertEquals(entry, table.entry(3));
    assertTrue(PageTable.isPending(entry));
    assertEquals(0, PageTable.pfn(entry));
    assertEquals(42, PageTable.held(entry));
    assertEquals(0, begin(3));
    assertEquals(0, table.install(3, 43));
    assertEquals(3, table.next(0, 10));
    assertEquals(42, zap(3));
    assertEquals(10, table.next(0, 10));
    table.confirm(3, entry);
    assertEquals(0, PageTable.held(table.entry(3)), "gone, and does not come back");
  }

  @Test
  void anEntryIsSettledOnce() throws Exception {
    long entry = table.install(3, 42);
    assertTrue(table.tryRemove(3, entry));
    assertEquals(0, PageTable.held(table.entry(3)));
    assertFalse(table.tryRemove(3, entry), "its reference is given back once");
    long second = table.install(3, 42);
    table.confirm(3, entry);
    assertTrue(PageTable.isPending(table.entry(3)), "another entry of the same frame");
    table.confirm(3, second);
    assertFalse(table.tryRemove(3, second), "confirmed already");
    assertEquals(42, PageTable.pfn(table.entry(3)));
    assertEquals(42, zap(3));
  }

  /** A fault that looked at its page before the entry was revoked can do nothing to it any more. */
  @Test
  void aRevokedEntryIsNotTheFaultsThatEnteredIt() {
    long entry = table.install(3, 42);
    table.revoke(3);
    table.confirm(3, entry);
    assertTrue(PageTable.isPending(table.entry(3)), "confirmed late");
    assertFalse(table.tryRemove(3, entry), "removed by its fault, and an access may be under way");
    assertEquals(42, table.remove(3));
  }

  /** A fault that confirms against an unmapping: the reference is given back once, or kept. */
  @Test
  @Tag("duel")
  void confirmingAgainstUnmapping() throws Exception {
    AtomicInteger given = new AtomicInteger();
    AtomicLong entry = new AtomicLong();
    Duel.rounds(
        () -> {
          given.set(0);
          entry.set(table.install(0, 7));
        },
        round -> {
          if ((round & 1) == 0) {
            table.confirm(0, entry.get());
          } else if (table.tryRemove(0, entry.get())) {
            given.addAndGet(7);
          }
          return true;
        },
        round -> {
          given.addAndGet(zap(0));
          return true;
        },
        () -> {
          assertEquals(7, given.get(), "references given back");
          assertEquals(0, PageTable.held(table.entry(0)));
        });
  }

  @Test
  void findsWhatIsMapped() throws Exception {
    long far = (1L << 40) - 1;
    map(5, 1);
    map(far, 2);
    assertEquals(5, table.next(0, 1L << 40));
    assertEquals(far, table.next(6, 1L << 40));
    assertEquals(far, table.next(6, far), "the end, if there is none");
    assertEquals(1, zap(5));
    assertEquals(far, table.next(0, 1L << 40));
  }

  /** At the edges of leaves and of directories, in directories that are there and that are not. */
  @Test
  void everyPageHasAnEntryOfItsOwn() throws Exception {
    long directory = 1L << 22;
    long[] pages = {
      0, 511, 512, directory - 1, directory, directory + 512, 3 * directory, (1L << 40) - 1
    };
    for (int i = 0; i < pages.length; i++) {
      assertEquals(i == 0 ? 1L << 40 : pages[i], oneMore(pages, i));
    }
    for (int i = 0; i < pages.length; i++) {
      assertEquals(i + 1, PageTable.pfn(table.entry(pages[i])));
      assertEquals(i + 1, PageTable.pfn(PageTable.entry(table.leaf(pages[i]), pages[i])));
      long access = begin(pages[i]);
      assertEquals(i + 1, Accesses.pfn(access));
      accesses.end(access);
      assertEquals(pages[i], table.next(i == 0 ? 0 : pages[i - 1] + 1, 1L << 40));
      assertEquals(pages[i], table.next(i == 0 ? 0 : pages[i - 1] + 1, pages[i]), "the end");
      assertEquals(0, PageTable.held(table.entry(pages[i] ^ 2)), "a page near it");
    }
    for (int i = 0; i < pages.length; i++) {
      assertEquals(i + 1, zap(pages[i]));
    }
    assertEquals(1L << 40, table.next(0, 1L << 40));
  }

  /** Maps a page; returns the first beyond those before it that was mapped once it is. */
  private long oneMore(long[] pages, int i) {
    long from = i == 0 ? 1 : pages[i - 1] + 1;
    assertEquals(0, PageTable.entry(table.leaf(pages[i]), pages[i]));
    assertEquals(1L << 40, table.next(from, 1L << 40));
    map(pages[i], i + 1);
    return table.next(from, 1L << 40);
  }

  @Test
  void aTableHasUpTo4PebibytesAndNoMore() {
    assertThrows(
        IllegalArgumentException.class, () -> new PageTable((1L << 40) + 1, new Accesses()));
    PageTable small = new PageTable(1, accesses);
    assertEquals(1, small.next(0, 1));
    assertNotEquals(0, small.install(0, 42));
    assertEquals(0, small.next(0, 1));
  }

  /** Each step but confirming is one that a late fault or an optimistic reader notices. */
  @Test
  void everyStepRaisesTheVersion() {
    long version = 0;
    for (int i = 0; i < 3; i++) {
      long pending = table.install(3, 42);
      assertTrue(PageTable.isPending(pending));
      assertEquals(++version, pending / PageTable.VERSION);
      table.confirm(3, pending);
      assertFalse(PageTable.isPending(table.entry(3)));
      assertEquals(version, table.entry(3) / PageTable.VERSION);
      table.revoke(3);
      assertTrue(PageTable.isPending(table.entry(3)));
      assertEquals(++version, table.entry(3) / PageTable.VERSION);
      assertEquals(42, table.remove(3));
      assertFalse(PageTable.isPending(table.entry(3)));
      assertEquals(++version, table.entry(3) / PageTable.VERSION);
    }
  }

  /** An access that finds its page unmapped once it is announced is not under way any more. */
  @Test
  void anAccessThatComesTooLateEndsAtOnce() {
    map(3, 42);
    Meanwhile.beforeWrite(
        1, // the announcement
        () -> {
          table.revoke(3);
          assertEquals(42, table.remove(3));
        },
        () -> assertEquals(0, begin(3)));
    assertNull(accesses.underWay());
  }

  /** It is mapped to another frame, or fewer pages are: it begins anew. */
  @Test
  void anAccessIsToWhatIsMappedWhenItIsAnnounced() {
    map(3, 42);
    map(4, 43);
    AtomicLong access = new AtomicLong();
    Meanwhile.beforeWrite(
        1,
        () -> {
          table.revoke(4);
          assertEquals(43, table.remove(4));
        },
        () -> access.set(table.begin(3, 2)));
    assertEquals(42, Accesses.pfn(access.get()));
    assertEquals(1, Accesses.frames(access.get()));
    accesses.end(access.get());
    assertNull(accesses.underWay());
  }

  /** An optimistic reader notices an unmapping, even if the same frame is mapped again. */
  @Test
  void anUnmappingIsSeenAndAnAccessIsNot() throws Exception {
    map(0, 7);
    long before = table.entry(0);
    long access = begin(0);
    assertEquals(before, table.entry(0), "an access is under way");
    accesses.end(access);
    assertEquals(7, zap(0));
    map(0, 7);
    assertNotEquals(before, table.entry(0), "the same frame, a second time");
  }

  /** As many pages at once as have frames that follow one another. */
  @Test
  void anAccessIsToFramesThatFollowOneAnother() throws Exception {
    for (int i = 0; i < 4; i++) {
      map(10 + i, 100 + i);
    }
    map(14, 200);
    map(509, 300);
    map(510, 301);
    map(511, 302);
    map(512, 303);
    long access = table.begin(10, Accesses.MAX_FRAMES);
    assertEquals(100, Accesses.pfn(access));
    assertEquals(4, Accesses.frames(access));
    Worker<Integer> zap = Worker.start(() -> zap(13));
    probe.awaitWaiting(zap);
    accesses.end(access);
    assertEquals(103, zap.result());
    access = table.begin(10, 2);
    assertEquals(2, Accesses.frames(access));
    assertEquals(102, zap(12), "an access to its neighbours is none to it");
    accesses.end(access);
    access = table.begin(509, 10);
    assertEquals(3, Accesses.frames(access), "up to the end of the leaf");
    accesses.end(access);
  }

  @Test
  void anUnmappingWaitsForAccesses() throws Exception {
    map(0, 7);
    long first = begin(0);
    long second = begin(0);
    Worker<Integer> zap = Worker.start(() -> zap(0));
    probe.awaitWaiting(zap);
    assertEquals(0, begin(0), "none begins any more");
    accesses.end(first);
    assertFalse(zap.isDone(), "one access is still under way");
    accesses.end(second);
    assertEquals(7, zap.result());
  }

  /** The entry is pending, with its reference, and the access is waited for by the next. */
  @Test
  void anInterruptedUnmappingLeavesTheEntryPending() throws Exception {
    map(0, 7);
    long access = begin(0);
    Worker<?> zap = Worker.start(() -> assertThrows(InterruptedException.class, () -> zap(0)));
    probe.awaitWaiting(zap);
    zap.interrupt();
    zap.result();
    assertTrue(PageTable.isPending(table.entry(0)));
    assertEquals(7, PageTable.held(table.entry(0)));
    assertEquals(0, begin(0));
    Worker<Integer> second = Worker.start(() -> zap(0));
    probe.awaitWaiting(second);
    accesses.end(access);
    assertEquals(7, second.result());
  }

  /** A page that was not changed after all is mapped again, with the access still under way. */
  @Test
  void anEntryThatWasRevokedCanBeConfirmed() throws Exception {
    map(0, 7);
    long access = begin(0);
    table.revoke(0);
    table.confirm(0, table.entry(0));
    assertEquals(7, PageTable.pfn(table.entry(0)));
    accesses.end(access);
    assertEquals(7, zap(0));
  }

  /** When an unmapping has returned, no access that began before it is still under way. */
  @Test
  @Tag("duel")
  void accessAgainstUnmapping() throws Exception {
    AtomicLong inside = new AtomicLong();
    AtomicInteger mapped = new AtomicInteger();
    Duel.race(
        round -> {
          long access = begin(0);
          if (access == 0) {
            return false;
          }
          int pfn = Accesses.pfn(access);
          inside.incrementAndGet();
          assertEquals(pfn, mapped.get(), "the frame changed under an access");
          Duel.shake();
          assertEquals(pfn, mapped.get(), "the frame changed under an access");
          inside.decrementAndGet();
          accesses.end(access);
          return true;
        },
        round -> {
          int pfn = (int) (round % 1000) + 1;
          mapped.set(pfn);
          map(0, pfn);
          Duel.shake();
          assertEquals(pfn, zap(0));
          assertEquals(0, inside.get(), "an access is under way through an unmapped page");
          return true;
        });
    assertEquals(null, accesses.underWay(), "announced and not ended");
  }

  /** Two threads enter one page: one of them does. */
  @Test
  @Tag("duel")
  void installAgainstInstall() throws Exception {
    AtomicInteger installed = new AtomicInteger();
    Duel.rounds(
        () -> installed.set(0),
        round -> table.install(0, 1) != 0 && installed.incrementAndGet() > 0,
        round -> table.install(0, 2) != 0 && installed.incrementAndGet() > 0,
        () -> {
          assertEquals(1, installed.get());
          assertTrue(table.remove(0) > 0);
        });
  }
}
