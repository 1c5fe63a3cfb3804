package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.FolioHolders;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.fixtures.HostFixture;
import org.junit.jupiter.api.Test;

/** Who holds a folio. */
class HolderCountsTest extends HostFixture {

  @Test
  void aHoleHasNoHolders() {
    GuestMemfd memfd = file(2);
    memfd.allocate(0, PAGE);
    assertEquals(new FolioHolders(PAGE, 0, 0, 0, 0, 0, 0), memfd.holders(PAGE));
  }

  @Test
  void eachKindIsCounted() {
    GuestMemfd memfd = file(4);
    HostMapping window = map(memfd);
    HostMapping other = memfd.mmap(PAGE, 2L * PAGE, Protection.READ);
    HostMapping before = memfd.mmap(0, PAGE, Protection.READ);
    int pfn = write(memfd, PAGE, 1);
    write(memfd, 0, 1);
    assertEquals(new FolioHolders(PAGE, pfn, 0, 0, 0, 0, 0), memfd.holders(PAGE));
    before.getLong(0);
    assertEquals(0, memfd.holders(PAGE).mapped(), "another page");
    window.getLong(PAGE);
    assertEquals(1, memfd.holders(PAGE).mapped());
    other.getLong(0);
    try (Folio safe = memfd.grab(PAGE);
        Folio unsafe = memfd.grab(PAGE, HolderKind.UNSAFE);
        Folio accessible = memfd.grab(PAGE, HolderKind.ACCESSIBLE);
        HostReference plain = window.getUserPages(PAGE, PAGE);
        HostReference pinned = window.pin(PAGE, PAGE)) {
      assertEquals(pfn, safe.pfn());
      assertEquals(pfn, unsafe.pfn());
      assertEquals(pfn, accessible.pfn());
      assertEquals(2, plain.pages() + pinned.pages());
      assertEquals(new FolioHolders(PAGE, pfn, 2, 2, 1, 1, 1), memfd.holders(PAGE));
    }
    other.close();
    before.close();
    assertEquals(new FolioHolders(PAGE, pfn, 1, 0, 0, 0, 0), memfd.holders(PAGE));
    memfd.punchHole(PAGE, PAGE);
    other = memfd.mmap(2L * PAGE, PAGE, Protection.READ);
    other.getLong(0);
    assertEquals(0, memfd.holders(PAGE).mapped());
    assertEquals(1, memfd.holders(2L * PAGE).mapped());
    other.close();
  }
}
