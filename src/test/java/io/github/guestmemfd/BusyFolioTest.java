package io.github.guestmemfd;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.HolderKind.ACCESSIBLE;
import static io.github.guestmemfd.abi.HolderKind.UNSAFE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.memory.Counts;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

/** What a refused conversion says of the holders: numbers of holders, whatever it saw. */
class BusyFolioTest {
  private final BusyFolio busy = new BusyFolio();

  private static void assertNumbers(BusyFolio busy) {
    assertTrue(
        busy.unsafeHolders() >= 0
            && busy.pinnedHolders() >= 0
            && busy.accessibleUsers() >= 0
            && busy.safeHolders() >= 0,
        busy::toString);
    assertFalse(busy.toString().contains("-"), busy::toString);
  }

  /** Also of counts that only a broken protocol, or a moment between two steps, can show. */
  @Test
  void areNeverNegative() {
    SplittableRandom random = new SplittableRandom(3);
    for (int i = 0; i < 1_000_000; i++) {
      long counts = random.nextLong() >> random.nextInt(64);
      int safe = Counts.safe(counts);
      busy.found.set(0, counts, safe, random.nextBoolean() ? safe : 0, List.of());
      assertNumbers(busy);
    }
  }

  /** A holder that drops its reference first and then says that it is no longer safe. */
  @Test
  void aSafeHolderWithoutItsReferenceIsNotMinusOneUnsafe() {
    busy.found.set(0, Counts.CACHE_REF + Counts.SAFE, 1, 1, List.of());
    assertEquals("offset 0x0 held by 0 unsafe, 0 pinned, 1 safe", busy.toString());
    busy.found.set(
        0, Counts.CACHE_REF + 2 * Counts.SAFE_REF + Counts.SAFE + Counts.PIN, 3, 3, List.of());
    assertNumbers(busy);
  }

  @Test
  void eachKindIsWhatItIs() {
    busy.found.set(
        4096,
        Counts.CACHE_REF
            + 2 * Counts.PIN
            + 3 * Counts.REF
            + 4 * Counts.UNSAFE_REF
            + 1500 * Counts.ACCESSIBLE_REF
            + 6 * Counts.SAFE_REF,
        6,
        6,
        List.of());
    assertEquals(
        "offset 0x1000 held by 7 unsafe, 2 pinned, 1500 accessible, 6 safe", busy.toString());
  }

  /** As many as a pin counts, and they are no pin. */
  @Test
  void manyUsersAreNoPins() {
    try (HostMemory host = HostMemory.ofBytes(1 << 20);
        GuestMemfd memfd =
            GuestMemfd.builder(host)
                .size(4096)
                .flags(MMAP, INIT_SHARED)
                .retryPolicy(RetryPolicy.failAtOnce())
                .build()) {
      int pfn = 0;
      for (int i = 0; i < 1100; i++) {
        pfn = memfd.tryGrab(0, ACCESSIBLE);
        assertEquals(pfn, memfd.tryGrab(0, UNSAFE));
      }
      assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, 4096, busy));
      assertEquals(
          "offset 0x0 held by 1100 unsafe, 0 pinned, 1100 accessible, 0 safe", busy.toString());
      for (int i = 0; i < 1100; i++) {
        memfd.put(pfn, ACCESSIBLE);
        memfd.put(pfn, UNSAFE);
      }
      assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, 4096, busy));
    }
  }
}
