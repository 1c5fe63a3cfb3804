package io.github.guestmemfd.memory;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.spi.IdleStrategy;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/** The layout of the counts word, and that no field reaches into its neighbour. */
class CountsTest {

  private static final long[] FIELDS = {
    Counts.ACCESSIBLE_MASK,
    Counts.ACCESSIBLE_GUARD_MASK,
    Counts.SAFE_MASK,
    Counts.SAFE_GUARD_MASK,
    Counts.WAITED,
    1L << Counts.CACHED_SHIFT,
    Counts.REF_MASK
  };

  /** One of the field below the lower guard; the library has no other use for it yet. */
  private static final long ACCESSIBLE = 1;

  private static void assertDisjoint(long[] fields) {
    long all = 0;
    for (long field : fields) {
      assertEquals(0, all & field, () -> "overlap at " + Long.toHexString(field));
      all |= field;
    }
  }

  private static long word(int refs, int safe, int accessible) {
    return Counts.GUARDS | refs * Counts.REF | safe * Counts.SAFE | accessible * ACCESSIBLE;
  }

  @Test
  void fieldsAreDisjointAndCoverTheWord() {
    assertDisjoint(FIELDS);
    long all = 0;
    for (long field : FIELDS) {
      all |= field;
    }
    assertEquals(-1L, all);
    assertEquals(Counts.GUARD_MASK, Counts.SAFE_GUARD_MASK | Counts.ACCESSIBLE_GUARD_MASK);
    assertEquals(Counts.GUARDS, Counts.SAFE_GUARD | Counts.ACCESSIBLE_GUARD);
  }

  @Test
  void stateFieldsAreDisjoint() {
    assertDisjoint(
        new long[] {
          FrameState.LOCKED,
          FrameState.WAITERS,
          FrameState.UPTODATE,
          FrameState.DIRECT_REMOVED,
          FrameState.POISONED,
          FrameState.PREPARED,
          FrameState.OWNER_MASK
        });
    long others = 0x5a5a5a5aL;
    long word = FrameState.withOwner(others, -1);
    assertEquals(-1, FrameState.owner(word));
    assertEquals(others, FrameState.withOwner(word, 0));
  }

  @Test
  void unitsAreOneOfTheirField() {
    long word = word(0, 0, 0);
    assertEquals(1, Counts.refs(word + Counts.REF));
    assertEquals(0, Counts.safe(word + Counts.REF));
    assertEquals(1, Counts.safe(word + Counts.SAFE));
    assertEquals(0, Counts.refs(word + Counts.SAFE));
    assertEquals(1, Counts.refs(word + Counts.CACHE_REF));
    assertTrue(Counts.isCached(word + Counts.CACHE_REF));
    assertFalse(Counts.isCached(word + Counts.REF));
    assertEquals(1, Counts.refs(word + Counts.SAFE_REF));
    assertEquals(1, Counts.safe(word + Counts.SAFE_REF));
    assertEquals(Counts.PIN_BIAS, Counts.refs(word + Counts.PIN));
    assertEquals(0, Counts.safe(word + Counts.PIN));
    assertTrue(Counts.guardsIntact(word + Counts.SAFE_REF + Counts.PIN));
  }

  @Test
  void aFreeFrameIsFrozenAndStaysSoUnderManyLateLookups() {
    assertTrue(Counts.guardsIntact(Counts.FREE));
    assertTrue(Counts.refs(Counts.FREE) < 0);
    long lookups = 10_000; // more threads than any process has
    assertTrue(Counts.refs(Counts.FREE + lookups * Counts.PIN) < 0);
    // From the largest count that is let in, as many lookups more stay positive.
    assertTrue(word(Counts.MAX_REFS - 1, 0, 0) + lookups * Counts.REF > 0);
    // Thawing is an addition, and must give exactly what was asked for.
    assertEquals(word(1, 0, 0), Counts.FREE + Counts.REF - Counts.FROZEN_BIAS);
  }

  /** A step too far in a field is seen in its guard, leaves the others, and can be taken back. */
  @Test
  void aStepTooFarIsSeenAndTakenBack() {
    SplittableRandom random = new SplittableRandom(1);
    for (int i = 0; i < 10_000; i++) {
      int refs = 1 + random.nextInt(Counts.MAX_REFS);
      int safe = random.nextInt(Counts.MAX_SAFE + 1);
      int accessible = random.nextInt((int) Counts.ACCESSIBLE_MASK + 1);
      assertStep(word(refs, 0, accessible), -Counts.SAFE, Counts.SAFE_MASK, Counts.SAFE_GUARD_MASK);
      assertStep(
          word(refs, Counts.MAX_SAFE, accessible),
          Counts.SAFE,
          Counts.SAFE_MASK,
          Counts.SAFE_GUARD_MASK);
      assertStep(
          word(refs, safe, 0), -ACCESSIBLE, Counts.ACCESSIBLE_MASK, Counts.ACCESSIBLE_GUARD_MASK);
      assertStep(
          word(refs, safe, (int) Counts.ACCESSIBLE_MASK),
          ACCESSIBLE,
          Counts.ACCESSIBLE_MASK,
          Counts.ACCESSIBLE_GUARD_MASK);
    }
  }

  private static void assertStep(long word, long step, long field, long guard) {
    long after = word + step;
    assertTrue(Counts.guardsIntact(word), () -> Counts.toString(word));
    assertFalse(Counts.guardsIntact(after), () -> Counts.toString(after));
    assertEquals(word & ~(field | guard), after & ~(field | guard), "a neighbour has changed");
    assertEquals(word, after - step);
  }

  @Test
  void aReferenceTooFewBorrowsFromNobody() {
    long word = word(0, 0, 5);
    long after = word - Counts.REF;
    assertTrue(after < 0);
    assertEquals(word & ~Counts.REF_MASK, after & ~Counts.REF_MASK);
  }

  /** The same, by the operations that count. */
  @Test
  void theTableRefusesAStepTooFarAndChangesNothing() {
    FrameTable frames = new FrameTable(1, IdleStrategy.spinThenPark());
    assertTrue(frames.reserve(1));
    FrameTable.Owner owner = frames.newOwner(pfn -> {});
    int pfn = frames.allocate(owner);
    frames.thaw(pfn, Counts.REF);
    for (int i = 0; i < Counts.MAX_SAFE; i++) {
      assertTrue(frames.tryGet(pfn, Counts.SAFE_REF));
    }
    long full = frames.counts(pfn);
    assertEquals(Counts.MAX_SAFE, Counts.safe(full));
    assertEquals(Counts.MAX_SAFE + 1, Counts.refs(full));
    assertThrows(IllegalStateException.class, () -> frames.tryGet(pfn, Counts.SAFE_REF));
    assertEquals(full, frames.counts(pfn), "safe overflow");
    assertTrue(frames.tryGet(pfn, Counts.REF), "other references are not concerned");
    frames.put(pfn, Counts.REF);
    for (int i = 0; i < Counts.MAX_SAFE; i++) {
      frames.put(pfn, Counts.SAFE_REF);
    }
    assertTrue(frames.tryGet(pfn, Counts.REF));
    long one = frames.counts(pfn);
    assertThrows(IllegalStateException.class, () -> frames.put(pfn, Counts.SAFE_REF));
    assertEquals(one, frames.counts(pfn), "safe underflow");
    assertThrows(IllegalStateException.class, () -> frames.put(pfn, Counts.PIN));
    assertEquals(one, frames.counts(pfn), "refs underflow");
    frames.put(pfn, Counts.REF);

    int pins = 0;
    while (Counts.refs(frames.counts(pfn)) < Counts.MAX_REFS) {
      assertTrue(frames.tryGet(pfn, Counts.PIN));
      pins++;
    }
    long many = frames.counts(pfn);
    assertThrows(IllegalStateException.class, () -> frames.tryGet(pfn, Counts.REF));
    assertThrows(IllegalStateException.class, () -> frames.tryGet(pfn, Counts.PIN));
    assertEquals(many, frames.counts(pfn), "refs overflow");
    for (int i = 0; i < pins; i++) {
      frames.put(pfn, Counts.PIN);
    }
    assertEquals(word(1, 0, 0), frames.counts(pfn));
    frames.put(pfn, Counts.REF);
    assertEquals(0, frames.used());
  }

  @Test
  void saysWhatItCounts() {
    assertEquals("refs=3 safe=2 accessible=1", Counts.toString(word(3, 2, 1)));
    assertEquals("frozen safe=0 accessible=0", Counts.toString(Counts.FREE));
    assertTrue(Counts.toString(word(1, 0, 0) | Counts.WAITED).endsWith(" waited"));
    assertTrue(Counts.toString(word(0, 0, 0) + Counts.CACHE_REF).contains(" cached"));
  }
}
