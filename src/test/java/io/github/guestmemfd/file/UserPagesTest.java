package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.ConversionBlockedException;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.HostFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.junit.jupiter.api.Test;

/**
 * References by way of the page table: taken before it is known that the entry still stands, and
 * put when it does not. Which way a reference went shows at the race points.
 */
class UserPagesTest extends HostFixture {
  private final Set<RacePoint> passed = ConcurrentHashMap.newKeySet();

  /** The page at whose entry the hook throws. */
  private long throwing = -1;

  @Override
  protected void passes(RacePoint point, long index) {
    passed.add(point);
    if (point == RacePoint.BEFORE_PTE_RELOAD && index == throwing) {
      throw new IllegalStateException("planned");
    }
    super.passes(point, index);
  }

  private boolean fast() {
    return passed.contains(RacePoint.BEFORE_PTE_RELOAD);
  }

  private boolean slow() {
    return passed.contains(RacePoint.BEFORE_SLOT_RELOAD);
  }

  /** A thread that takes a reference on page 0 and has not looked at its entry again. */
  private Worker<HostReference> held(HostMapping window, RacePoints.Gate gate) throws Exception {
    Worker<HostReference> gup = Worker.start(() -> window.getUserPages(0, 8));
    gate.awaitReached();
    return gup;
  }

  @Test
  void aMappedPageNeedsNoPageCache() {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    int pfn = write(memfd, 0, 42);
    assertEquals(42, window.getLong(0));
    passed.clear();
    try (HostReference plain = window.getUserPages(0, PAGE)) {
      assertEquals(pfn, plain.pfn(0));
      assertEquals(42, plain.buffer().getLong(0));
      try (HostReference pin = window.pin(0, PAGE)) {
        assertEquals(pfn, pin.pfn(0));
        ConversionBlockedException e =
            assertThrows(ConversionBlockedException.class, () -> memfd.makeInaccessible(0, PAGE));
        assertEquals(1, e.busyFolio().unsafeHolders());
        assertEquals(1, e.busyFolio().pinnedHolders());
      }
    }
    assertTrue(fast());
    assertFalse(slow());
    memfd.makeInaccessible(0, PAGE);
  }

  @Test
  void aPageThatIsNotMappedIsMappedFirst() {
    GuestMemfd memfd = file(2);
    HostMapping window = map(memfd);
    memfd.makeInaccessible(PAGE, PAGE);
    passed.clear();
    try (HostReference reference = window.getUserPages(0, 2L * PAGE)) {
      assertEquals(1, reference.pages());
    }
    assertTrue(slow());
    passed.clear();
    window.getUserPages(0, PAGE).close();
    assertTrue(fast());
    assertFalse(slow());
    refused(Errno.EFAULT, () -> window.getUserPages(PAGE, 1));
  }

  /** An entry that its fault has not confirmed is none, until it is confirmed. */
  @Test
  void aPendingEntryIsConfirmedFirst() throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    int pfn = write(memfd, 0, 42);
    RacePoints.Gate pending = races.hold(RacePoint.AFTER_PTE_INSTALL);
    Worker<Long> fault = Worker.start(() -> window.getLong(0));
    pending.awaitReached();
    passed.clear();
    try (HostReference reference = window.getUserPages(0, 8)) {
      assertEquals(pfn, reference.pfn(0));
    }
    pending.release();
    assertEquals(42, fault.result());
    assertTrue(slow());
    assertTrue(fast());
    assertQuiet(memfd);
  }

  @Test
  void anEntryThatWentIsGivenUp() throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    window.putLong(0, 42);
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_PTE_RELOAD);
    Worker<HostReference> gup = held(window, gate);
    window.madvise(0, PAGE, Advice.DONTNEED);
    passed.clear();
    gate.release();
    try (HostReference reference = gup.result()) {
      assertTrue(slow());
      assertEquals(42, reference.buffer().getLong(0));
    }
    assertQuiet(memfd);
  }

  /** The same frame at the same place, but another entry: what was in between is unknown. */
  @Test
  void anEntryThatWentAndCameBackIsGivenUp() throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    window.putLong(0, 42);
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_PTE_RELOAD);
    Worker<HostReference> gup = held(window, gate);
    window.madvise(0, PAGE, Advice.DONTNEED);
    assertEquals(42, window.getLong(0));
    passed.clear();
    gate.release();
    gup.result().close();
    assertTrue(slow());
    assertQuiet(memfd);
  }

  /** Accesses under way change the word of the entry, and not the mapping. */
  @Test
  void accessesUnderWayDoNotDisturb() throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    window.putLong(0, 42);
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_PTE_RELOAD);
    Worker<HostReference> gup = held(window, gate);
    RacePoints.Gate access = races.hold(RacePoint.ACCESS_IN_FLIGHT);
    Worker<Void> put =
        Worker.start(
            () -> {
              window.putLong(0, 43);
              return null;
            });
    access.awaitReached();
    passed.clear();
    gate.release();
    gup.result().close();
    assertFalse(slow());
    access.release();
    put.result();
    assertQuiet(memfd);
  }

  /** The reference that is about to be given up is one that the conversion did not expect. */
  @Test
  void aConversionMeetsTheSpeculativeReference() throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    window.putLong(0, SECRET);
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_PTE_RELOAD);
    Worker<HostReference> gup = held(window, gate);
    ConversionBlockedException e =
        assertThrows(ConversionBlockedException.class, () -> memfd.makeInaccessible(0, PAGE));
    assertEquals(1, e.busyFolio().unsafeHolders());
    gate.release();
    gup.result().close();
    memfd.makeInaccessible(0, PAGE);
    assertEquals(SECRET, read(memfd, 0));
  }

  /** A conversion that waits has its way: the reference is put, and there is none to be had. */
  @Test
  void aConversionThatWaitsSucceeds() throws Exception {
    GuestMemfd memfd =
        file(1, b -> b.retryPolicy(RetryPolicy.spinThenWait(0, Duration.ofHours(1))));
    HostMapping window = map(memfd);
    window.putLong(0, SECRET);
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_PTE_RELOAD);
    Worker<HostReference> gup = held(window, gate);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    probe.awaitWaiting(conversion);
    gate.release();
    assertEquals(Errno.OK, conversion.result());
    refused(Errno.EFAULT, gup::result);
  }

  /** A punch does not wait, and the reference is on what comes after it. */
  @Test
  void afterAPunchTheReferenceIsOnTheNewFolio() throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    window.putLong(0, SECRET);
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_PTE_RELOAD);
    Worker<HostReference> gup = held(window, gate);
    memfd.punchHole(0, PAGE);
    assertEquals(PAGE, host.used(), "the orphan");
    gate.release();
    try (HostReference reference = gup.result()) {
      assertEquals(0, reference.buffer().getLong(0));
      assertEquals(PAGE, host.used(), "the new folio alone");
    }
    assertQuiet(memfd);
  }

  @Test
  void afterMunmapThereIsNoEntry() throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    window.putLong(0, 42);
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_PTE_RELOAD);
    Worker<HostReference> gup = held(window, gate);
    window.close();
    gate.release();
    assertThrows(IllegalStateException.class, gup::result);
    assertQuiet(memfd);
  }

  // ---- ranges ----

  @Test
  void aLongRangeHasAReferenceOnEachPage() {
    GuestMemfd memfd = file(40);
    HostMapping window = map(memfd);
    for (int length : new int[] {1, PAGE, 16 * PAGE, 17 * PAGE, 35 * PAGE - 50}) {
      try (HostReference plain = window.getUserPages(50, length)) {
        int pages = (50 + length - 1) / PAGE + 1;
        assertEquals(pages, plain.pages());
        for (int i = 0; i < pages; i++) {
          assertEquals(memfd.holders((long) i * PAGE).pfn(), plain.pfn(i));
          assertEquals(1, memfd.holders((long) i * PAGE).unsafe(), "page " + i);
        }
      }
      for (int i = 0; i < 40; i++) {
        assertEquals(0, memfd.holders((long) i * PAGE).unsafe(), "given back: page " + i);
      }
    }
  }

  @Test
  void aRangeEndsWhereThereIsNoAccessiblePage() {
    GuestMemfd memfd = file(4);
    HostMapping window = map(memfd);
    memfd.makeInaccessible(2L * PAGE, PAGE);
    try (HostReference some = window.getUserPages(100, 4L * PAGE - 100)) {
      assertEquals(2, some.pages());
    }
    refused(Errno.EFAULT, () -> window.pinFully(0, 4L * PAGE));
    refused(Errno.EFAULT, () -> window.getUserPages(2L * PAGE, 1));
    for (int i = 0; i < 4; i++) {
      assertEquals(0, memfd.holders((long) i * PAGE).unsafe(), "given back: page " + i);
    }
  }

  @Test
  void whatThrowsInTheMiddleGivesBackTheFirstPages() {
    GuestMemfd memfd = file(4);
    HostMapping window = map(memfd);
    window.madvise(0, 4L * PAGE, Advice.POPULATE_READ);
    throwing = 2;
    assertThrows(IllegalStateException.class, () -> window.getUserPages(0, 4L * PAGE));
    for (int i = 0; i < 4; i++) {
      assertEquals(0, memfd.holders((long) i * PAGE).unsafe(), "given back: page " + i);
    }
  }

  @Test
  void refusalsSayWhy() {
    GuestMemfd memfd = file(1);
    try (HostMapping writable = memfd.mmap(0, 2L * PAGE, Protection.WRITE);
        HostMapping readable = memfd.mmap(0, 2L * PAGE, Protection.READ)) {
      GuestMemfdException e = refused(Errno.EFAULT, () -> writable.getUserPages(0, 1));
      assertTrue(e.getMessage().contains("READ, or one that has mapped"), e::getMessage);
      writable.putByte(0, (byte) 1);
      writable.getUserPages(0, 1).close();
      e = refused(Errno.EFAULT, () -> readable.getUserPages(PAGE, 1));
      assertTrue(e.getMessage().contains("it is past the end of the file"), e::getMessage);
      for (long offset : new long[] {-1, 2L * PAGE}) {
        e = refused(Errno.EFAULT, () -> readable.getUserPages(offset, 1));
        assertTrue(e.getMessage().contains("expected offset 0x0 to 0x1fff"), e::getMessage);
      }
    }
  }

  /** A reference that another has given back by mistake does not keep the rest from it. */
  @Test
  void anUnmappingGivesBackEveryPageThoughOneThrows() {
    GuestMemfd memfd = file(3);
    HostMapping window = memfd.mmap(0, 3L * PAGE, Protection.READ);
    window.madvise(0, 3L * PAGE, Advice.POPULATE_READ);
    frames().put(memfd.holders(PAGE).pfn(), Counts.REF);
    assertThrows(IllegalStateException.class, window::close);
    for (int i = 0; i < 3; i++) {
      int pfn = memfd.holders((long) i * PAGE).pfn();
      assertEquals(0, Counts.ownRefs(frames().counts(pfn)), "page " + i);
    }
  }
}
