package io.github.guestmemfd.cache;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.concurrent.Duel;
import io.github.guestmemfd.concurrent.WaitProbe;
import io.github.guestmemfd.concurrent.Worker;
import io.github.guestmemfd.memory.FrameTable;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Page table entries and the accesses through them. */
@Timeout(120)
class PageTableTest {

  private final WaitProbe probe = new WaitProbe();
  private final PageTable table = new PageTable(1L << 40, probe);

  /** Enters a page and confirms it, as a fault does that is in time. */
  private void map(long page, int pfn) {
    assertTrue(table.install(page, pfn));
    assertEquals(0, table.settle(page, table.entry(page), true));
    assertEquals(pfn, PageTable.pfn(table.entry(page)));
  }

  @Test
  void fieldsAreDisjointAndCoverTheWord() {
    long version = -1L << 41;
    assertEquals(PageTable.VERSION, Long.lowestOneBit(version));
    long all = 0;
    for (long field :
        new long[] {PageTable.PFN_MASK, PageTable.INFLIGHT_MASK, PageTable.PENDING, version}) {
      assertEquals(0, all & field);
      all |= field;
    }
    assertEquals(-1L, all);
    assertTrue(FrameTable.MAX_FRAMES <= PageTable.PFN_MASK);
    // As many threads again as are let in may have announced themselves by mistake.
    assertTrue(2 * PageTable.MAX_INFLIGHT - PageTable.INFLIGHT <= PageTable.INFLIGHT_MASK);
  }

  @Test
  void mapsAndUnmaps() throws Exception {
    assertEquals(0, table.begin(3));
    assertEquals(0, table.zap(3));
    map(3, 42);
    assertFalse(table.install(3, 43), "mapped already");
    assertEquals(42, PageTable.pfn(table.entry(3)));
    assertEquals(42, table.begin(3));
    table.end(3);
    assertEquals(0, table.begin(4), "its neighbour is not mapped");
    assertEquals(42, table.zap(3));
    assertEquals(0, PageTable.held(table.entry(3)));
    assertEquals(0, table.begin(3));
    assertEquals(0, table.zap(3));
    map(3, 43);
    assertEquals(43, table.zapUninterruptibly(3));
    assertEquals(0, table.zapUninterruptibly(3));
  }

  /** Accesses do not see a pending entry; who unmaps does. */
  @Test
  void aPendingEntryIsHeldButNotMapped() throws Exception {
    assertTrue(table.install(3, 42));
    long entry = table.entry(3);
    assertTrue(PageTable.isPending(entry));
    assertEquals(0, PageTable.pfn(entry));
    assertEquals(42, PageTable.held(entry));
    assertEquals(0, table.begin(3));
    assertFalse(table.install(3, 43));
    assertEquals(3, table.next(0, 10));
    assertEquals(42, table.zap(3));
    assertEquals(10, table.next(0, 10));
    assertEquals(0, table.settle(3, entry, true), "it is gone");
    assertEquals(0, PageTable.held(table.entry(3)), "and does not come back");
  }

  @Test
  void anEntryIsSettledOnce() {
    assertTrue(table.install(3, 42));
    long entry = table.entry(3);
    assertEquals(42, table.settle(3, entry, false), "removed, and its reference given back");
    assertEquals(0, PageTable.held(table.entry(3)));
    assertEquals(0, table.settle(3, entry, false), "given back once");
    assertTrue(table.install(3, 42));
    assertEquals(0, table.settle(3, entry, true), "another entry of the same frame");
    assertTrue(PageTable.isPending(table.entry(3)));
    entry = table.entry(3);
    assertEquals(0, table.settle(3, entry, true));
    assertEquals(0, table.settle(3, entry, false), "confirmed already");
    assertEquals(42, PageTable.pfn(table.entry(3)));
    assertEquals(42, table.zapUninterruptibly(3));
  }

  /** A fault that confirms against an unmapping: the reference is given back once, or kept. */
  @Test
  void confirmingAgainstUnmapping() throws Exception {
    AtomicInteger given = new AtomicInteger();
    AtomicLong entry = new AtomicLong();
    Duel.rounds(
        () -> {
          given.set(0);
          assertTrue(table.install(0, 7));
          entry.set(table.entry(0));
        },
        round -> {
          given.addAndGet(table.settle(0, entry.get(), (round & 1) == 0));
          return true;
        },
        round -> {
          given.addAndGet(table.zap(0));
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
    assertEquals(1, table.zap(5));
    assertEquals(far, table.next(0, 1L << 40));
  }

  /** An optimistic reader notices an unmapping, even if the same frame is mapped again. */
  @Test
  void anUnmappingIsSeenAndAnAccessIsNot() throws Exception {
    map(0, 7);
    long before = table.entry(0);
    assertEquals(7, table.begin(0));
    assertNotEquals(before, table.entry(0));
    assertTrue(PageTable.sameMapping(before, table.entry(0)), "an access is under way");
    table.end(0);
    assertEquals(before, table.entry(0));
    assertEquals(7, table.zap(0));
    assertFalse(PageTable.sameMapping(before, table.entry(0)));
    map(0, 7);
    assertFalse(PageTable.sameMapping(before, table.entry(0)), "the same frame, a second time");
  }

  @Test
  void anUnmappingWaitsForAccesses() throws Exception {
    map(0, 7);
    assertEquals(7, table.begin(0));
    assertEquals(7, table.begin(0));
    Worker<Integer> zap = Worker.start(() -> table.zap(0));
    probe.awaitWaiting(zap);
    assertEquals(0, table.begin(0), "nobody begins any more");
    table.end(0);
    assertFalse(zap.isDone(), "one access is still under way");
    table.end(0);
    assertEquals(7, zap.result());
  }

  /** The entry is pending: whether it still is good is for the next fault to say. */
  @Test
  void anInterruptedUnmappingLeavesTheEntryPending() throws Exception {
    map(0, 7);
    assertEquals(7, table.begin(0));
    Worker<?> zap =
        Worker.start(() -> assertThrows(InterruptedException.class, () -> table.zap(0)));
    probe.awaitWaiting(zap);
    zap.interrupt();
    zap.result();
    long entry = table.entry(0);
    assertEquals(7, PageTable.held(entry));
    assertTrue(PageTable.isPending(entry));
    assertEquals(0, table.begin(0));
    assertEquals(0, table.settle(0, entry, true), "with the access under way");
    table.end(0);
    assertEquals(7, PageTable.pfn(table.entry(0)));
    assertEquals(7, table.zap(0));
  }

  /** Somebody else has entered the page meanwhile: two references, and one entry. */
  @Test
  void anInterruptedUnmappingThatCannotPutTheEntryBackGoesOn() throws Exception {
    map(0, 7);
    assertEquals(7, table.begin(0));
    Worker<Boolean> zap = interruptedZap();
    assertTrue(table.install(0, 7));
    zap.interruptAndAwait();
    table.end(0);
    assertTrue(zap.result(), "the interrupt is kept for the next wait");
    assertEquals(7, PageTable.held(table.entry(0)));
    assertEquals(7, table.zap(0));
  }

  /** Nobody would find an entry that is put into a table which has been closed and emptied. */
  @Test
  void anInterruptedUnmappingLeavesNoEntryInAClosedTable() throws Exception {
    map(0, 7);
    assertEquals(7, table.begin(0));
    Worker<Boolean> zap = interruptedZap();
    table.close();
    assertTrue(table.isClosed());
    assertEquals(0, table.zapUninterruptibly(0), "it is the other's");
    zap.interruptAndAwait();
    table.end(0);
    assertTrue(zap.result());
    assertEquals(0, PageTable.held(table.entry(0)));
  }

  private Worker<Boolean> interruptedZap() throws InterruptedException {
    Worker<Boolean> zap =
        Worker.start(
            () -> {
              assertEquals(7, table.zap(0));
              return Thread.currentThread().isInterrupted();
            });
    probe.awaitWaiting(zap);
    return zap;
  }

  @Test
  void anUnmappingThatMustNotBeInterruptedIsNot() throws Exception {
    map(0, 7);
    assertEquals(7, table.begin(0));
    Worker<Boolean> zap =
        Worker.start(
            () -> {
              assertEquals(7, table.zapUninterruptibly(0));
              return Thread.currentThread().isInterrupted();
            });
    probe.awaitWaiting(zap);
    zap.interruptAndAwait();
    assertEquals(0, table.begin(0));
    assertFalse(zap.isDone());
    table.end(0);
    assertTrue(zap.result());
  }

  /** Only so many accesses at once; the next one waits until one has ended. */
  @Test
  void aCrowdWaits() throws Exception {
    map(0, 7);
    long most = PageTable.MAX_INFLIGHT / PageTable.INFLIGHT;
    for (long i = 0; i < most; i++) {
      assertEquals(7, table.begin(0));
    }
    Worker<Integer> last = Worker.start(() -> table.begin(0));
    probe.awaitWaiting(last);
    assertFalse(last.isDone());
    table.end(0);
    assertEquals(7, last.result());
    for (long i = 0; i < most; i++) {
      table.end(0);
    }
    assertEquals(7, table.zap(0));
  }

  /** When an unmapping has returned, no access that began before it is still under way. */
  @Test
  void accessAgainstUnmapping() throws Exception {
    AtomicLong inside = new AtomicLong();
    AtomicInteger mapped = new AtomicInteger();
    Duel.race(
        round -> {
          int pfn = table.begin(0);
          if (pfn == 0) {
            return false;
          }
          inside.incrementAndGet();
          assertEquals(pfn, mapped.get(), "the frame changed under an access");
          Duel.shake();
          assertEquals(pfn, mapped.get(), "the frame changed under an access");
          inside.decrementAndGet();
          table.end(0);
          return true;
        },
        round -> {
          int pfn = (int) (round % 1000) + 1;
          mapped.set(pfn);
          map(0, pfn);
          Duel.shake();
          assertEquals(pfn, table.zap(0));
          assertEquals(0, inside.get(), "an access is under way through an unmapped page");
          return true;
        });
  }

  /** As fast as it goes: an access that meets the removal of the entry takes itself back. */
  @Test
  void announcementAgainstUnmapping() throws Exception {
    Duel.race(
        round -> {
          if (table.begin(0) == 0) {
            return false;
          }
          table.end(0);
          return true;
        },
        round -> {
          map(0, 7);
          assertEquals(7, table.zap(0));
          return true;
        });
    assertEquals(0, table.entry(0) & PageTable.INFLIGHT_MASK, "accesses announced and not ended");
  }

  /** Two threads enter one page: one of them does. */
  @Test
  void installAgainstInstall() throws Exception {
    AtomicInteger installed = new AtomicInteger();
    Duel.rounds(
        () -> installed.set(0),
        round -> table.install(0, 1) && installed.incrementAndGet() > 0,
        round -> table.install(0, 2) && installed.incrementAndGet() > 0,
        () -> {
          assertEquals(1, installed.get());
          assertTrue(table.zapUninterruptibly(0) > 0);
        });
  }
}
