package io.github.guestmemfd.cache;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.fixtures.Announced;
import io.github.guestmemfd.fixtures.Duel;
import io.github.guestmemfd.fixtures.Meanwhile;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The sparse array against a plain model, and by two threads at once. */
@Timeout(300)
class SparseWordsTest {

  /** These bits make a word present; only single words are made so. */
  private static final long PRESENT = 0xff;

  private static final long ATTRIBUTES = 0xff00;

  private static final long FLAG = 1L << 40;

  /** All words that a subtree may be made of: three attributes, with the flag or without. */
  private static final long[] UNIFORM = {0, 0x100, 0x200, FLAG, FLAG | 0x100, FLAG | 0x200};

  /** Runs of equal words, by where they begin. */
  private static final class Model {
    private final long size;
    private final TreeMap<Long, Long> runs = new TreeMap<>();

    Model(long size, long initial) {
      this.size = size;
      runs.put(0L, initial);
    }

    long get(long index) {
      return runs.floorEntry(index).getValue();
    }

    private void split(long at) {
      if (at < size) {
        runs.putIfAbsent(at, get(at));
      }
    }

    void set(long index, long word) {
      split(index);
      split(index + 1);
      runs.put(index, word);
    }

    long update(long from, long to, SparseWords.Change change) {
      split(from);
      split(to);
      for (Map.Entry<Long, Long> run : runs.subMap(from, to).entrySet()) {
        long word = change.apply(run.getValue());
        if (word == SparseWords.Change.STOP) {
          return run.getKey();
        }
        run.setValue(word);
      }
      return to;
    }

    long next(long from, long to) {
      split(from);
      for (Map.Entry<Long, Long> run : runs.subMap(from, to).entrySet()) {
        if ((run.getValue() & PRESENT) != 0) {
          return run.getKey();
        }
      }
      return to;
    }
  }

  /** Indexes that lie near each other, near the ends, and near the borders of nodes. */
  private static long index(SplittableRandom random, long size) {
    long base =
        switch (random.nextInt(5)) {
          case 0 -> 0;
          case 1 -> size - 1;
          case 2 -> 1L << (9 * (1 + random.nextInt(5)));
          case 3 -> (size >>> 1) & ~511L;
          default -> random.nextLong(size);
        };
    return Math.floorMod(base + random.nextInt(-3, 4), size);
  }

  /** A walk meets what one search after the other finds. */
  private static void walk(Model model, SparseWords words, long from, long to, String step) {
    Folios walk = new Folios(words, from, to);
    for (long at = model.next(from, to); at < to; at = at + 1 == to ? to : model.next(at + 1, to)) {
      assertTrue(walk.next(), step);
      assertEquals(at, walk.index(), step);
      assertEquals(model.get(at), walk.slot(), step);
    }
    assertFalse(walk.next(), step);
    assertFalse(walk.next(), step);
  }

  @ParameterizedTest
  @ValueSource(longs = {1, 2, 511, 512, 513, 1 << 18, (1 << 18) + 1, 1L << 40, 1L << 51})
  void doesWhatThePlainModelDoes(long size) {
    for (int seed = 0; seed < 20; seed++) {
      SplittableRandom random = new SplittableRandom(seed);
      long initial = random.nextBoolean() ? 0 : 0x100;
      SparseWords words = new SparseWords(size, PRESENT, initial, UNIFORM);
      Model model = new Model(size, initial);
      for (int i = 0; i < 400; i++) {
        String step = "size " + size + " seed " + seed + " step " + i;
        long a = index(random, size);
        long b = index(random, size);
        long from = random.nextInt(8) == 0 ? 0 : Math.min(a, b);
        long to = random.nextInt(8) == 0 ? size : Math.max(a, b) + 1;
        switch (random.nextInt(7)) {
          case 0, 1 -> {
            long word = (model.get(a) & ~PRESENT) | random.nextInt(4);
            assertTrue(words.compareAndSet(a, model.get(a), word), step);
            model.set(a, word);
          }
          case 2 -> {
            assertFalse(words.compareAndSet(a, model.get(a) ^ 0x8000_0000L, 7), step);
          }
          case 3 -> {
            long attribute = (long) random.nextInt(3) << 8;
            SparseWords.Change set = word -> (word & ~ATTRIBUTES) | attribute;
            assertEquals(
                model.update(from, to, set),
                words.update(from, to, set, random.nextBoolean()),
                step);
          }
          case 4 -> {
            SparseWords.Change add = word -> word ^ FLAG;
            assertEquals(model.update(from, to, add), words.update(from, to, add, false), step);
          }
          case 5 -> {
            // Stops at the first of a kind, and changes what comes before.
            long kind = (long) random.nextInt(3) << 8;
            SparseWords.Change stop =
                word -> (word & ATTRIBUTES) == kind ? SparseWords.Change.STOP : word ^ FLAG;
            long stopped = model.update(from, to, stop);
            assertEquals(stopped, words.update(from, to, stop, false), step);
          }
          default -> {
            assertEquals(model.next(from, to), words.next(from, to), step);
            walk(model, words, from, to, step);
          }
        }
        assertEquals(model.get(a), words.get(a), step);
        assertEquals(model.get(b), words.get(b), step);
        assertEquals(model.get(from), words.get(from), step);
        assertEquals(model.get(to - 1), words.get(to - 1), step);
        if (to < size) {
          assertEquals(model.get(to), words.get(to), step);
        }
      }
      for (long start : model.runs.keySet()) {
        assertEquals(model.get(start), words.get(start));
        if (start > 0) {
          assertEquals(model.get(start - 1), words.get(start - 1));
        }
      }
      assertEquals(model.next(0, size), words.next(0, size));
    }
  }

  @Test
  void findsWhatIsPresentInOrder() {
    long size = 1L << 51;
    SparseWords words = new SparseWords(size, PRESENT, 0);
    long[] present = {0, 1, 511, 512, 513, 1 << 18, 1L << 36, (1L << 45) - 1, 1L << 45, size - 1};
    for (long index : present) {
      assertTrue(words.compareAndSet(index, 0, 1));
    }
    long at = 0;
    for (long index : present) {
      at = words.next(at, size);
      assertEquals(index, at);
      at++;
    }
    assertEquals(size, words.next(at, size));
    assertEquals(513, words.next(513, 514));
    assertEquals(515, words.next(514, 515), "the end, if there is none");
    assertEquals(7, words.next(7, 7), "an empty range");
    assertTrue(words.compareAndSet(512, 1, 0));
    assertEquals(513, words.next(512, size));
  }

  /** Whole subtrees change as one word; only the ends of a range are spread out. */
  @Test
  void uniformSubtreesCostNothing() {
    long size = 1L << 51;
    SparseWords words = new SparseWords(size, PRESENT, 0, 0x100);
    AtomicInteger changes = new AtomicInteger();
    SparseWords.Change turn =
        word -> {
          changes.incrementAndGet();
          return word ^ 0x100;
        };
    for (int i = 1; i <= 1001; i++) {
      assertEquals(size, words.update(0, size, turn, false));
    }
    assertEquals(0x100, words.get(0));
    assertEquals(0x100, words.get(size - 1));
    assertNull(words.leaf(0));
    assertNull(words.leaf(size - 1));
    assertTrue(changes.get() <= 1001 * 512, "one for each child of the root at most");
    changes.set(0);
    assertEquals(size - 1, words.update(1, size - 1, turn, false));
    assertNotNull(words.leaf(0));
    assertNotNull(words.leaf(size - 1));
    assertNull(words.leaf(512));
    assertNull(words.leaf(size / 2));
    assertTrue(changes.get() < 20 * 512, "two paths from the root to a leaf");
    assertEquals(0x100, words.get(0));
    assertEquals(0, words.get(1));
    assertEquals(0, words.get(size / 2));
    assertEquals(0x100, words.get(size - 1));
  }

  /** The last subtree is whole although the array ends inside it. */
  @Test
  void theLastSubtreeMayBeShort() {
    for (long size : new long[] {1, 513, (1 << 18) + 1, (1L << 50) + 1}) {
      SparseWords words = new SparseWords(size, PRESENT, 0, 0x100);
      assertEquals(size, words.update(0, size, word -> word | 0x100, false));
      assertEquals(0x100, words.get(size - 1));
      assertNull(words.leaf(size - 1), "size " + size);
    }
  }

  /** What a change makes of a subtree may differ from what it makes of a word. */
  @Test
  void subtreesChangeTheirOwnWay() {
    SparseWords words = new SparseWords(1 << 18, PRESENT, 0, 0x100);
    assertTrue(words.compareAndSet(3, 0, 1));
    SparseWords.Change change =
        new SparseWords.Change() {
          @Override
          public long apply(long word) {
            return (word | 0x100) + 0x10000;
          }

          @Override
          public long applyToAll(long word) {
            return word | 0x100;
          }
        };
    assertEquals(1 << 18, words.update(0, 1 << 18, change, true));
    assertEquals(0x10101, words.get(3));
    assertEquals(0x10100, words.get(4), "in the same leaf");
    assertEquals(0x100, words.get(512), "in a subtree");
    assertEquals(1 << 18, words.update(0, 1 << 18, change, true));
    assertEquals(0x20101, words.get(3));
    assertEquals(0x100, words.get(512));
    assertThrows(
        IllegalStateException.class,
        () -> words.update(0, 1 << 18, word -> word | 0x4000, false),
        "a word that no subtree was said to be made of");
  }

  /** A change that changes nothing, as a question is, makes nothing. */
  @Test
  void askingMakesNoNodes() {
    SparseWords words = new SparseWords(1L << 51, PRESENT, 0);
    assertEquals(1000, words.update(10, 1000, word -> word, false));
    assertEquals(10, words.update(10, 1000, word -> SparseWords.Change.STOP, false));
    assertEquals(1000, words.next(10, 1000));
    assertFalse(words.compareAndSet(10, 1, 2));
    assertNull(words.leaf(10));
  }

  // ---- another thread in between ----

  /** A subtree that gets a leaf while it changes as one is changed word by word. */
  @Test
  void aSubtreeIsNotChangedInVain() {
    SparseWords words = new SparseWords(1 << 18, PRESENT, 0, 0x100);
    Meanwhile.beforeWrite(
        3,
        () -> assertTrue(words.compareAndSet(1030, 0, 1)), // of the third subtree
        () -> assertEquals(1 << 18, words.update(0, 1 << 18, word -> word | 0x100, false)));
    assertEquals(0x101, words.get(1030));
    assertEquals(0x100, words.get(1031));
    assertEquals(0x100, words.get(600));
  }

  /** Words that other threads may write are replaced, and not stored. */
  @Test
  void aChangeOfAWordIsNotLost() {
    SparseWords words = new SparseWords(512, PRESENT, 0);
    assertTrue(words.compareAndSet(0, 0, 2));
    Meanwhile.beforeWrite(
        6,
        () -> assertTrue(words.compareAndSet(5, 0, 4)),
        () -> assertEquals(512, words.update(0, 512, word -> word | 1, false)));
    assertEquals(5, words.get(5));
    assertEquals(1, words.get(4));
  }

  /** As few nodes as can be lie above a word, and each is a step. */
  @Test
  void nodesAreAnnounced() {
    for (long size : new long[] {1, 1 << 18, (1 << 18) + 1, 1L << 27, (1L << 27) + 1}) {
      SparseWords words = new SparseWords(size, PRESENT, 0);
      int depth = size <= 1 << 18 ? 1 : size <= 1 << 27 ? 2 : 3;
      long last = size - 1;
      List<Announced.Access> made = // a node by a read and a write, and read again
          Announced.by(() -> assertTrue(words.compareAndSet(last, 0, 1)));
      assertEquals(depth * 3 + 1, made.size(), () -> size + ": " + made);
      assertEquals(depth + 1, made.stream().filter(Announced.Access::write).count());
      assertEquals(depth + 1, Announced.by(() -> words.get(last)).size(), "and the word");
    }
  }

  @Test
  void findsTheLeafOfAWord() {
    SparseWords words = new SparseWords(1000, PRESENT, 0);
    assertTrue(words.compareAndSet(600, 0, 1));
    long[] leaf = words.leaf(600);
    assertNotNull(leaf);
    assertEquals(1, SparseWords.getVolatile(leaf, 600));
    assertEquals(0, SparseWords.getVolatile(leaf, 601));
  }

  @Test
  void neighboursDoNotShareCacheLines() {
    Set<Integer> positions = new HashSet<>();
    for (int i = 0; i < 512; i++) {
      int position = SparseWords.position(i);
      assertTrue(position >= 0 && position < 512);
      assertTrue(positions.add(position), "two words in one place");
      assertEquals(position, SparseWords.position(i + 512L * 12345));
      if (i > 0) {
        int distance = Math.abs(position / 8 - SparseWords.position(i - 1) / 8);
        assertTrue(distance >= 2, "words " + (i - 1) + " and " + i);
      }
    }
  }

  /** Two threads make the same paths and count in the same words: no count is lost. */
  @Test
  @Tag("duel")
  void countsOfTwoThreadsAddUp() throws Exception {
    long size = 1L << 51;
    long[] indexes = {0, 1, 511, 512, 1L << 27, (1L << 36) + 5, size - 1};
    AtomicReference<SparseWords> words = new AtomicReference<>();
    Duel.Step count =
        round -> {
          for (long index : indexes) {
            for (; ; ) {
              long old = words.get().get(index);
              if (words.get().compareAndSet(index, old, old + 256)) {
                break;
              }
            }
          }
          return true;
        };
    Duel.rounds(
        () -> words.set(new SparseWords(size, PRESENT, 0x100)),
        count,
        count,
        () -> {
          for (long index : indexes) {
            assertEquals(0x300, words.get().get(index), "word " + index);
          }
          assertEquals(0x100, words.get().get(2));
        });
  }

  /** A range is changed while single words are: both changes are there in the end. */
  @Test
  @Tag("duel")
  void aRangeAgainstSingleWords() throws Exception {
    long size = 1L << 27;
    long[] indexes = {0, 700, 1 << 18, (1 << 18) + 1, size - 1};
    AtomicReference<SparseWords> words = new AtomicReference<>();
    Duel.rounds(
        () -> words.set(new SparseWords(size, PRESENT, 0, 0x1000)),
        round -> {
          assertEquals(size, words.get().update(0, size, word -> word | 0x1000, false));
          return true;
        },
        round -> {
          for (long index : indexes) {
            for (; ; ) {
              long old = words.get().get(index);
              if (words.get().compareAndSet(index, old, old | 1)) {
                break;
              }
            }
          }
          return true;
        },
        () -> {
          for (long index : indexes) {
            assertEquals(0x1001, words.get().get(index), "word " + index);
          }
          assertEquals(0x1000, words.get().get(1));
          assertEquals(0x1000, words.get().get(size / 2));
        });
  }

  /** The same in one leaf, from both ends, so that the threads meet in the middle. */
  @Test
  @Tag("duel")
  void aRangeAgainstSingleWordsOfALeaf() throws Exception {
    AtomicReference<SparseWords> words = new AtomicReference<>();
    Duel.rounds(
        () -> {
          words.set(new SparseWords(512, PRESENT, 0));
          assertTrue(words.get().compareAndSet(0, 0, 2));
        },
        round -> {
          assertEquals(512, words.get().update(0, 512, word -> word | 0x1000, false));
          return true;
        },
        round -> {
          for (int index = 511; index > 0; index--) {
            for (; ; ) {
              long old = words.get().get(index);
              if (words.get().compareAndSet(index, old, old | 2)) {
                break;
              }
            }
          }
          return true;
        },
        () -> {
          for (int index = 0; index < 512; index++) {
            assertEquals(0x1002, words.get().get(index), "word " + index);
          }
        });
  }

  /** Two overlapping ranges, each adding its own: nothing is counted twice, nothing is lost. */
  @Test
  @Tag("duel")
  void twoRanges() throws Exception {
    long size = 1L << 27;
    AtomicReference<SparseWords> words = new AtomicReference<>();
    long from = 1000;
    long to = size - 300;
    Duel.rounds(
        () -> words.set(new SparseWords(size, PRESENT, 0, 0x100, 0x10000, 0x10100)),
        round -> {
          words.get().update(0, to, word -> word + 0x100, false);
          return true;
        },
        round -> {
          words.get().update(from, size, word -> word + 0x10000, false);
          return true;
        },
        () -> {
          assertEquals(0x100, words.get().get(0));
          assertEquals(0x100, words.get().get(from - 1));
          assertEquals(0x10100, words.get().get(from));
          assertEquals(0x10100, words.get().get(size / 2));
          assertEquals(0x10100, words.get().get(to - 1));
          assertEquals(0x10000, words.get().get(to));
          assertEquals(0x10000, words.get().get(size - 1));
        });
  }
}
