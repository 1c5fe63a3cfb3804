package io.github.guestmemfd.memory;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.fixtures.Announced;
import io.github.guestmemfd.fixtures.WaitProbe;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.PlaysOtherThreads;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;

/** Announcements of accesses, and who waits for which. */
@ExtendWith(PlaysOtherThreads.class)
@Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class AccessSlotsTest {
  private final Accesses accesses = new Accesses();
  private final WaitProbe probe = new WaitProbe();

  private Accesses.UnderWay look(int... pfns) {
    Accesses.UnderWay underWay = accesses.underWay();
    assertNotNull(underWay);
    for (int pfn : pfns) {
      underWay.include(pfn);
    }
    return underWay;
  }

  /** A wait that has nothing to wait for does not notice an interrupt; any other does at once. */
  private boolean mustWait(int... pfns) {
    Accesses.UnderWay underWay = look(pfns);
    Thread.currentThread().interrupt();
    try {
      underWay.await(probe);
      return false;
    } catch (InterruptedException e) {
      return true;
    } finally {
      Thread.interrupted();
    }
  }

  private Worker<Void> startAwait(Accesses.UnderWay underWay) throws InterruptedException {
    Worker<Void> waiter =
        Worker.start(
            () -> {
              underWay.await(probe);
              return null;
            });
    probe.awaitWaiting(waiter);
    return waiter;
  }

  @Test
  void nothingIsUnderWayAtFirstAndAfterTheEnd() {
    assertNull(accesses.underWay());
    long access = accesses.begin(1, 1);
    assertNotEquals(0, access);
    assertTrue(accesses.isUnderWay(access));
    accesses.end(access);
    assertFalse(accesses.isUnderWay(access));
    assertNull(accesses.underWay());
  }

  /** In the slot that the thread looks for first, and in no other. */
  @Test
  void anAccessAtHomeIsAsAnyOther() {
    int place = accesses.tryBeginAtHome(7);
    assertTrue(place > 0);
    assertTrue(mustWait(7));
    assertFalse(mustWait(6, 8));
    assertTrue(accesses.tryBeginAtHome(8) < 0, "the slot is taken");
    long elsewhere = accesses.begin(8, 2);
    assertTrue(mustWait(9));
    accesses.endAtHome(place);
    assertFalse(mustWait(7));
    assertTrue(mustWait(8));
    int again = accesses.tryBeginAtHome(9);
    assertEquals(place, again);
    accesses.end(elsewhere);
    accesses.endAtHome(again);
    assertNull(accesses.underWay());
  }

  @Test
  void anAccessToOneFrameConcernsThatFrameAlone() {
    long access = accesses.begin(7, 1);
    assertEquals(7, Accesses.pfn(access));
    assertEquals(1, Accesses.frames(access));
    assertTrue(mustWait(7));
    assertFalse(mustWait(6, 8, 1, 7 + 64, (1 << FrameTable.PFN_BITS) - 1));
    assertFalse(mustWait());
    accesses.end(access);
  }

  @Test
  void anAccessToManyConcernsEachOfThemAndNoneBeside() {
    for (int frames : new int[] {2, 5, 63, Accesses.MAX_FRAMES}) {
      long access = accesses.begin(100, frames);
      assertEquals(100, Accesses.pfn(access));
      assertEquals(frames, Accesses.frames(access));
      for (int pfn = 100; pfn < 100 + frames; pfn++) {
        assertTrue(mustWait(pfn), "frame " + pfn + " of " + frames);
      }
      assertFalse(mustWait(99, 100 + frames), frames + " frames");
      assertTrue(accesses.isUnderWay(access));
      accesses.end(access);
      assertNull(accesses.underWay());
    }
  }

  @Test
  void theLargestFrameNumberHasRoom() {
    int last = (1 << FrameTable.PFN_BITS) - 1;
    long access = accesses.begin(last, 1);
    assertEquals(last, Accesses.pfn(access));
    assertEquals(1, Accesses.frames(access));
    assertTrue(mustWait(last));
    accesses.end(access);
    assertNull(accesses.underWay());
  }

  @Test
  void aWaitEndsWithTheAccessesThatItIsConcernedAbout() throws Exception {
    long other = accesses.begin(1, 1);
    long one = accesses.begin(2, 1);
    long two = accesses.begin(3, 4);
    Worker<Void> waiter = startAwait(look(2, 6));
    accesses.end(one);
    assertTrue(mustWait(6));
    assertFalse(waiter.isDone(), "one of two is over");
    accesses.end(two);
    waiter.result();
    assertTrue(accesses.isUnderWay(other));
    accesses.end(other);
  }

  /** It takes the same slot again and announces the same: only the count of announcements tells. */
  @Test
  void aLaterAccessIsNotWaitedFor() throws Exception {
    long access = accesses.begin(5, 1);
    Accesses.UnderWay before = look(5);
    accesses.end(access);
    long later = accesses.begin(5, 1);
    assertEquals(access, later, "the same slot");
    Thread.currentThread().interrupt();
    before.await(probe); // need not wait, so does not notice
    assertTrue(Thread.interrupted());
    assertTrue(mustWait(5), "who looks later waits for it");
    accesses.end(later);
  }

  @Test
  void anAccessThatBeginsDuringTheWaitIsNotWaitedFor() throws Exception {
    long access = accesses.begin(5, 1);
    Worker<Void> waiter = startAwait(look(5));
    long later = accesses.begin(5, 1);
    accesses.end(access);
    waiter.result();
    assertTrue(accesses.isUnderWay(later));
    accesses.end(later);
  }

  /** Far more than the slots made first: those of a thread go on to others, in every block. */
  @Test
  void oneThreadHasAsManyAccessesAsItLikes() {
    List<Long> begun = new ArrayList<>();
    Set<Long> places = new HashSet<>();
    for (int pfn = 1; pfn <= 200; pfn++) {
      long access = accesses.begin(pfn, 1);
      begun.add(access);
      assertTrue(places.add(access & -(1L << 36)), "a slot of its own");
    }
    for (int pfn = 1; pfn <= 200; pfn++) {
      assertTrue(mustWait(pfn), "frame " + pfn);
    }
    for (int i = 0; i < 200; i += 2) { // not in the order in which they began
      accesses.end(begun.get(i));
    }
    for (int i = 0; i < 200; i++) {
      assertEquals(i % 2 != 0, accesses.isUnderWay(begun.get(i)));
      assertEquals(i % 2 != 0, mustWait(i + 1), "frame " + (i + 1));
    }
    for (int i = 1; i < 200; i += 2) {
      accesses.end(begun.get(i));
    }
    assertNull(accesses.underWay());
  }

  @Test
  void moreThreadsThanTheFirstSlotsAreAllSeen() throws Exception {
    int threads = 40;
    CountDownLatch begun = new CountDownLatch(threads);
    CountDownLatch go = new CountDownLatch(1);
    List<Worker<Void>> workers = new ArrayList<>();
    for (int i = 0; i < threads; i++) {
      int pfn = 2 * i + 1;
      workers.add(
          Worker.start(
              () -> {
                long access = accesses.begin(pfn, 1);
                begun.countDown();
                go.await();
                accesses.end(access);
                return null;
              }));
    }
    begun.await();
    for (int i = 0; i < threads; i++) {
      assertTrue(mustWait(2 * i + 1), "thread " + i);
      assertFalse(mustWait(2 * i + 2));
    }
    Accesses.UnderWay all = accesses.underWay();
    assertNotNull(all);
    for (int i = 0; i < threads; i++) {
      all.include(2 * i + 1);
    }
    Worker<Void> waiter = startAwait(all);
    go.countDown();
    waiter.result();
    for (Worker<Void> worker : workers) {
      worker.result();
    }
    assertNull(accesses.underWay());
  }

  @Test
  void anInterruptedWaitLeavesTheAccessForTheNext() throws Exception {
    long access = accesses.begin(5, 1);
    Worker<Void> first = startAwait(look(5));
    first.interrupt();
    assertThrows(InterruptedException.class, first::result);
    assertTrue(accesses.isUnderWay(access));
    Worker<Void> second = startAwait(look(5));
    assertFalse(second.isDone());
    accesses.end(access);
    second.result();
  }

  @Test
  void aWaitThatCannotBeGivenUpKeepsTheInterrupt() throws Exception {
    long access = accesses.begin(5, 1);
    Accesses.UnderWay underWay = look(5);
    Worker<Boolean> waiter =
        Worker.start(
            () -> {
              underWay.awaitUninterruptibly(probe);
              return Thread.currentThread().isInterrupted();
            });
    probe.awaitWaiting(waiter);
    waiter.interruptAndAwait();
    assertFalse(waiter.isDone());
    accesses.end(access);
    assertTrue(waiter.result(), "the interrupt is kept");
  }

  @Test
  void whatIsNoAccessIsNotUnderWay() {
    long access = accesses.begin(5, 3);
    assertFalse(accesses.isUnderWay(0));
    for (int bit = 0; bit < 64; bit++) {
      assertFalse(accesses.isUnderWay(access ^ (1L << bit)), "bit " + bit);
    }
    assertTrue(accesses.isUnderWay(access));
    accesses.end(access);
  }

  /** 16 in the first block, and twice as many in each that follows. */
  @Test
  void blocksDoubleInSize() {
    List<Long> begun = new ArrayList<>();
    for (int pfn = 1; pfn <= 16 + 32 + 1; pfn++) {
      begun.add(accesses.begin(pfn, 1));
    }
    for (int i = 0; i < begun.size(); i++) {
      long block = begun.get(i) >>> 60; // above 24 bits of place, 6 of frames and 30 of pfn
      assertEquals(i < 16 ? 0 : i < 16 + 32 ? 1 : 2, block, "block of access " + i);
    }
    begun.forEach(accesses::end);
    assertNull(accesses.underWay());
  }

  @Test
  void blocksAreAnnounced() {
    List<Long> begun = new ArrayList<>();
    for (int pfn = 1; pfn <= 16; pfn++) {
      begun.add(accesses.begin(pfn, 1));
    }
    List<Announced.Access> made = ofBlocks(() -> begun.add(accesses.begin(17, 1)));
    Object blocks = made.get(0).owner();
    assertEquals(
        List.of(Announced.read(blocks, 0), Announced.read(blocks, 1), Announced.write(blocks, 1)),
        made);
    assertEquals(
        List.of(Announced.read(blocks, 1)),
        ofBlocks(() -> assertTrue(accesses.isUnderWay(begun.get(16)))));
    assertEquals(
        List.of(Announced.read(blocks, 0), Announced.read(blocks, 1), Announced.read(blocks, 2)),
        ofBlocks(accesses::underWay));
    begun.forEach(accesses::end);
  }

  private static List<Announced.Access> ofBlocks(Runnable body) {
    return Announced.by(body).stream().filter(a -> a.owner() instanceof long[][]).toList();
  }
}
