package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.Insides;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.cache.PageCache;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.memory.FrameTable;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** What is wrong is found and named, one thing at a time; and nothing else is. */
@Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class AuditTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;

  private final HostMemory host = HostMemory.builder(16L * PAGE).trackHolders().build();
  private final FrameTable frames = Insides.frames(host);
  private final GuestMemfd memfd = file(INIT_SHARED, MMAP);
  private final PageCache cache = cache(memfd);

  private GuestMemfd file(CreateFlag... flags) {
    return GuestMemfd.builder(host)
        .size(4L * PAGE)
        .flags(flags)
        .retryPolicy(RetryPolicy.failAtOnce())
        .build();
  }

  private static PageCache cache(GuestMemfd of) {
    return ((Inode) of.fileKey()).cache;
  }

  private int allocated(long page) {
    try (Folio folio = memfd.grab(page * PAGE)) {
      return folio.pfn();
    }
  }

  private void assertFound(String... violations) {
    assertEquals(List.of(violations), host.violations());
  }

  private String page(long offset) {
    return "page at offset 0x" + Long.toHexString(offset) + " of " + memfd + " ";
  }

  @AfterEach
  void allIsWellInTheEnd() {
    assertFound();
    memfd.close();
    assertFound();
    host.close();
  }

  @Test
  void everyKindOfHolderIsExpected() {
    HostMapping window = memfd.mmap(PAGE, 2L * PAGE, Protection.READ);
    window.getLong(0);
    window.getLong(PAGE);
    try (Folio safe = memfd.grab(PAGE);
        Folio unsafe = memfd.grab(PAGE, HolderKind.UNSAFE);
        Folio accessible = memfd.grab(2L * PAGE, HolderKind.ACCESSIBLE);
        HostReference plain = window.getUserPages(0, 2L * PAGE);
        HostReference pinned = window.pin(0, 2L * PAGE)) {
      assertFound();
      memfd.punchHole(PAGE, PAGE);
      assertFound();
      assertTrue(safe.pfn() == unsafe.pfn() && accessible.pfn() != safe.pfn());
      assertEquals(4, plain.pages() + pinned.pages());
    }
    window.close();
  }

  /** For each count: one more than there are holders. */
  @Test
  void countsThatHaveNoHolderAreFound() {
    int pfn = allocated(0);
    String frame = "frame " + pfn + ": ";
    assertTrue(frames.tryGet(pfn, Counts.REF));
    assertFound(frame + "references of its own kind: expected 0, actual 1");
    frames.put(pfn, Counts.REF);
    assertTrue(frames.tryGet(pfn, Counts.UNSAFE_REF));
    assertFound(frame + "unsafe references: expected 0, actual 1");
    frames.put(pfn, Counts.UNSAFE_REF);
    assertTrue(frames.tryGet(pfn, Counts.ACCESSIBLE_REF));
    assertFound(frame + "accessible references: expected 0, actual 1");
    frames.put(pfn, Counts.ACCESSIBLE_REF);
    assertTrue(frames.tryGet(pfn, Counts.SAFE_REF));
    assertFound(
        frame + "references of its own kind: expected 0, actual 1",
        frame + "safe holders: expected 0, actual 1");
    frames.put(pfn, Counts.SAFE_REF);
  }

  /** For each kind of holder: it has lost what it holds. */
  @Test
  void holdersThatAreNotCountedAreFound() {
    HostMapping window = memfd.mmap(0, PAGE, Protection.READ);
    int pfn = allocated(0);
    String frame = "frame " + pfn + ": ";
    window.getLong(0);
    frames.put(pfn, Counts.REF);
    assertFound(frame + "references of its own kind: expected 1, actual 0");
    assertTrue(frames.tryGet(pfn, Counts.REF));
    try (HostReference pinned = window.pin(0, PAGE)) {
      frames.put(pfn, Counts.PIN);
      int expected = Counts.PIN_BIAS + 1;
      assertFound(frame + "references of its own kind: expected " + expected + ", actual 1");
      assertTrue(frames.tryGet(pfn, Counts.PIN));
      assertEquals(1, pinned.pages());
    }
    try (Folio unsafe = memfd.grab(0, HolderKind.UNSAFE)) {
      frames.put(unsafe.pfn(), Counts.UNSAFE_REF);
      assertFound(frame + "unsafe references: expected 1, actual 0");
      assertTrue(frames.tryGet(pfn, Counts.UNSAFE_REF));
    }
    try (Folio accessible = memfd.grab(0, HolderKind.ACCESSIBLE)) {
      frames.put(accessible.pfn(), Counts.ACCESSIBLE_REF);
      assertFound(frame + "accessible references: expected 1, actual 0");
      assertTrue(frames.tryGet(pfn, Counts.ACCESSIBLE_REF));
    }
    try (Folio safe = memfd.grab(0)) {
      frames.put(safe.pfn(), Counts.SAFE_REF);
      assertFound(
          frame + "references of its own kind: expected 2, actual 1",
          frame + "safe holders: expected 1, actual 0");
      assertTrue(frames.tryGet(pfn, Counts.SAFE_REF));
    }
    window.close();
  }

  /** Changes counts in a way that no holder does: thawing adds, and takes the top bit off. */
  private void add(int pfn, long delta) {
    frames.thaw(pfn, delta ^ Long.MIN_VALUE);
  }

  @Test
  void theReferenceOfThePageCacheIsExpected() {
    int pfn = allocated(0);
    assertTrue(frames.tryGet(pfn, Counts.REF));
    frames.put(pfn, Counts.CACHE_REF);
    assertFound(
        "frame " + pfn + " lacks its page cache's reference",
        "frame " + pfn + ": references of its own kind: expected 0, actual 1");
    add(pfn, Counts.CACHE_REF);
    add(pfn, -Counts.REF); // as it was
    try (Folio orphan = memfd.grab(0, HolderKind.UNSAFE)) {
      memfd.punchHole(0, PAGE);
      assertFound();
      add(orphan.pfn(), Counts.CACHE_REF);
      assertFound("frame " + pfn + " has left its page cache's reference behind");
      frames.put(pfn, Counts.CACHE_REF);
    }
  }

  @Test
  void pagesThatAreNotAsTheirFrameIsAreFound() throws Exception {
    int pfn = allocated(0);
    cache.markReady(0, cache.slot(0));
    assertFound();
    assertTrue(cache.lock(1, 3));
    assertFound(page(PAGE) + "is busy");
    cache.unlock(1, 3);
    cache.setPending(0, 1, true);
    assertFound(page(0) + "is neither side's, and no conversion is pending");
    cache.setPending(0, 1, false);
    frames.removeFromDirectMap(pfn);
    assertFound(page(0) + "is missing in the direct map");
    frames.restoreToDirectMap(pfn);
    int fresh = freshlyFilled(3);
    assertFound();
    cache.markReady(3, cache.slot(3));
    assertFound(page(3L * PAGE) + "is ready, and its frame is not");
    frames.setUptodate(fresh);
    assertFound(page(3L * PAGE) + "is ready, and its frame is not");
    frames.setPrepared(fresh);
  }

  /** A folio that is neither up to date nor prepared. */
  private int freshlyFilled(long page) {
    assertTrue(cache.fill(page, cache.slot(page), false));
    return (int) (cache.slot(page) & ((1L << FrameTable.PFN_BITS) - 1));
  }

  @Test
  void inaccessiblePagesMayBeMissingInTheDirectMap() {
    GuestMemfd hidden = file(MMAP, INIT_SHARED, CreateFlag.NO_DIRECT_MAP);
    hidden.allocate(0, 2L * PAGE);
    hidden.makeInaccessible(0, PAGE);
    assertFound(); // it leaves the direct map when it is used
    hidden.grab(0).close();
    assertFound();
    int pfn = hidden.holders(0).pfn();
    frames.restoreToDirectMap(pfn);
    assertFound("page at offset 0x0 of " + hidden + " is in the direct map");
    hidden.makeAccessible(0, PAGE);
    assertFound();
    hidden.close();
  }

  @Test
  void mappingsOfWhatIsNotThereAreFound() {
    HostMapping window = memfd.mmap(PAGE, 2L * PAGE, Protection.READ);
    window.getLong(0);
    window.getLong(PAGE);
    cache.setAttribute(2, 3, true);
    assertFound(page(2L * PAGE) + "is mapped, and the host may not touch it");
    cache.setAttribute(2, 3, false);
    int pfn = memfd.holders(PAGE).pfn();
    cache.remove(1);
    assertFound(page(PAGE) + "is mapped to frame " + pfn + ", which it has not");
    window.close();
  }

  @Test
  void anAccessThatHasNotEndedIsFound() {
    int pfn = allocated(0);
    long access = frames.accesses.begin(pfn, 1);
    assertFound("an access was announced, and has not ended");
    frames.accesses.end(access);
  }

  @Test
  void framesThatAreNotCountedRightAreFound() {
    int pfn = allocated(0);
    assertTrue(frames.reserve(1));
    assertFound("frames in use: expected 1, actual 2");
    frames.unreserve(1);
    assertTrue(frames.tryLock(pfn));
    assertFound("frame " + pfn + " is locked, and no thread has the lock");
    frames.unlock(pfn);
  }

  /** Orphans of a file that is gone belong to their holders. */
  @Test
  void orphansAreInOrder() {
    GuestMemfd other = file(MMAP, INIT_SHARED);
    Folio held = other.grab(0);
    Folio locked = other.grab(PAGE, HolderKind.UNSAFE);
    locked.lock();
    other.close();
    assertFound();
    locked.unlock();
    assertFound();
    locked.close();
    held.close();
  }

  /** A violation that the audit finds in the middle of a callback does not make it wait. */
  @Test
  void anAuditInACallbackDoesNotWait() {
    AtomicBoolean heard = new AtomicBoolean();
    GuestMemfd other =
        GuestMemfd.builder(host)
            .size(PAGE)
            .flags(MMAP, INIT_SHARED)
            .ops(
                new GuestMemfdOps() {
                  @Override
                  public void invalidateEnd(long offset, long length) {
                    heard.set(!host.violations().isEmpty()); // its pages are busy
                  }
                })
            .build();
    other.allocate(0, PAGE);
    other.makeInaccessible(0, PAGE);
    assertTrue(heard.get());
    other.close();
  }
}
