package io.github.guestmemfd.memory;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.fixtures.Announced;
import io.github.guestmemfd.fixtures.Duel;
import io.github.guestmemfd.fixtures.Meanwhile;
import io.github.guestmemfd.fixtures.WaitProbe;
import io.github.guestmemfd.fixtures.Worker;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.LongStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** References, and the end of a frame. */
@Timeout(300)
class FrameCountsTest extends FrameFixture {

  /** What a frame outside a page cache can be taken with. */
  static LongStream units() {
    return LongStream.of(
        Counts.REF, Counts.UNSAFE_REF, Counts.ACCESSIBLE_REF, Counts.SAFE_REF, Counts.PIN);
  }

  // ---- sticky zero ----

  /** A lookup that races the last put gets a live frame or none; the frame is freed once. */
  @Test
  @Tag("duel")
  void theLastPutAgainstALookup() throws Exception {
    FrameTable frames = table(1);
    FrameOwners.Owner owner = owner(frames);
    AtomicInteger pfn = new AtomicInteger();
    Duel.rounds(
        () -> {
          freed.set(0);
          pfn.set(live(frames, owner, Counts.REF));
        },
        round -> {
          frames.put(pfn.get(), Counts.REF);
          return true;
        },
        round -> {
          if (frames.tryGet(pfn.get(), Counts.SAFE_REF)) {
            assertEquals(0, freed.get(), "freed while it is held");
            frames.put(pfn.get(), Counts.SAFE_REF);
          }
          return true;
        },
        () -> {
          assertEquals(1, freed.get(), "times freed");
          assertEquals(0, frames.used());
          assertEquals(Counts.FREE, frames.counts(pfn.get()));
        });
  }

  /** Two late lookups against the last put, and against each other. */
  @Test
  @Tag("duel")
  void twoLookupsOfAFrameThatDies() throws Exception {
    FrameTable frames = table(1);
    FrameOwners.Owner owner = owner(frames);
    AtomicInteger pfn = new AtomicInteger();
    Duel.Step getAndPut =
        round -> {
          for (int i = 0; i < 3; i++) {
            if (frames.tryGet(pfn.get(), Counts.REF)) {
              frames.put(pfn.get(), Counts.REF);
            }
          }
          return true;
        };
    Duel.rounds(
        () -> {
          freed.set(0);
          pfn.set(live(frames, owner, Counts.REF));
        },
        round -> {
          frames.put(pfn.get(), Counts.REF);
          return getAndPut.run(round);
        },
        getAndPut,
        () -> {
          assertEquals(1, freed.get(), "times freed");
          assertEquals(Counts.FREE, frames.counts(pfn.get()));
        });
  }

  /** Lookups with a stale number while the frame lives many lives. */
  @Test
  @Tag("duel")
  void aStaleNumberAgainstAFrameThatIsUsedAgainAndAgain() throws Exception {
    FrameTable frames = table(1);
    FrameOwners.Owner owner = owner(frames);
    int pfn = live(frames, owner, Counts.REF);
    frames.put(pfn, Counts.REF);
    AtomicLong lives = new AtomicLong();
    freed.set(0);
    Duel.race(
        round -> {
          if (frames.reserve(1)) { // not while the late lookup has the frame's life prolonged
            assertEquals(pfn, frames.allocate(owner));
            frames.thaw(pfn, Counts.REF);
            lives.incrementAndGet();
            frames.put(pfn, Counts.REF);
          }
          return true;
        },
        round -> {
          if (frames.tryGet(pfn, Counts.REF)) {
            assertTrue(Counts.refs(frames.counts(pfn)) > 0);
            frames.put(pfn, Counts.REF);
            return true;
          }
          return false;
        });
    assertEquals(lives.get(), freed.get());
    assertEquals(Counts.FREE, frames.counts(pfn));
    assertEquals(0, frames.used());
  }

  @Test
  void aFrozenFrameGivesNoReference() {
    FrameTable frames = table(2);
    FrameOwners.Owner owner = owner(frames);
    int pfn = live(frames, owner, Counts.REF);
    frames.put(pfn, Counts.REF);
    for (long unit : units().toArray()) {
      assertFalse(frames.tryGet(pfn, unit));
      assertEquals(Counts.FREE, frames.counts(pfn));
    }
    assertTrue(frames.reserve(1));
    assertEquals(pfn, frames.allocate(owner));
    assertFalse(frames.tryGet(pfn, Counts.REF), "allocated, not yet thawed");
    frames.discard(pfn, owner, 0);
    assertEquals(1, freed.get(), "a frame that was discarded is not reported");
    assertEquals(0, frames.used());
  }

  // ---- misuse ----

  @ParameterizedTest
  @MethodSource("units")
  void aDoublePutIsLoudAndHarmless(long unit) {
    FrameTable frames = table(2);
    FrameOwners.Owner owner = owner(frames);
    int pfn = live(frames, owner, unit);
    frames.put(pfn, unit);
    assertEquals(1, freed.get());
    IllegalStateException e =
        assertThrows(IllegalStateException.class, () -> frames.put(pfn, unit));
    assertTrue(e.getMessage().contains("frame " + pfn), e.getMessage());
    assertEquals(1, freed.get());
    assertEquals(Counts.FREE, frames.counts(pfn));
    assertEquals(0, frames.used());
    int again = live(frames, owner, Counts.REF);
    assertEquals(pfn, again, "one frame on the free list, once");
    int other = live(frames, owner, Counts.REF);
    assertTrue(other != pfn);
    frames.put(again, Counts.REF);
    frames.put(other, Counts.REF);
  }

  /** Units that callers name when they put: of each only its own kind may be dropped. */
  private static long[] named() {
    return new long[] {Counts.UNSAFE_REF, Counts.ACCESSIBLE_REF, Counts.SAFE_REF};
  }

  static Stream<Arguments> pairs() {
    return LongStream.of(named())
        .boxed()
        .flatMap(
            held ->
                LongStream.of(named())
                    .filter(put -> put != held)
                    .mapToObj(put -> Arguments.of(held, put)));
  }

  /** Another holder's reference is the last one, and of another kind. */
  @ParameterizedTest
  @MethodSource("pairs")
  void aPutOfAnotherKindDropsNothing(long held, long put) {
    FrameTable frames = table(1);
    FrameOwners.Owner owner = owner(frames);
    int pfn = live(frames, owner, held);
    for (long others : new long[] {0, Counts.REF, Counts.PIN}) {
      if (others != 0) {
        assertTrue(frames.tryGet(pfn, others));
      }
      long before = frames.counts(pfn);
      assertThrows(IllegalStateException.class, () -> frames.put(pfn, put));
      assertEquals(before, frames.counts(pfn));
    }
    frames.put(pfn, Counts.PIN);
    frames.put(pfn, Counts.REF);
    frames.put(pfn, held);
    assertEquals(1, freed.get());
    assertEquals(0, frames.used());
  }

  /** A frame lives for as long as there is a holder, even one that has dropped its reference. */
  @Test
  void aSafeHolderWithoutItsReferenceIsAHolder() {
    FrameTable frames = table(1);
    FrameOwners.Owner owner = owner(frames);
    int pfn = live(frames, owner, Counts.REF);
    frames.markSafe(pfn);
    frames.put(pfn, Counts.REF);
    assertEquals(0, freed.get());
    frames.put(pfn, Counts.SAFE);
    assertEquals(1, freed.get());
    assertEquals(Counts.FREE, frames.counts(pfn));
  }

  /** One that takes no reference comes only where the page cache lends its own, and stays. */
  @Test
  void aSafeHolderWithoutAReferenceKeepsTheFrame() {
    FrameTable frames = table(2);
    FrameOwners.Owner owner = owner(frames);
    int other = live(frames, owner, Counts.CACHE_REF);
    assertFalse(frames.tryGet(other, Counts.SAFE), "holders have references there");
    assertEquals(Counts.CACHE_REF, frames.counts(other));
    int pfn = live(frames, owner, Counts.LENT_CACHE_REF);
    assertTrue(frames.tryGet(pfn, Counts.SAFE));
    frames.put(pfn, Counts.LENT_CACHE_REF);
    assertEquals(0, freed.get());
    assertFalse(frames.tryGet(pfn, Counts.SAFE), "it has left its page cache");
    assertEquals(Counts.SAFE, frames.counts(pfn));
    frames.put(pfn, Counts.SAFE);
    assertEquals(1, freed.get());
    assertFalse(frames.tryGet(pfn, Counts.SAFE), "it is free");
    frames.put(other, Counts.CACHE_REF);
  }

  /** A put without a get takes what a lookup is about to take back: that has nothing left to do. */
  @ParameterizedTest
  @ValueSource(longs = {Counts.UNSAFE_REF, Counts.ACCESSIBLE_REF, Counts.SAFE_REF, Counts.SAFE, 0})
  void aLookupIsUndoneThoughAnotherHasDroppedItsReference(long kind) {
    boolean dies = kind == 0; // with it
    long unit = dies ? Counts.UNSAFE_REF : kind;
    FrameTable frames = table(1);
    FrameOwners.Owner owner = owner(frames);
    int pfn = live(frames, owner, Counts.LENT_CACHE_REF);
    long before = frames.counts(pfn);
    assertTrue(frames.tryGet(pfn, unit));
    if (dies) {
      frames.put(pfn, Counts.LENT_CACHE_REF);
      before = Counts.FREE;
    }
    frames.put(pfn, unit); // by mistake
    assertEquals(before, frames.counts(pfn));
    frames.undoGet(pfn, unit);
    assertEquals(before, frames.counts(pfn));
    assertEquals(dies ? 1 : 0, freed.get());
  }

  @Test
  void thereIsASafeHolderOrNot() {
    FrameTable frames = table(1);
    int pfn = live(frames, owner(frames), Counts.CACHE_REF + Counts.REF);
    assertThrows(IllegalStateException.class, () -> frames.requireSafe(pfn));
    frames.markSafe(pfn);
    frames.requireSafe(pfn);
    frames.put(pfn, Counts.SAFE);
    frames.put(pfn, Counts.REF);
    frames.put(pfn, Counts.CACHE_REF);
    assertThrows(IllegalStateException.class, () -> frames.requireSafe(pfn));
  }

  // ---- at the limit of one kind ----

  private static int full(FrameTable frames, FrameOwners.Owner owner, long unit) {
    int pfn = live(frames, owner, Counts.CACHE_REF);
    try {
      for (; ; ) {
        assertTrue(frames.tryGet(pfn, unit));
      }
    } catch (IllegalStateException e) {
      return pfn;
    }
  }

  /** What others have added past every limit, and not taken back yet, is in no one's way. */
  @Test
  void holdersLetGoWhileRefusedGetsAreToBeTakenBack() {
    FrameTable frames = table(1);
    int pfn = live(frames, owner(frames), Counts.CACHE_REF);
    long full =
        Counts.MAX_OWN / 2 * Counts.REF
            + Counts.MAX_UNSAFE * Counts.UNSAFE_REF
            + Counts.MAX_ACCESSIBLE * Counts.ACCESSIBLE_REF
            + Counts.MAX_SAFE * Counts.SAFE_REF;
    for (int refused = 1; refused <= 3; refused++) {
      long onTrial = refused * (Counts.UNSAFE_REF + Counts.ACCESSIBLE_REF + Counts.SAFE_REF);
      frames.thaw(pfn, Counts.FROZEN + full + onTrial); // so it stands while they are at it
      long before = frames.counts(pfn);
      for (long unit : units().toArray()) {
        frames.put(pfn, unit);
        assertEquals(before - unit, frames.counts(pfn));
        frames.thaw(pfn, Counts.FROZEN + unit); // back again
      }
      for (long unit : new long[] {Counts.REF, Counts.PIN}) {
        assertTrue(frames.tryGet(pfn, unit));
        frames.put(pfn, unit);
      }
      for (long unit : named()) {
        assertThrows(IllegalStateException.class, () -> frames.tryGet(pfn, unit));
        assertEquals(before, frames.counts(pfn));
      }
      frames.thaw(pfn, Counts.FROZEN - full - onTrial);
    }
    assertEquals(Counts.CACHE_REF, frames.counts(pfn));
    frames.put(pfn, Counts.CACHE_REF);
  }

  /** Gets that are refused at the limit, against what holders of every kind do. */
  @ParameterizedTest
  @Tag("duel")
  @ValueSource(longs = {Counts.UNSAFE_REF, Counts.SAFE_REF, Counts.PIN})
  void refusedGetsDisturbNobody(long full) throws Exception {
    FrameTable frames = table(1);
    int pfn = full(frames, owner(frames), full);
    long[] others = LongStream.of(units().toArray()).filter(unit -> !share(unit, full)).toArray();
    long before = frames.counts(pfn);
    Duel.race(
        round -> {
          for (long other : others) {
            assertTrue(frames.tryGet(pfn, other));
            frames.put(pfn, other);
          }
          frames.put(pfn, full); // one of the many lets go
          for (; ; ) { // and comes again: that may be refused while others are
            try {
              assertTrue(frames.tryGet(pfn, full));
              return true;
            } catch (IllegalStateException e) {
              Thread.onSpinWait();
            }
          }
        },
        round -> {
          try {
            frames.tryGet(pfn, full); // it may get what has just been let go
            frames.put(pfn, full);
            return true;
          } catch (IllegalStateException e) {
            assertTrue(e.getMessage().contains("too many references"), e::getMessage);
            return false;
          }
        });
    assertEquals(before, frames.counts(pfn));
  }

  private static boolean share(long unit, long other) {
    return LongStream.of(
            Counts.OWN_MASK, Counts.UNSAFE_MASK, Counts.ACCESSIBLE_MASK, Counts.SAFE_MASK)
        .anyMatch(field -> (unit & field) != 0 && (other & field) != 0);
  }

  /** Marking a reference as safe, refused at the limit, against puts of the others. */
  @Test
  @Tag("duel")
  void refusedMarksDisturbNobody() throws Exception {
    FrameTable frames = table(1);
    int pfn = full(frames, owner(frames), Counts.SAFE_REF);
    assertTrue(frames.tryGet(pfn, Counts.REF));
    long before = frames.counts(pfn);
    Duel.race(
        round -> {
          for (long other : new long[] {Counts.REF, Counts.UNSAFE_REF, Counts.ACCESSIBLE_REF}) {
            assertTrue(frames.tryGet(pfn, other));
            frames.put(pfn, other);
          }
          return true;
        },
        round -> {
          assertThrows(IllegalStateException.class, () -> frames.markSafe(pfn));
          return true;
        });
    assertEquals(before, frames.counts(pfn));
  }

  /** Only the page cache may drop its reference. */
  @Test
  void aPutOfThePageCachesReferenceIsLoudAndHarmless() {
    FrameTable frames = table(1);
    FrameOwners.Owner owner = owner(frames);
    int pfn = live(frames, owner, Counts.CACHE_REF);
    long before = frames.counts(pfn);
    for (long unit : units().toArray()) {
      assertThrows(IllegalStateException.class, () -> frames.put(pfn, unit));
      assertEquals(before, frames.counts(pfn));
    }
    assertEquals(0, freed.get());
    frames.put(pfn, Counts.CACHE_REF);
    assertEquals(1, freed.get());
    assertEquals(0, frames.used());
  }

  /** A wrong put against the right one: the frame is freed, and once. */
  @ParameterizedTest
  @Tag("duel")
  @ValueSource(longs = {Counts.UNSAFE_REF, Counts.ACCESSIBLE_REF, Counts.SAFE_REF})
  void aWrongPutAgainstTheLastPut(long held) throws Exception {
    FrameTable frames = table(1);
    FrameOwners.Owner owner = owner(frames);
    AtomicInteger pfn = new AtomicInteger();
    Duel.rounds(
        () -> {
          freed.set(0);
          pfn.set(live(frames, owner, held));
        },
        round -> {
          frames.put(pfn.get(), held);
          return true;
        },
        round -> {
          for (long put : named()) {
            if (put != held) {
              assertThrows(IllegalStateException.class, () -> frames.put(pfn.get(), put));
            }
          }
          return true;
        },
        () -> {
          assertEquals(1, freed.get(), "times freed");
          assertEquals(Counts.FREE, frames.counts(pfn.get()));
          assertEquals(0, frames.used());
        });
  }

  // ---- one thread, step by step ----

  @Test
  void aSafeHolderWithoutAReferenceNeedsALentFrame() {
    FrameTable frames = table(2);
    FrameOwners.Owner owner = owner(frames);
    int cached = live(frames, owner, Counts.CACHE_REF);
    assertFalse(frames.tryGet(cached, Counts.SAFE));
    assertEquals(Counts.CACHE_REF, frames.counts(cached));
    int lent = live(frames, owner, Counts.LENT_CACHE_REF);
    assertTrue(frames.tryGet(lent, Counts.SAFE));
    assertEquals(Counts.LENT_CACHE_REF + Counts.SAFE, frames.counts(lent));
  }

  /** A get that is undone may be the last holder by then. */
  @Test
  void theLastUndoFreesTheFrame() {
    FrameTable frames = table(1);
    int pfn = live(frames, owner(frames), Counts.REF);
    assertTrue(frames.tryGet(pfn, Counts.UNSAFE_REF));
    frames.undoGet(pfn, Counts.UNSAFE_REF);
    assertEquals(Counts.REF, frames.counts(pfn));
    assertTrue(frames.tryGet(pfn, Counts.UNSAFE_REF));
    frames.put(pfn, Counts.REF);
    assertEquals(0, freed.get());
    frames.undoGet(pfn, Counts.UNSAFE_REF);
    assertEquals(1, freed.get());
    assertEquals(0, frames.used());
    assertFalse(frames.isInUse(pfn));
  }

  @Test
  void aFrameThatTheCacheAloneHoldsCanBeFrozen() {
    FrameTable frames = table(1);
    int pfn = live(frames, owner(frames), Counts.CACHE_REF);
    assertFalse(frames.freeze(pfn, counts -> false));
    assertFalse(frames.isFrozen(pfn));
    assertTrue(frames.tryGet(pfn, Counts.REF));
    assertFalse(frames.freeze(pfn, counts -> true));
    frames.put(pfn, Counts.REF);
    assertTrue(frames.freeze(pfn, counts -> counts == Counts.CACHE_REF));
    assertTrue(frames.isFrozen(pfn));
    assertTrue(frames.isInUse(pfn));
    assertFalse(frames.tryGet(pfn, Counts.REF));
    frames.unfreeze(pfn);
    assertEquals(Counts.CACHE_REF, frames.counts(pfn));
    assertFalse(frames.isFrozen(pfn));
  }

  @Test
  void aWatcherHearsOfPutsAndOfMarks() {
    FrameTable frames = table(1);
    int pfn = live(frames, owner(frames), Counts.CACHE_REF + 2 * Counts.REF);
    AtomicInteger heard = new AtomicInteger();
    frames.markSafe(pfn);
    frames.put(pfn, Counts.SAFE);
    assertFalse(frames.isWatched(pfn));
    frames.watch(pfn, heard::incrementAndGet);
    assertTrue(frames.isWatched(pfn));
    frames.put(pfn, Counts.REF);
    assertEquals(1, heard.get());
    frames.markSafe(pfn);
    assertEquals(2, heard.get());
    frames.unwatch(pfn);
    assertFalse(frames.isWatched(pfn));
    frames.put(pfn, Counts.SAFE_REF);
    assertEquals(2, heard.get());
    assertEquals(Counts.CACHE_REF, frames.counts(pfn));
  }

  @Test
  void aWaitForCountsAnswersWhetherTheyCame() throws Exception {
    FrameTable frames = table(1);
    int pfn = live(frames, owner(frames), Counts.CACHE_REF);
    assertTrue(frames.awaitCounts(pfn, counts -> true, 0));
    assertFalse(frames.awaitCounts(pfn, counts -> false, 0));
    assertEquals(Counts.CACHE_REF, frames.counts(pfn));
  }

  /** The idle strategy stands still until it is woken: a put must wake it. */
  @Test
  void aPutWakesAWaitForCounts() throws Exception {
    WaitProbe probe = new WaitProbe();
    FrameTable frames = new FrameTable(1, probe);
    int pfn = live(frames, owner(frames), Counts.CACHE_REF + Counts.REF);
    Worker<Boolean> waiter =
        Worker.start(
            () -> frames.awaitCounts(pfn, Counts::isCachesAlone, TimeUnit.HOURS.toNanos(1)));
    probe.awaitWaiting(waiter);
    frames.put(pfn, Counts.REF);
    assertTrue(waiter.result());
  }

  // ---- another thread in between ----

  /** The last holder is not the last any more when it lets go. */
  @Test
  void theLastPutThatAnotherComesBefore() {
    FrameTable frames = table(1);
    int pfn = live(frames, owner(frames), Counts.REF);
    Meanwhile.beforeWrite(
        1, () -> assertTrue(frames.tryGet(pfn, Counts.REF)), () -> frames.put(pfn, Counts.REF));
    assertEquals(Counts.REF, frames.counts(pfn));
    frames.put(pfn, Counts.REF);
    assertEquals(0, frames.used());
  }

  /** Counts that change between the look and the change are looked at again. */
  @Test
  void aPutIsNotLostToAnotherThread() {
    FrameTable frames = table(1);
    int pfn = live(frames, owner(frames), Counts.CACHE_REF + Counts.REF);
    Runnable get = () -> assertTrue(frames.tryGet(pfn, Counts.UNSAFE_REF));
    Meanwhile.beforeWrite(1, get, () -> frames.put(pfn, Counts.REF));
    assertEquals(Counts.CACHE_REF + Counts.UNSAFE_REF, frames.counts(pfn));
    Meanwhile.beforeWrite(1, get, () -> frames.undoGet(pfn, Counts.UNSAFE_REF));
    assertEquals(Counts.CACHE_REF + Counts.UNSAFE_REF, frames.counts(pfn));
    Runnable put = () -> frames.put(pfn, Counts.UNSAFE_REF);
    Meanwhile.beforeWrite(
        1,
        put,
        () -> assertThrows(IllegalStateException.class, () -> frames.put(pfn, Counts.UNSAFE_REF)));
    assertEquals(Counts.CACHE_REF, frames.counts(pfn));
  }

  /**
   * The counts are not read before a reference is taken, but for units that must not be on trial.
   */
  @Test
  void aGetIsOneStep() {
    FrameTable frames = table(1);
    int pfn = live(frames, owner(frames), Counts.LENT_CACHE_REF);
    long[] words = frames.counters(pfn);
    Announced.Access read = Announced.read(words, FrameWords.position(pfn));
    Announced.Access write = Announced.write(words, FrameWords.position(pfn));
    for (long unit : named()) {
      assertEquals(List.of(write), Announced.by(() -> assertTrue(frames.tryGet(pfn, unit))));
    }
    for (long unit : new long[] {Counts.SAFE, Counts.PIN}) {
      assertEquals(List.of(read, write), Announced.by(() -> assertTrue(frames.tryGet(pfn, unit))));
    }
  }

  /** Only counts that are marked send a thread to look for those who wait. */
  @Test
  void noWaiterIsLookedForWithoutAMark() {
    FrameTable frames = table(1);
    int pfn = live(frames, owner(frames), Counts.CACHE_REF + Counts.REF);
    long[] words = frames.counters(pfn);
    Announced.Access read = Announced.read(words, FrameWords.position(pfn));
    Announced.Access write = Announced.write(words, FrameWords.position(pfn));
    assertEquals(List.of(write), Announced.by(() -> frames.markSafe(pfn)));
    assertEquals(List.of(read, write), Announced.by(() -> frames.put(pfn, Counts.SAFE)));
  }
}
