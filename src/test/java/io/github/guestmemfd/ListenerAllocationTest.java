package io.github.guestmemfd;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Protection;
import org.junit.jupiter.api.Test;

/** What a file without a listener costs, against one with a listener that does nothing. */
class ListenerAllocationTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final int RUNS = 20_000;

  /** What the listener is told in: arrays of bytes, for the most part. */
  private static final int TOLD = 256;

  private static final GuestMemfdListener DEAF = new GuestMemfdListener() {};

  private interface Use {
    void of(GuestMemfd memfd, HostMapping window);
  }

  private static long perRun(boolean recorded, Use use) {
    try (HostMemory host = HostMemory.ofBytes(16L * PAGE)) {
      GuestMemfd.Builder builder =
          GuestMemfd.builder(host).size(4L * PAGE).flags(MMAP, INIT_SHARED);
      try (GuestMemfd memfd = (recorded ? builder.listener(DEAF) : builder).build();
          HostMapping window = memfd.mmap(0, 4L * PAGE, Protection.READ, Protection.WRITE)) {
        return Allocation.perRun(() -> use.of(memfd, window), RUNS);
      }
    }
  }

  private static void compare(Use use) {
    assertEquals(0, perRun(false, use), "without a listener");
    long told = perRun(true, use);
    assertTrue(told <= TOLD, () -> "with a listener: " + told);
  }

  /** For calls that allocate something themselves. */
  private static void compareMore(Use use) {
    long more = perRun(true, use) - perRun(false, use);
    assertTrue(more >= 0 && more <= TOLD, () -> "more with a listener: " + more);
  }

  @Test
  void accesses() {
    compare((memfd, window) -> window.putLong(8, window.getLong(0) + 1));
  }

  @Test
  void hotForms() {
    compare((memfd, window) -> window.tryPutLong(8, window.tryGetLong(0, -1) + 1));
  }

  @Test
  void faults() {
    compare(
        (memfd, window) -> {
          window.madvise(0, PAGE, Advice.DONTNEED);
          window.putLong(0, 1);
        });
  }

  @Test
  void firstUses() {
    compareMore(
        (memfd, window) -> {
          window.madvise(0, PAGE, Advice.REMOVE);
          window.putLong(0, 1);
        });
  }

  @Test
  void grabs() {
    compare((memfd, window) -> memfd.put(memfd.tryGrab(0, HolderKind.SAFE), HolderKind.SAFE));
  }
}
