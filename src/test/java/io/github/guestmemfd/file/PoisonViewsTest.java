package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.Insides;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.Meanwhile;
import io.github.guestmemfd.memory.Counts;
import java.nio.ByteBuffer;
import java.util.HashSet;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** With poisoned views, a conversion to inaccessible moves its pages off the frames that it had. */
@Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class PoisonViewsTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;

  private static GuestMemfd file(HostMemory host, int pages) {
    return GuestMemfd.builder(host)
        .size((long) pages * PAGE)
        .flags(MMAP, INIT_SHARED)
        .retryPolicy(RetryPolicy.failAtOnce())
        .build();
  }

  @Test
  void pagesMoveWithTheirContent() {
    int pages = 40;
    try (HostMemory host = HostMemory.builder(100L * PAGE).poisonViews().build();
        GuestMemfd memfd = file(host, pages);
        HostMapping window = memfd.mmap(0, memfd.size(), Protection.READ, Protection.WRITE)) {
      memfd.makeInaccessible(5L * PAGE, PAGE);
      int[] pfns = new int[pages];
      for (int i = 0; i < pages; i++) {
        if (i == 5) {
          memfd.grab(5L * PAGE).close();
        } else if (i != 6) { // that one stays a hole
          window.putLong((long) i * PAGE, 100 + i);
        }
        pfns[i] = memfd.holders((long) i * PAGE).pfn();
      }
      ByteBuffer view;
      try (HostReference plain = window.getUserPages(0, PAGE)) {
        view = plain.buffer();
      }
      assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, memfd.size()));
      assertEquals((pages - 1L) * PAGE, host.used());
      Set<Integer> old = new HashSet<>();
      for (int pfn : pfns) {
        old.add(pfn);
      }
      for (int i = 0; i < pages; i++) {
        int pfn = memfd.holders((long) i * PAGE).pfn();
        if (i == 5 || i == 6) {
          assertEquals(pfns[i], pfn, "page " + i + " was not the host's");
        } else {
          assertFalse(old.contains(pfn), "page " + i);
          try (var folio = memfd.grab((long) i * PAGE)) {
            assertEquals(100 + i, folio.buffer().getLong(0));
          }
          assertEquals(Counts.CACHE_REF, Insides.frames(host).counts(pfn));
        }
      }
      assertEquals(0xAAAAAAAAAAAAAAAAL, view.getLong(0), "a view that is used too late");
      assertEquals(Errno.OK, memfd.tryMakeAccessible(0, memfd.size()));
      assertEquals(107, window.getLong(7L * PAGE));
    }
  }

  /** A conversion the other way, and one without poisoned views, moves nothing. */
  @Test
  void otherConversionsMoveNothing() {
    for (boolean poison : new boolean[] {false, true}) {
      HostMemory.Builder builder = HostMemory.builder(4L * PAGE);
      try (HostMemory host = (poison ? builder.poisonViews() : builder).build();
          GuestMemfd memfd = file(host, 2)) {
        memfd.grab(0).close();
        int pfn = memfd.holders(0).pfn();
        memfd.makeInaccessible(0, PAGE);
        int inaccessible = memfd.holders(0).pfn();
        if (poison) {
          assertNotEquals(pfn, inaccessible);
        } else {
          assertEquals(pfn, inaccessible);
        }
        memfd.grab(PAGE).close();
        int other = memfd.holders(PAGE).pfn();
        memfd.makeAccessible(0, 2L * PAGE);
        assertEquals(inaccessible, memfd.holders(0).pfn());
        assertEquals(other, memfd.holders(PAGE).pfn(), "accessible all the while");
      }
    }
  }

  /** What is thrown while a page moves leaves the range as it was. */
  @Test
  void aMoveThatThrowsUndoesTheConversion() {
    try (HostMemory host = HostMemory.builder(8L * PAGE).poisonViews().build();
        GuestMemfd memfd = file(host, 2)) {
      memfd.grab(0).close();
      memfd.grab(PAGE).close();
      assertThrows(
          IllegalStateException.class,
          () ->
              Meanwhile.beforeAccess(
                  ByteBuffer[].class,
                  2, // the first page has moved
                  () -> {
                    throw new IllegalStateException("planned");
                  },
                  () -> memfd.makeInaccessible(0, 2L * PAGE)));
      assertTrue(memfd.isAccessible(0) && memfd.isAccessible(PAGE));
      assertEquals(2L * PAGE, host.used(), "the frame that was left is free");
      assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, 2L * PAGE));
    }
  }
}
