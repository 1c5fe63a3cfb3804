package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.Random;
import java.util.function.IntUnaryOperator;
import org.junit.jupiter.api.Test;

/** The areas of a mapping, against an array that has the bits of each page. */
class AreasTest {
  private static final int PAGES = 7;
  private static final int NONE = Areas.UNMAPPED;
  private static final int RW = Areas.bits(true, true);
  private static final int R = Areas.bits(true, false);
  private static final int W = Areas.bits(false, true);
  private static final int MUTE = Areas.bits(false, false);

  /** Says of every page and range what the array says. */
  private static void assertLike(int[] bits, Areas areas) {
    String text = areas + " as " + Arrays.toString(bits);
    assertEquals(bits.length, areas.pages(), text);
    for (int page = 0; page < bits.length; page++) {
      assertEquals(bits[page], areas.at(page), text);
      assertEquals(end(bits, page), areas.end(page), text);
      assertEquals(bits[page] != NONE, areas.isMapped(page), text);
      assertEquals((bits[page] & Areas.READ) != 0, areas.isMadeForReading(page), text);
      for (boolean write : new boolean[] {false, true}) {
        assertEquals(allows(bits, page, page + 1, write), areas.allows(page, write), text);
        for (int to = page; to <= bits.length; to++) {
          assertEquals(allows(bits, page, to, write), areas.allows(page, to, write), text);
        }
      }
    }
    assertEquals(Arrays.stream(bits).allMatch(b -> b == NONE), areas.isEmpty(), text);
  }

  private static int end(int[] bits, int page) {
    int end = page;
    while (end < bits.length && bits[end] == bits[page]) {
      end++;
    }
    return end;
  }

  private static boolean allows(int[] bits, int from, int to, boolean write) {
    int needed = write ? Areas.WRITE : Areas.READ | Areas.WRITE;
    return Arrays.stream(bits, from, to).allMatch(b -> (b & needed) != 0);
  }

  @Test
  void changesAndParts() {
    Random random = new Random(13);
    int[] kinds = {NONE, MUTE, R, W, RW, RW | Areas.HUGEPAGE};
    int[] bits = new int[PAGES];
    Arrays.fill(bits, RW);
    Areas areas = Areas.of(PAGES, RW);
    for (int i = 0; i < 500; i++) {
      int from = random.nextInt(PAGES + 1);
      int to = from + random.nextInt(PAGES + 1 - from);
      int kind = kinds[random.nextInt(kinds.length)];
      IntUnaryOperator change = old -> old == NONE && kind == MUTE ? RW : kind;
      for (int page = from; page < to; page++) {
        bits[page] = change.applyAsInt(bits[page]);
      }
      areas = areas.with(from, to, change);
      assertLike(bits, areas);
      if (from < PAGES) {
        int length = 1 + random.nextInt(PAGES + 2);
        int[] part = new int[length]; // what lies past the end is not mapped
        System.arraycopy(bits, from, part, 0, Math.min(length, PAGES - from));
        assertLike(part, areas.from(from, length));
      }
    }
  }

  @Test
  void protectionKeepsTheOtherBits() {
    assertEquals(W | Areas.HUGEPAGE, Areas.protect(R | Areas.HUGEPAGE, false, true));
    assertEquals(MUTE, Areas.protect(RW, false, false));
    assertEquals(R, Areas.protect(W, true, false));
  }

  @Test
  void inWords() {
    Areas areas = Areas.of(4, RW);
    assertEquals("rw", areas.toString());
    assertEquals(
        "rw to 0x1000, -- with huge pages to 0x2000, rw to 0x4000",
        areas.with(1, 2, bits -> MUTE | Areas.HUGEPAGE).toString());
    assertEquals(
        "r- to 0x2000, unmapped to 0x4000",
        areas.with(0, 2, bits -> R).with(2, 4, bits -> NONE).toString());
    assertEquals("rw", areas.from(1, 3).toString());
    assertEquals("rw to 0x3000, unmapped to 0x4000", areas.from(1, 4).toString());
    assertEquals("-w", Areas.of(4, W).toString());
    assertTrue(areas.with(0, 4, bits -> NONE).isEmpty());
    assertFalse(areas.with(0, 3, bits -> NONE).isEmpty());
  }
}
