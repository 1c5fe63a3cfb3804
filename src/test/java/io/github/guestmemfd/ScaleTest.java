package io.github.guestmemfd;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.conversion.ConversionProtocol;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Very large guests. Work that grew with the pages, and not with the pages touched, would not end
 * in the time given, on however fast a machine.
 */
@Timeout(300)
class ScaleTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final long HUGE = 1L << 62;

  /** The largest size there is. */
  private static final long LARGEST = Long.MAX_VALUE - PAGE + 1;

  /** Counts the folios that conversions look at: the work they do. */
  private static final class Counting implements ConversionProtocol {
    private final AtomicInteger looks = new AtomicInteger();

    @Override
    public String id() {
      return "counting";
    }

    @Override
    public boolean mayTurnInaccessible(int refs, int safe) {
      looks.incrementAndGet();
      return refs == safe + 1;
    }
  }

  /** Bytes of the heap in use after a collection. */
  private static long heap() {
    long least = Long.MAX_VALUE;
    for (int i = 0; i < 3; i++) {
      System.gc();
      Runtime runtime = Runtime.getRuntime();
      least = Math.min(least, runtime.totalMemory() - runtime.freeMemory());
    }
    return least;
  }

  @ParameterizedTest
  @ValueSource(longs = {HUGE, LARGEST})
  void anUntouchedGuestConvertsAndPunchesByNode(long size) {
    HostMemory host = HostMemory.ofBytes(16L * PAGE);
    Counting protocol = new Counting();
    long before = heap();
    GuestMemfd memfd =
        GuestMemfd.builder(host).size(size).flags(MMAP, INIT_SHARED).protocol(protocol).build();
    for (int i = 0; i < 200; i++) {
      memfd.makeInaccessible(0, size);
      assertFalse(memfd.isAccessible(0));
      assertFalse(memfd.isAccessible(size / 2));
      assertFalse(memfd.isAccessible(size - 1));
      memfd.makeAccessible(0, size);
      assertTrue(memfd.isAccessible(size - 1));
      memfd.punchHole(0, size);
      // Ranges that begin and end in the middle of nodes.
      memfd.makeInaccessible(5L * PAGE, size - 9L * PAGE);
      assertTrue(memfd.isAccessible(4L * PAGE));
      assertFalse(memfd.isAccessible(5L * PAGE));
      assertFalse(memfd.isAccessible(size - 5L * PAGE));
      assertTrue(memfd.isAccessible(size - 4L * PAGE));
      memfd.makeAccessible(0, size);
    }
    assertEquals(0, protocol.looks.get(), "nothing to look at");
    assertEquals(0, host.used());
    assertTrue(heap() - before < 32 << 20, "heap for a guest that is untouched");
    memfd.close();
    host.close();
  }

  @Test
  void aGuestWithPagesFarApartCostsByThePagesTouched() {
    int touched = 64;
    HostMemory host = HostMemory.ofBytes((touched + 1L) * PAGE);
    Counting protocol = new Counting();
    long before = heap();
    GuestMemfd memfd =
        GuestMemfd.builder(host).size(HUGE).flags(MMAP, INIT_SHARED).protocol(protocol).build();
    SplittableRandom random = new SplittableRandom(5);
    List<Long> pages = new ArrayList<>();
    for (int i = 0; i < touched; i++) {
      long at = random.nextLong(HUGE / PAGE) * PAGE;
      pages.add(at);
      HostMapping window = memfd.mmap(at, PAGE, READ, WRITE);
      window.putLong(0, at);
      window.close();
    }
    assertEquals(touched, memfd.cachedPages());
    memfd.makeInaccessible(0, HUGE);
    assertEquals(touched, protocol.looks.get(), "each folio once");
    for (long at : pages) {
      assertFalse(memfd.isAccessible(at));
      Folio folio = memfd.grab(at);
      assertEquals(at, folio.buffer().getLong(0), "content at " + at);
      folio.close();
    }
    assertFalse(memfd.isAccessible(HUGE / 3));
    memfd.makeAccessible(0, HUGE);
    for (long at : pages) {
      HostMapping window = memfd.mmap(at, PAGE, READ, WRITE);
      assertEquals(at, window.getLong(0));
      window.close();
    }
    // One folio that is held keeps all 2^50 pages as they are, and is found.
    long held = pages.get(17);
    HostMapping window = memfd.mmap(held, PAGE, READ, WRITE);
    window.pin(0, PAGE).close();
    assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, HUGE));
    memfd.makeAccessible(0, HUGE);
    memfd.punchHole(0, HUGE);
    assertEquals(0, memfd.cachedPages());
    assertEquals(0, host.used());
    assertEquals(0, window.getLong(0), "a new page");
    window.close();
    assertTrue(heap() - before < 64 << 20, "heap");
    memfd.close();
    assertEquals(0, host.used());
    host.close();
  }

  /** The first and the last page are like any other, up to the last byte there can be. */
  @Test
  void theEndsOfTheLargestFileAreOrdinary() {
    HostMemory host = HostMemory.ofBytes(8L * PAGE);
    GuestMemfd memfd = GuestMemfd.builder(host).size(LARGEST).flags(MMAP, INIT_SHARED).build();
    long last = LARGEST - PAGE;
    for (long at : new long[] {0, PAGE, last - PAGE, last}) {
      HostMapping window = memfd.mmap(at, PAGE, READ, WRITE);
      window.putLong(PAGE - 8, at + 1);
      assertEquals(at + 1, window.getLong(PAGE - 8));
      memfd.makeInaccessible(at, PAGE);
      assertThrows(SigBusException.class, () -> window.getLong(0));
      assertFalse(memfd.isAccessible(at));
      assertFalse(memfd.isAccessible(at + PAGE - 1));
      Folio folio = memfd.grab(at + PAGE - 1);
      assertEquals(at, folio.offset());
      assertEquals(at + 1, folio.buffer().getLong(PAGE - 8));
      folio.close();
      memfd.makeAccessible(at, PAGE);
      assertEquals(at + 1, window.getLong(PAGE - 8));
      memfd.punchHole(at, PAGE);
      assertEquals(0, window.getLong(PAGE - 8));
      memfd.punchHole(at, PAGE);
      memfd.allocate(at, PAGE);
      assertEquals(1, memfd.cachedPages());
      memfd.punchHole(at, PAGE);
      window.close();
    }
    assertEquals(
        Errno.EINVAL, assertThrows(GuestMemfdException.class, () -> memfd.grab(LARGEST)).errno());
    assertEquals(Errno.EINVAL, memfd.tryMakeInaccessible(last, 2L * PAGE));
    assertEquals(
        Errno.ENOMEM,
        assertThrows(GuestMemfdException.class, () -> memfd.allocate(0, LARGEST)).errno());
    assertEquals(0, host.used());
    memfd.close();
    host.close();
  }

  /** 64 GiB, every page populated, in a heap of 4 GiB: at most 28 bytes a page. */
  @Test
  void aPopulatedGuestOf64GiBFitsTheHeap() {
    long size = 64L << 30;
    long pages = size / PAGE;
    long before = heap();
    HostMemory host = HostMemory.metadataOnly(size);
    GuestMemfd memfd = GuestMemfd.builder(host).size(size).flags(MMAP, INIT_SHARED).build();
    memfd.allocate(0, size);
    assertEquals(pages, memfd.cachedPages());
    assertEquals(size, host.used());
    long used = heap() - before;
    assertTrue(used <= 28 * pages, () -> "bytes a page: " + (double) used / pages);
    memfd.makeInaccessible(0, size);
    assertFalse(memfd.isAccessible(size - 1));
    memfd.makeAccessible(0, size);
    assertTrue(memfd.isAccessible(size - 1));
    memfd.punchHole(0, size);
    assertEquals(0, memfd.cachedPages());
    assertEquals(0, host.used());
    memfd.close();
    host.close();
  }
}
