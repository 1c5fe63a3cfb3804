package io.github.guestmemfd.cache;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.SplittableRandom;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The loops over a leaf do to each slot what the change of one slot does. */
class SlotChangeTest {
  private static final int WORDS = 512;

  /** The same changes by the loop for all changes. */
  private static long one(SlotChange change, long[] leaf, long from, long to, boolean owned) {
    SparseWords.Change plain = slot -> change.apply(slot); // an object with the default loop
    return plain.applyToLeaf(leaf, from, to, owned);
  }

  @ParameterizedTest
  @EnumSource(SlotChange.class)
  void aLeafChangesAsItsSlotsDo(SlotChange change) {
    SplittableRandom random = new SplittableRandom(1);
    for (int round = 0; round < 2000; round++) {
      long[] leaf = new long[WORDS];
      long few = random.nextInt(3) == 0 ? random.nextLong() : -1L >>> 1; // most slots alike, or not
      for (int i = 0; i < WORDS; i++) {
        leaf[i] = random.nextInt(20) == 0 ? random.nextLong() & few : few & SlotWord.READY;
      }
      if (change != SlotChange.SET_BUSY && random.nextBoolean()) {
        for (int i = 0; i < WORDS; i++) {
          leaf[i] |= SlotWord.BUSY;
        }
      }
      long[] expected = leaf.clone();
      long from = random.nextInt(WORDS);
      long to = random.nextLong(from, WORDS + 1);
      boolean owned = change != SlotChange.SET_BUSY && random.nextBoolean();
      long base = (long) random.nextInt(5) * WORDS;
      long stopped = one(change, expected, base + from, base + to, owned);
      assertThat(change.applyToLeaf(leaf, base + from, base + to, owned)).isEqualTo(stopped);
      assertThat(leaf).isEqualTo(expected);
    }
  }
}
