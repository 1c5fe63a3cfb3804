package io.github.guestmemfd.conversion;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.spi.IdleStrategy;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * What a retry policy counts for what: the looks for each folio that is in the way, the wait for
 * the whole range. The idle strategy of the host plays the holders.
 */
@Timeout(300)
class RetryPolicyTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final int PAGES = 3;

  private IdleStrategy strategy = (round, maxNanos) -> {};
  private final HostMemory host =
      HostMemory.builder((long) PAGES * PAGE)
          .idleStrategy((round, maxNanos) -> strategy.idle(round, maxNanos))
          .build();

  /** Who holds the pages, in ascending order. */
  private final List<Folio> holders = new ArrayList<>();

  private GuestMemfd held(RetryPolicy policy) {
    GuestMemfd memfd =
        GuestMemfd.builder(host)
            .size((long) PAGES * PAGE)
            .flags(MMAP, INIT_SHARED)
            .retryPolicy(policy)
            .build();
    for (long page = 0; page < PAGES; page++) {
      holders.add(memfd.grab(page * PAGE, HolderKind.UNSAFE));
    }
    return memfd;
  }

  @AfterEach
  void close() {
    holders.forEach(Folio::close);
    host.close();
  }

  /** Each holder lets go at the last look. */
  @Test
  void theLooksAreForEachFolio() {
    int[] idles = new int[1];
    strategy =
        (round, maxNanos) -> {
          if (++idles[0] % 4 == 0) {
            holders.remove(0).close();
          }
        };
    try (GuestMemfd memfd = held(RetryPolicy.spin(4))) {
      BusyFolio busy = new BusyFolio();
      assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, memfd.size(), busy), busy::toString);
      assertEquals(4 * PAGES, idles[0]);
    }
  }

  /** One more look would do, and does not come. */
  @Test
  void thereAreNotMoreLooksThanAllowed() {
    int[] idles = new int[1];
    strategy =
        (round, maxNanos) -> {
          if (++idles[0] == 5) {
            holders.remove(0).close();
          }
        };
    try (GuestMemfd memfd = held(RetryPolicy.spin(4))) {
      assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, memfd.size()));
      assertEquals(4, idles[0]);
      assertTrue(memfd.isAccessible(0));
    }
  }

  /** What is left of the wait is what the strategy is told to idle at most, once it is queued. */
  @Test
  void theWaitIsForTheWholeRange() {
    long eachTakes = TimeUnit.MILLISECONDS.toNanos(50);
    List<Long> left = new ArrayList<>();
    strategy =
        (round, maxNanos) -> {
          if (maxNanos > TimeUnit.MINUTES.toNanos(1)) { // else not queued yet
            left.add(maxNanos);
            long begin = System.nanoTime();
            while (System.nanoTime() - begin < eachTakes) {
              Thread.onSpinWait();
            }
            holders.remove(0).close();
          }
        };
    try (GuestMemfd memfd = held(RetryPolicy.spinThenWait(0, Duration.ofHours(1)))) {
      assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, memfd.size()));
    }
    assertEquals(PAGES, left.size());
    for (int i = 1; i < PAGES; i++) {
      assertTrue(left.get(i) <= left.get(i - 1) - eachTakes, () -> "left to wait: " + left);
    }
  }
}
