package io.github.guestmemfd.memory;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.fixtures.Announced;
import io.github.guestmemfd.fixtures.Duel;
import io.github.guestmemfd.fixtures.Meanwhile;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Where the words of frames are. */
@Timeout(300)
class FrameWordsTest extends FrameFixture {

  @Test
  void aFrameThatWasNeverUsedIsNamed() {
    FrameTable frames = table(10_000);
    IllegalStateException e =
        assertThrows(IllegalStateException.class, () -> frames.put(9_999, Counts.REF));
    assertTrue(e.getMessage().contains("9999"), e.getMessage());
  }

  @Test
  void sizesAreChecked() {
    assertThrows(IllegalArgumentException.class, () -> table(0));
    assertThrows(IllegalArgumentException.class, () -> table(-1));
    assertEquals(3, table(3).limit());
  }

  @Test
  void theLargestHostHasWords() {
    assertEquals(FrameWords.MAX_FRAMES, table(FrameWords.MAX_FRAMES).limit());
    assertThrows(IllegalArgumentException.class, () -> table(FrameWords.MAX_FRAMES + 1));
  }

  /** A state word that changes between the look and the change is looked at again. */
  @Test
  void aWordIsReplacedOnlyIfItIsAsExpected() {
    FrameTable frames = table(1);
    int pfn = live(frames, owner(frames), Counts.REF);
    long word = frames.state(pfn);
    assertTrue(frames.casState(pfn, word, word | FrameState.LOCKED));
    assertFalse(frames.casState(pfn, word, word));
    assertTrue(FrameState.isLocked(frames.state(pfn)));
    frames.clearState(pfn, FrameState.LOCKED);
    Meanwhile.beforeWrite(
        1,
        () -> assertTrue(frames.tryLock(pfn)),
        () -> assertFalse(frames.tryLock(pfn), "another thread was faster"));
    frames.unlock(pfn);
  }

  @Test
  void chunksAreAnnounced() {
    FrameWords words = new FrameWords(5000);
    List<Announced.Access> made = Announced.by(() -> words.makeChunk(4096));
    Object states = made.get(0).owner();
    Object counts = made.get(1).owner();
    assertNotSame(states, counts);
    assertEquals(
        List.of(Announced.read(states, 1), Announced.write(counts, 1), Announced.write(states, 1)),
        made);
    assertEquals(
        List.of(Announced.read(states, 0)), Announced.by(() -> assertFalse(words.isMade(4095))));
    assertEquals(
        List.of(Announced.read(states, 1)), Announced.by(() -> assertTrue(words.isMade(5000))));
  }

  /** Every frame of a chunk has a place of its own; neighbours stand 128 bytes apart. */
  @Test
  void neighboursDoNotShareCacheLines() {
    Set<Integer> positions = new HashSet<>();
    for (int pfn = 0; pfn < 4096; pfn++) {
      int position = FrameTable.position(pfn);
      assertTrue(position >= 0 && position < 4096);
      assertTrue(positions.add(position), "two frames in one place");
      if ((pfn & 511) != 511) {
        assertTrue(
            Math.abs(FrameTable.position(pfn + 1) / 8 - position / 8) >= 2,
            "frames " + pfn + " and " + (pfn + 1));
      }
    }
  }

  /** Two threads unfreeze and look up frames in fresh chunks: each sees its own, whole. */
  @Test
  @Tag("duel")
  void chunksAreMadeOnce() throws Exception {
    int limit = 3 * 4096;
    AtomicInteger allocated = new AtomicInteger();
    FrameTable[] frames = new FrameTable[1];
    FrameOwners.Owner[] owner = new FrameOwners.Owner[1];
    Duel.Step fill =
        round -> {
          for (int i = 0; i < limit / 2; i++) {
            int pfn = live(frames[0], owner[0], Counts.REF);
            assertEquals(1, Counts.refs(frames[0].counts(pfn)), "frame " + pfn);
            allocated.incrementAndGet();
          }
          return true;
        };
    Duel.rounds(
        () -> {
          frames[0] = table(limit);
          owner[0] = owner(frames[0]);
          allocated.set(0);
        },
        fill,
        fill,
        () -> {
          assertEquals(limit, allocated.get());
          for (int pfn = 1; pfn <= limit; pfn++) {
            assertEquals(1, Counts.refs(frames[0].counts(pfn)), "frame " + pfn);
          }
        });
  }
}
