package io.github.guestmemfd.cache;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.memory.FrameTable;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/** The layout of a slot and its changes. */
class SlotWordTest {

  private static final long SEQ_MASK = SlotWord.SEQ_MASK;

  private static long seq(long slot) {
    return slot & SEQ_MASK;
  }

  private static long busy(long slot) {
    return slot | SlotWord.BUSY;
  }

  @Test
  void fieldsAreDisjointAndCoverTheWord() {
    long[] fields = {
      SlotWord.PFN_MASK,
      SlotWord.INACCESSIBLE,
      SlotWord.BUSY,
      SlotWord.WAS_INACCESSIBLE,
      SlotWord.READY,
      SlotWord.NEITHER,
      SEQ_MASK
    };
    long all = 0;
    for (long field : fields) {
      assertEquals(0, all & field);
      all |= field;
    }
    assertEquals(-1L, all);
    assertEquals(SlotWord.SEQ, Long.lowestOneBit(SEQ_MASK));
    assertTrue(FrameTable.MAX_FRAMES <= SlotWord.PFN_MASK, "every frame has a number that fits");
  }

  @Test
  void readsWhatItHolds() {
    long slot = 77 | SlotWord.INACCESSIBLE;
    assertEquals(77, SlotWord.pfn(slot));
    assertTrue(SlotWord.isInaccessible(slot));
    assertFalse(SlotWord.isBusy(slot));
    assertTrue(SlotWord.isBusy(busy(slot)));
    assertEquals(
        FrameTable.MAX_FRAMES, SlotWord.pfn((-1L & ~SlotWord.PFN_MASK) | FrameTable.MAX_FRAMES));
  }

  /** Whatever the rest of the word, each change touches its own fields and no other. */
  @Test
  void changesTouchTheirFieldsOnly() {
    SplittableRandom random = new SplittableRandom(1);
    for (int i = 0; i < 10_000; i++) {
      long seq = random.nextLong() & SEQ_MASK;
      boolean inaccessible = random.nextBoolean();
      int pfn = 1 + random.nextInt(FrameTable.MAX_FRAMES);
      long attribute = inaccessible ? SlotWord.INACCESSIBLE : 0;
      long hole = seq | attribute;

      long filled = SlotWord.filled(hole, pfn);
      assertEquals(pfn, SlotWord.pfn(filled));
      assertEquals(seq(hole + SlotWord.SEQ), seq(filled), "filling is a change");
      assertEquals(attribute, filled & ~SEQ_MASK & ~SlotWord.PFN_MASK);

      long ready = random.nextBoolean() ? SlotWord.READY : 0;
      assertEquals(ready != 0, SlotWord.isReady(filled | ready));
      long locked = busy(filled | ready);
      long emptied = SlotWord.emptied(locked);
      assertEquals(locked & ~(SlotWord.PFN_MASK | SlotWord.READY), emptied, "no frame is ready");
      assertEquals(hole & ~SEQ_MASK, SlotWord.released(emptied) & ~SEQ_MASK, "the attribute stays");

      for (boolean wish : new boolean[] {false, true}) {
        long committed = SlotWord.committed(locked, wish);
        assertEquals(wish, SlotWord.isInaccessible(committed));
        assertEquals(pfn, SlotWord.pfn(committed));
        assertTrue(SlotWord.isBusy(committed));
        assertEquals(seq(locked), seq(committed));
        assertEquals(locked, SlotWord.uncommitted(committed), "undone");
        long again = SlotWord.committed(committed, !wish);
        assertEquals(!wish, SlotWord.isInaccessible(again));
        long released = SlotWord.released(committed);
        assertFalse(SlotWord.isBusy(released));
        assertEquals(0, released & SlotWord.WAS_INACCESSIBLE);
        assertEquals(wish, SlotWord.isInaccessible(released));
        assertEquals(pfn, SlotWord.pfn(released));
        assertEquals(ready, released & SlotWord.READY, "a conversion leaves the folio ready");
        assertNotEquals(filled, released, "a reader must see that something has happened");
      }
    }
  }

  @Test
  void flagsAreSetAndCleared() {
    long seq = 5 * SlotWord.SEQ;
    for (long attribute : new long[] {0, SlotWord.INACCESSIBLE}) {
      long slot = seq | attribute | 9;
      assertEquals((slot | SlotWord.READY) + SlotWord.SEQ, SlotWord.ready(slot), "a change");
      assertEquals(slot, SlotWord.unready(slot | SlotWord.READY));
      assertEquals(slot, SlotWord.unready(slot));
      assertEquals(seq | attribute | 7, SlotWord.moved(slot, 7));
      assertEquals(attribute == 0 ? slot | SlotWord.NEITHER : slot, SlotWord.pending(slot));
      assertEquals(slot, SlotWord.notPending(slot | SlotWord.NEITHER));
      assertEquals(attribute, SlotWord.releasedHole(busy(attribute)), "a hole has no sequence");
    }
  }

  @Test
  void knowsWhoseAPageIs() {
    assertTrue(SlotWord.isOpenToHost(9 | SlotWord.BUSY));
    assertFalse(SlotWord.isOpenToHost(9 | SlotWord.INACCESSIBLE));
    assertFalse(SlotWord.isOpenToHost(9 | SlotWord.NEITHER));
    for (boolean was : new boolean[] {false, true}) {
      for (boolean is : new boolean[] {false, true}) {
        long before = busy(9 | (was ? SlotWord.INACCESSIBLE : 0));
        assertEquals(was != is, SlotWord.isChanged(SlotWord.committed(before, is)));
      }
    }
  }

  /** Nothing done but to be busy for a while: the attribute is what it was. */
  @Test
  void releaseWithoutACommitKeepsTheAttribute() {
    for (long slot : new long[] {5, 5 | SlotWord.INACCESSIBLE, 0, SlotWord.INACCESSIBLE}) {
      long released = SlotWord.released(busy(slot));
      assertEquals(slot & ~SEQ_MASK, released & ~SEQ_MASK);
      assertNotEquals(slot, released);
    }
  }

  /** The sequence is the top field: when it wraps it carries into nothing. */
  @Test
  void theSequenceWraps() {
    long last = SEQ_MASK | SlotWord.INACCESSIBLE | 9;
    long next = SlotWord.released(busy(last));
    assertEquals(SlotWord.INACCESSIBLE | 9, next);
    assertEquals(3, SlotWord.filled(SEQ_MASK, 3));
  }
}
