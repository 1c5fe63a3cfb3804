package io.github.guestmemfd.kvm;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.fixtures.Announced;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;

/** Entries at the edges of nodes, and that every access to them is announced. */
class GuestPageTableTest {
  private static final int NODE = 512;
  private static final long PAGES = 3 * NODE + 1;

  private final GuestPageTable table = new GuestPageTable(PAGES);

  private static long entry(long page) {
    return TdpEntry.mapped(
        0, TdpEntry.ofFile((int) page + 1, MemoryAttribute.PRIVATE, false), true);
  }

  private List<Integer> updated(long from, long to) {
    List<Integer> pfns = new ArrayList<>();
    table.update(
        from,
        to,
        entry -> {
          pfns.add(TdpEntry.pfn(entry));
          return TdpEntry.zapped(entry);
        });
    return pfns;
  }

  @Test
  void aTableIsEmptyAtFirst() {
    assertEquals(0, table.get(0));
    assertEquals(0, table.get(PAGES - 1));
    assertEquals(List.of(), updated(0, PAGES));
  }

  @Test
  void everyPageHasAnEntryOfItsOwn() {
    LongStream.range(0, PAGES).forEach(page -> table.put(page, entry(page)));
    LongStream.range(0, PAGES).forEach(page -> assertEquals(entry(page), table.get(page)));
  }

  @Test
  void aPageWithoutAnEntryIsEmptyBesideOneWith() {
    table.put(NODE, entry(NODE));
    assertEquals(0, table.get(NODE - 1)); // there is no leaf
    assertEquals(0, table.get(NODE + 1)); // there is
    table.put(NODE + 1, entry(NODE + 1)); // in the same leaf
    assertEquals(entry(NODE), table.get(NODE));
  }

  /** No more and no less than the range, across nodes that are there and nodes that are not. */
  @Test
  void aRangeIsUpdated() {
    List<Long> pages = List.of(0L, 1L, NODE - 1L, 2L * NODE, 2L * NODE + 1, PAGES - 1);
    pages.forEach(page -> table.put(page, entry(page)));
    assertEquals(List.of(2, NODE, 2 * NODE + 1), updated(1, 2 * NODE + 1));
    assertFalse(TdpEntry.isZapped(table.get(0)));
    assertTrue(TdpEntry.isZapped(table.get(1)));
    assertTrue(TdpEntry.isZapped(table.get(2 * NODE)));
    assertFalse(TdpEntry.isZapped(table.get(2 * NODE + 1)));
    assertEquals(List.of((int) PAGES), updated(PAGES - 1, PAGES));
    assertEquals(List.of(), updated(NODE, NODE));
  }

  @Test
  void accessesAreAnnounced() {
    List<Announced.Access> put = Announced.by(() -> table.put(NODE + 3, entry(3)));
    Object root = put.get(2).owner();
    Object leaf = put.get(4).owner();
    assertEquals(
        List.of(
            Announced.read(table, 0),
            Announced.write(table, 0),
            Announced.read(root, 1),
            Announced.write(root, 1),
            Announced.write(leaf, 3)),
        put);
    assertEquals(
        List.of(Announced.read(table, 0), Announced.read(root, 1), Announced.read(leaf, 3)),
        Announced.by(() -> table.get(NODE + 3)));
  }

  @Test
  void aTableHasNoNodesBeyondItsPages() {
    GuestPageTable small = new GuestPageTable(NODE);
    assertThrows(IndexOutOfBoundsException.class, () -> small.put(NODE, entry(NODE)));
    small.put(NODE - 1, entry(NODE - 1));
    assertEquals(entry(NODE - 1), small.get(NODE - 1));
  }

  @Test
  void referencesOnFramesAreGivenBack() {
    long pages = 40;
    try (HostMemory host = HostMemory.metadataOnly(pages * Pages.SIZE);
        GuestMemfd memfd = GuestMemfd.builder(host).size(pages * Pages.SIZE).build()) {
      ZappedFrames frames = new ZappedFrames();
      for (long i = 0; i < pages; i++) {
        frames.add(memfd.tryGrab(i * Pages.SIZE, HolderKind.SAFE));
        assertEquals(1, memfd.holders(i * Pages.SIZE).safe());
      }
      frames.putAll(memfd);
      for (long i = 0; i < pages; i++) {
        assertEquals(0, memfd.holders(i * Pages.SIZE).safe());
      }
      frames.putAll(memfd); // there is none left
    }
  }
}
