package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.Insides;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.cache.PageTable;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.ForwardingProtocol;
import io.github.guestmemfd.fixtures.HostFixture;
import io.github.guestmemfd.fixtures.Meanwhile;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** What is done on advice, and which advice is refused. */
class MadviseTest extends HostFixture {

  private static boolean isMapped(HostMapping window, long page) {
    return PageTable.pfn(Insides.entry(window, page)) != 0;
  }

  private static void assertMapped(String pages, HostMapping window) {
    StringBuilder mapped = new StringBuilder();
    for (int page = 0; page < pages.length(); page++) {
      mapped.append(isMapped(window, page) ? 'x' : '.');
    }
    assertEquals(pages, mapped.toString());
  }

  private static GuestMemfdException refused(
      Errno errno, HostMapping window, long offset, long length, Advice advice, String why) {
    GuestMemfdException e = refused(errno, () -> window.madvise(offset, length, advice));
    assertTrue(e.getMessage().contains(why), e::getMessage);
    return e;
  }

  @Test
  void pagesOfTheRangeAreMappedAndUnmapped() {
    GuestMemfd memfd = file(6);
    HostMapping window = map(memfd);
    window.madvise(PAGE, 2 * PAGE, Advice.POPULATE_READ);
    assertMapped(".xx...", window);
    window.madvise(2 * PAGE, 2 * PAGE + 1, Advice.POPULATE_WRITE);
    assertMapped(".xxxx.", window);
    assertEquals(4, memfd.cachedPages());
    window.putLong(2 * PAGE, 42);
    window.madvise(PAGE, 2 * PAGE - 1, Advice.DONTNEED);
    assertMapped("...xx.", window);
    assertEquals(0, memfd.holders(PAGE).mapped(), "nor is it held");
    assertEquals(4, memfd.cachedPages(), "the folios stay");
    assertEquals(42, window.getLong(2 * PAGE));
    window.madvise(2 * PAGE, PAGE, Advice.REMOVE);
    assertEquals(3, memfd.cachedPages());
    assertEquals(0, window.getLong(2 * PAGE));
  }

  @ParameterizedTest
  @EnumSource(
      value = Advice.class,
      names = {"COLD", "PAGEOUT", "HUGEPAGE"})
  void someAdviceIsTakenAndNotFollowed(Advice advice) {
    HostMapping window = map(file(1));
    window.putLong(0, 42);
    window.madvise(0, PAGE, advice);
    assertMapped("x", window);
  }

  @Test
  void noLengthIsNoAdvice() {
    HostMapping window = map(file(1));
    window.madvise(0, 0, Advice.POPULATE_READ);
    window.madvise(0, 0, Advice.FREE);
    assertMapped(".", window);
    window.close();
    assertThrows(IllegalStateException.class, () -> window.madvise(0, 0, Advice.FREE));
  }

  @Test
  void argumentsAreChecked() {
    HostMapping window = map(file(2));
    refused(Errno.EINVAL, window, 1, PAGE, Advice.DONTNEED, "multiple of 4096 as offset");
    refused(Errno.EINVAL, window, 0, -1, Advice.DONTNEED, "0 or more, actual -1");
    refused(Errno.EINVAL, window, 0, PAGE, Advice.FREE, "does not take this advice");
    assertThrows(NullPointerException.class, () -> window.madvise(0, PAGE, null));
  }

  /** What is in the mapping is done, but for populating what begins before it. */
  @ParameterizedTest
  @CsvSource({
    "-1, 3, DONTNEED, ..xx, 0xfffffffffffff000",
    "2, 3, DONTNEED, xx.., 0x4000",
    "-1, 3, POPULATE_READ, xxxx, 0xfffffffffffff000",
    "4, 1, DONTNEED, xxxx, 0x4000",
    "4, 1, FREE, xxxx, 0x4000"
  })
  void aRangeThatReachesBeyondIsRefused(
      long from, long pages, Advice advice, String mapped, String where) {
    HostMapping window = map(file(4));
    window.madvise(0, 4 * PAGE, Advice.POPULATE_READ);
    refused(
        Errno.ENOMEM,
        window,
        from * PAGE,
        pages * PAGE,
        advice,
        "nothing is mapped at offset " + where);
    assertMapped(mapped, window);
  }

  @Test
  void populatingBeginsInTheMapping() {
    HostMapping window = map(file(4));
    refused(Errno.ENOMEM, window, -PAGE, 3 * PAGE, Advice.POPULATE_READ, "nothing is mapped");
    assertMapped("....", window);
    refused(Errno.ENOMEM, window, 2 * PAGE, 3 * PAGE, Advice.POPULATE_READ, "nothing is mapped");
    assertMapped("..xx", window);
  }

  @Test
  void populatingNeedsTheProtection() {
    GuestMemfd memfd = file(1);
    try (HostMapping readable = memfd.mmap(0, PAGE, Protection.READ);
        HostMapping writable = memfd.mmap(0, PAGE, Protection.WRITE)) {
      refused(Errno.EINVAL, readable, 0, PAGE, Advice.POPULATE_WRITE, "mapping for WRITE");
      refused(Errno.EINVAL, writable, 0, PAGE, Advice.POPULATE_READ, "mapping for READ");
      readable.madvise(0, PAGE, Advice.POPULATE_READ);
      writable.madvise(0, PAGE, Advice.POPULATE_WRITE);
    }
  }

  @Test
  void aPageThatTheHostMayNotTouchIsNotPopulated() {
    GuestMemfd memfd = file(3);
    HostMapping window = map(memfd);
    memfd.makeInaccessible(PAGE, PAGE);
    refused(Errno.EFAULT, window, 0, 3 * PAGE, Advice.POPULATE_READ, "POPULATE_READ");
    assertMapped("x..", window);
  }

  @Test
  void aMappingThatIsUnmappedMeanwhileIsNotPopulated() {
    GuestMemfd memfd = file(1);
    HostMapping window = memfd.mmap(0, PAGE, Protection.READ);
    races.at(RacePoint.BEFORE_PTE_INSTALL, window::close);
    IllegalStateException e =
        assertThrows(
            IllegalStateException.class, () -> window.madvise(0, PAGE, Advice.POPULATE_READ));
    assertTrue(e.getMessage().contains("is closed"), e::getMessage);
  }

  /** No access begins by an entry that is to go, while those under way are waited for. */
  @Test
  void anEntryIsRevokedBeforeAccessesAreWaitedFor() throws Exception {
    HostMapping window = map(file(1));
    window.putLong(0, 1);
    RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT);
    Worker<Void> access =
        Worker.start(
            () -> {
              window.putLong(8, 1);
              return null;
            });
    gate.awaitReached();
    Worker<Void> advice =
        Worker.start(
            () -> {
              window.madvise(0, PAGE, Advice.DONTNEED);
              return null;
            });
    probe.awaitWaiting(advice);
    assertTrue(PageTable.isPending(Insides.entry(window, 0)));
    gate.release();
    access.result();
    advice.result();
    assertMapped(".", window);
  }

  /** Pages of the mapping, not of the file. */
  @Test
  void aMappingThatBeginsLaterLosesItsOwnPagesAlone() {
    GuestMemfd memfd = file(6);
    try (HostMapping window = memfd.mmap(PAGE, 4 * PAGE, Protection.READ)) {
      window.madvise(0, 4 * PAGE, Advice.POPULATE_READ);
      window.madvise(0, PAGE, Advice.DONTNEED);
      assertMapped(".xxx", window);
      window.madvise(2 * PAGE, PAGE, Advice.DONTNEED);
      assertMapped(".x.x", window);
      window.madvise(PAGE, PAGE, Advice.REMOVE);
      assertMapped("...x", window);
      assertEquals(3, memfd.cachedPages());
    }
  }

  @Test
  void areasSayWhereHugePagesAreWelcome() {
    HostMapping window = map(file(4));
    window.munmap(3 * PAGE, PAGE);
    window.madvise(PAGE, PAGE, Advice.HUGEPAGE);
    assertTrue(
        window
            .toString()
            .contains("rw to 0x1000, rw with huge pages to 0x2000, rw to 0x3000, unmapped to"),
        window::toString);
  }

  @Test
  void aMappingThatIsClosedMeanwhileIsNoHole() {
    HostMapping window = map(file(1));
    Meanwhile.beforeAccess(
        Mapping.class,
        1,
        window::close,
        () ->
            assertThrows(
                IllegalStateException.class, () -> window.madvise(0, PAGE, Advice.DONTNEED)));
  }

  @Test
  void aRemovalThatAFolioIsInTheWayOfSaysSo() {
    GuestMemfd memfd =
        file(
            1,
            b ->
                b.protocol(
                    new ForwardingProtocol(ConversionProtocol.bothCounters()) {
                      @Override
                      public boolean mayPunch(int refs, int safe) {
                        return safe == 0 && super.mayPunch(refs, safe);
                      }
                    }));
    HostMapping window = map(memfd);
    try (Folio folio = memfd.grab(0)) {
      refused(Errno.EBUSY, window, 0, PAGE, Advice.REMOVE, "busy folio at offset 0x0");
      assertEquals(folio.pfn(), memfd.holders(0).pfn());
    }
    assertEquals(0, window.getLong(0));
    Thread.currentThread().interrupt();
    GuestMemfdException e = refused(Errno.EINTR, window, 0, PAGE, Advice.REMOVE, "REMOVE");
    assertFalse(e.getMessage().contains("busy folio"), e::getMessage);
    assertTrue(Thread.interrupted());
    window.madvise(0, PAGE, Advice.REMOVE);
  }

  @AfterEach
  void isNotInterrupted() { // though a test has failed
    Thread.interrupted();
  }
}
