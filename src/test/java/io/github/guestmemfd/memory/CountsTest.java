package io.github.guestmemfd.memory;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.spi.IdleStrategy;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The layout of the counts word, and that no field reaches into its neighbour. */
class CountsTest {

  private static final long[] FIELDS = {
    Counts.SAFE_MASK,
    Counts.ACCESSIBLE_MASK,
    Counts.UNSAFE_MASK,
    Counts.WAITED,
    Counts.LENT,
    Counts.CACHE_REF,
    Counts.OWN_MASK
  };

  /** More threads than any process has. */
  private static final long THREADS = 2_000;

  /** A kind of reference, and what a test needs to know of it. */
  private enum Kind {
    OWN(Counts.REF, Counts.MAX_OWN),
    PIN(Counts.PIN, Counts.MAX_PINNED / Counts.PIN_BIAS),
    UNSAFE(Counts.UNSAFE_REF, Counts.MAX_UNSAFE),
    ACCESSIBLE(Counts.ACCESSIBLE_REF, Counts.MAX_ACCESSIBLE),
    SAFE_REF(Counts.SAFE_REF, Counts.MAX_SAFE),
    SAFE(Counts.SAFE, Counts.MAX_SAFE);

    final long unit;
    final int max;

    Kind(long unit, int max) {
      this.unit = unit;
      this.max = max;
    }

    /** Whether a get adds first and looks afterwards. */
    boolean isOnTrial() {
      return this != PIN && this != SAFE;
    }
  }

  private static void assertDisjoint(long[] fields) {
    long all = 0;
    for (long field : fields) {
      assertEquals(0, all & field, () -> "overlap at " + Long.toHexString(field));
      all |= field;
    }
  }

  private static long word(long own, long unsafe, long accessible, long safe) {
    return own * Counts.REF
        + unsafe * Counts.UNSAFE_REF
        + accessible * Counts.ACCESSIBLE_REF
        + safe * Counts.SAFE;
  }

  @Test
  void fieldsAreDisjointAndCoverTheWord() {
    assertDisjoint(FIELDS);
    long all = 0;
    for (long field : FIELDS) {
      all |= field;
    }
    assertEquals(-1L, all);
  }

  /** A plain put is one that the closer look would let through, and would do nothing more for. */
  @Test
  void aPlainPutNeedsNoCloserLook() {
    long[] units = {
      Counts.REF,
      Counts.SAFE,
      Counts.SAFE_REF,
      Counts.UNSAFE_REF,
      Counts.ACCESSIBLE_REF,
      Counts.PIN,
      Counts.CACHE_REF,
      Counts.LENT_CACHE_REF
    };
    SplittableRandom random = new SplittableRandom(1);
    int plain = 0;
    for (int i = 0; i < 200_000; i++) {
      long word = 0;
      for (long field : FIELDS) {
        long lowest = Long.lowestOneBit(field);
        switch (random.nextInt(4)) {
          case 0 -> word |= random.nextLong() & field;
          case 1 -> word |= lowest;
          case 2 -> word |= lowest * Counts.PIN_BIAS & field;
          default -> word |= 0;
        }
      }
      long unit = units[random.nextInt(units.length)];
      boolean last = Counts.isUnheld(word - unit);
      boolean waited = (word & Counts.WAITED) != 0;
      if (Counts.isPlainPut(word, unit)) {
        plain++;
        assertTrue(Counts.has(word, unit), Counts.toString(word));
        assertFalse(last || waited, Counts.toString(word));
      } else if ((unit & Counts.LENT_CACHE_REF) == 0) {
        assertTrue(!Counts.has(word, unit) || last || waited, Counts.toString(word));
      }
    }
    assertTrue(plain > 10_000, "plain puts: " + plain);
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
          FrameState.ALLOCATED,
          FrameState.LEFT,
          FrameState.ISOLATED,
          FrameState.MARKED,
          FrameState.OWNER_MASK
        });
    long others = 0x5a5a5a5aL;
    long word = FrameState.withOwner(others, -1);
    assertEquals(-1, FrameState.owner(word));
    assertEquals(others, FrameState.withOwner(word, 0));
  }

  private static String fields(long word) {
    return Counts.ownRefs(word)
        + " "
        + Counts.unsafe(word)
        + " "
        + Counts.accessible(word)
        + " "
        + Counts.safe(word)
        + (Counts.isCached(word) ? " cached" : "")
        + (Counts.isLent(word) ? " lent" : "");
  }

  @Test
  void unitsAreOneOfTheirField() {
    assertEquals("1 0 0 0", fields(Counts.REF));
    assertEquals("1024 0 0 0", fields(Counts.PIN));
    assertEquals("0 1 0 0", fields(Counts.UNSAFE_REF));
    assertEquals("0 0 1 0", fields(Counts.ACCESSIBLE_REF));
    assertEquals("0 0 0 1", fields(Counts.SAFE));
    assertEquals("1 0 0 1", fields(Counts.SAFE_REF));
    assertEquals("0 0 0 0 cached", fields(Counts.CACHE_REF));
    assertEquals("0 0 0 0 cached lent", fields(Counts.LENT_CACHE_REF));
    assertEquals(1 + 2 + 3 + 4, Counts.refs(word(2, 3, 4, 5) + Counts.CACHE_REF), "references");
    assertEquals(2, Counts.ownRefs(word(2, 3, 4, 5) | Counts.FROZEN), "though it is frozen");
  }

  @Test
  void aFreeFrameIsFrozenAndStaysSoUnderManyLateLookups() {
    for (Kind kind : Kind.values()) {
      if (kind.isOnTrial()) {
        long late = Counts.FREE + THREADS * kind.unit;
        assertTrue(late < 0, kind::name);
        assertTrue(Counts.refs(late) < 0, kind::name);
        assertEquals(fields(THREADS * kind.unit), fields(late));
      }
    }
    // Thawing is an addition, and must give exactly what was asked for.
    assertEquals(0, Counts.FREE ^ Counts.FROZEN);
  }

  @Test
  void knowsWhetherTheCacheIsAlone() {
    assertTrue(Counts.isCachesAlone(Counts.CACHE_REF));
    assertTrue(Counts.isCachesAlone(Counts.LENT_CACHE_REF));
    assertTrue(Counts.isCachesAlone(Counts.CACHE_REF | Counts.WAITED));
    assertFalse(Counts.isCachesAlone(Counts.CACHE_REF | Counts.FROZEN));
    assertFalse(Counts.isCachesAlone(Counts.REF));
    for (Kind kind : Kind.values()) {
      assertFalse(Counts.isCachesAlone(Counts.CACHE_REF + kind.unit), kind::name);
    }
  }

  // ---- what a put looks for ----

  /** Counts as they may be: up to all that the threads of a process add on trial. */
  private static long random(SplittableRandom random) {
    return word(
            any(random, Counts.MAX_OWN),
            any(random, Counts.MAX_UNSAFE),
            any(random, Counts.MAX_ACCESSIBLE),
            any(random, Counts.MAX_SAFE))
        + (random.nextBoolean() ? Counts.CACHE_REF : 0)
        + (random.nextBoolean() ? Counts.LENT : 0)
        + (random.nextBoolean() ? Counts.WAITED : 0);
  }

  private static long any(SplittableRandom random, int max) {
    return switch (random.nextInt(4)) {
      case 0 -> random.nextInt(3);
      case 1 -> max - 1 + random.nextInt(3);
      case 2 -> max + 1 + random.nextLong(THREADS);
      default -> random.nextInt(max);
    };
  }

  private static boolean isAtLeast(long word, long unit) {
    return Counts.ownRefs(word) >= Counts.ownRefs(unit)
        && Counts.unsafe(word) >= Counts.unsafe(unit)
        && Counts.accessible(word) >= Counts.accessible(unit)
        && Counts.safe(word) >= Counts.safe(unit)
        && (Counts.isCached(word) || !Counts.isCached(unit));
  }

  /** It asks for its own fields and nothing else, whatever is in the others. */
  @Test
  void aPutAsksWhetherItsOwnFieldsAreLargeEnough() {
    SplittableRandom random = new SplittableRandom(1);
    for (int i = 0; i < 1_000_000; i++) {
      long word = random(random);
      for (Kind kind : Kind.values()) {
        boolean held = isAtLeast(word, kind.unit);
        assertEquals(held, Counts.has(word, kind.unit), () -> kind + " of " + fields(word));
        boolean still = isAtLeast(word, kind.unit & ~Counts.OWN_MASK);
        assertEquals(still, Counts.hasStill(word, kind.unit), () -> kind + " of " + fields(word));
        assertEquals(still, Counts.hasStill(word | Counts.FROZEN, kind.unit));
        assertFalse(Counts.has(word | Counts.FROZEN, kind.unit), "of a frozen frame");
        if (held) {
          long left = word - kind.unit;
          assertEquals(Counts.isCached(word), Counts.isCached(left));
          assertEquals(Counts.isLent(word), Counts.isLent(left));
          assertEquals(word & Counts.WAITED, left & Counts.WAITED);
        }
      }
      assertEquals(Counts.isCached(word), Counts.has(word, Counts.CACHE_REF));
      assertEquals(
          Counts.isCached(word) && Counts.isLent(word), Counts.has(word, Counts.LENT_CACHE_REF));
    }
  }

  // ---- limits ----

  /** What is added on trial by all threads stays in its field. */
  @Test
  void thereIsRoomAboveEveryLargestCount() {
    for (Kind kind : Kind.values()) {
      if (kind.isOnTrial()) {
        long full = kind.max * kind.unit;
        long over = full + THREADS * kind.unit;
        assertTrue(over > 0, kind::name);
        assertEquals(fields((kind.max + THREADS) * kind.unit), fields(over));
        for (long field : FIELDS) {
          if ((kind.unit & field) == 0) {
            assertEquals(0, over & field, () -> kind + " reaches " + Long.toHexString(field));
          }
        }
      }
    }
  }

  @Test
  void aGetAsksWhetherItsOwnFieldsAreTooLarge() {
    SplittableRandom random = new SplittableRandom(2);
    for (int i = 0; i < 1_000_000; i++) {
      long word = random(random);
      boolean own = Counts.ownRefs(word) > Counts.MAX_OWN;
      boolean unsafe = Counts.unsafe(word) > Counts.MAX_UNSAFE;
      boolean accessible = Counts.accessible(word) > Counts.MAX_ACCESSIBLE;
      boolean safe = Counts.safe(word) > Counts.MAX_SAFE;
      assertEquals(own, Counts.isTooMany(word, Counts.REF));
      assertEquals(Counts.ownRefs(word) > Counts.MAX_PINNED, Counts.isTooMany(word, Counts.PIN));
      assertEquals(unsafe, Counts.isTooMany(word, Counts.UNSAFE_REF));
      assertEquals(accessible, Counts.isTooMany(word, Counts.ACCESSIBLE_REF));
      assertEquals(safe, Counts.isTooMany(word, Counts.SAFE));
      assertEquals(own || safe, Counts.isTooMany(word, Counts.SAFE_REF));
      if (own || unsafe || accessible || safe) {
        assertFalse(Counts.isFarFromLimits(word), () -> fields(word));
      }
      assertFalse(Counts.isFarFromLimits(word | Counts.FROZEN));
    }
    assertTrue(Counts.isFarFromLimits(word(1000, 1000, 1000, 1000) + Counts.CACHE_REF));
  }

  /** The same, by the operations that count: at the limit of one kind all others are as ever. */
  @ParameterizedTest
  @EnumSource
  void theTableRefusesAStepTooFarAndChangesNothing(Kind full) {
    FrameTable frames = new FrameTable(1, IdleStrategy.spinThenPark());
    assertTrue(frames.reserve(1));
    FrameOwners.Owner owner = frames.newOwner(pfn -> {});
    int pfn = frames.allocate(owner);
    frames.thaw(pfn, Counts.LENT_CACHE_REF);
    for (int i = 0; i < full.max; i++) {
      assertTrue(frames.tryGet(pfn, full.unit));
    }
    long most = frames.counts(pfn);
    assertEquals(Counts.LENT_CACHE_REF + full.max * full.unit, most);
    for (int i = 0; i < 3; i++) {
      IllegalStateException e =
          assertThrows(IllegalStateException.class, () -> frames.tryGet(pfn, full.unit));
      assertTrue(e.getMessage().contains("too many references"), e::getMessage);
      assertEquals(most, frames.counts(pfn));
    }
    for (Kind other : Kind.values()) {
      long before = frames.counts(pfn);
      if (!Counts.isTooMany(before + other.unit, other.unit)) {
        assertTrue(frames.tryGet(pfn, other.unit), other::name);
        frames.put(pfn, other.unit);
      }
      assertEquals(before, frames.counts(pfn), other::name);
    }
    for (int i = 0; i < full.max; i++) {
      frames.put(pfn, full.unit);
    }
    assertThrows(IllegalStateException.class, () -> frames.put(pfn, full.unit));
    assertEquals(Counts.LENT_CACHE_REF, frames.counts(pfn));
    frames.put(pfn, Counts.LENT_CACHE_REF);
    assertEquals(0, frames.used());
  }

  @Test
  void aHolderIsMarkedAsSafeUpToTheLimitOnly() {
    FrameTable frames = new FrameTable(1, IdleStrategy.spinThenPark());
    assertTrue(frames.reserve(1));
    int pfn = frames.allocate(frames.newOwner(freed -> {}));
    frames.thaw(pfn, word(1, 0, 0, Counts.MAX_SAFE));
    long full = frames.counts(pfn);
    assertThrows(IllegalStateException.class, () -> frames.markSafe(pfn));
    assertEquals(full, frames.counts(pfn));
    frames.put(pfn, Counts.SAFE);
    frames.markSafe(pfn);
    assertEquals(full, frames.counts(pfn));
  }

  /** What a message says of references that are told apart from those known to be safe. */
  @Test
  void pinsAndPlainReferencesAreToldApart() {
    long word = word(2 * Counts.PIN_BIAS + 5, 3, 4, 6);
    assertEquals(2, Counts.pins(word, 0));
    assertEquals(2, Counts.pins(word, 5));
    assertEquals(1, Counts.pins(word, 6));
    assertEquals(0, Counts.pins(word, 3 * Counts.PIN_BIAS));
    assertEquals(5 + 3, Counts.plain(word, 0));
    assertEquals(1 + 3, Counts.plain(word, 4));
    assertEquals(3, Counts.plain(word, 5));
  }

  @Test
  void aFrameIsInUseUnlessItIsFrozenAndNotCached() {
    assertTrue(Counts.isInUse(0)); // its last holder is about to free it
    assertTrue(Counts.isInUse(Counts.REF));
    assertTrue(Counts.isInUse(Counts.FROZEN | Counts.CACHE_REF));
    assertFalse(Counts.isInUse(Counts.FREE));
  }

  @Test
  void saysWhatItCounts() {
    assertEquals("refs=9 safe=5 unsafe=3 accessible=4", Counts.toString(word(2, 3, 4, 5)));
    assertEquals("refs=0 safe=0 unsafe=0 accessible=0", Counts.toString(0));
    assertEquals("frozen safe=0 unsafe=0 accessible=0", Counts.toString(Counts.FREE));
    assertTrue(Counts.toString(Counts.REF | Counts.WAITED).endsWith(" waited"));
    assertTrue(Counts.toString(Counts.CACHE_REF).contains("refs=1"));
    assertTrue(Counts.toString(Counts.CACHE_REF).endsWith(" cached"));
    assertTrue(Counts.toString(Counts.LENT_CACHE_REF).endsWith(" cached lent"));
  }
}
