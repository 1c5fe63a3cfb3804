package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import org.junit.jupiter.api.AutoClose;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Which LRU batches a conversion drains, and how often. */
@Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class LruDrainTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final int CPUS = 2;

  @AutoClose private final RacePoints races = new RacePoints();

  private final HostMemory host =
      HostMemory.builder(8L * PAGE).raceHook(races).lruBatches(CPUS, 8).build();

  private GuestMemfd file(ConversionProtocol protocol) {
    return GuestMemfd.builder(host)
        .size(4L * PAGE)
        .flags(MMAP, INIT_SHARED)
        .protocol(protocol)
        .retryPolicy(RetryPolicy.failAtOnce())
        .build();
  }

  private static long cpu() {
    return Thread.currentThread().getId() % CPUS;
  }

  /** Allocates a page on a thread of the other CPU. */
  private static void allocateElsewhere(GuestMemfd memfd, long page) {
    long here = cpu();
    for (boolean done = false; !done; ) {
      try {
        done =
            Worker.start(
                    () -> {
                      if (cpu() != here) {
                        memfd.allocate(page * PAGE, PAGE);
                      }
                      return cpu() != here;
                    })
                .result();
      } catch (Exception e) {
        throw new AssertionError(e);
      }
    }
  }

  /** A folio of this CPU's batch needs no other CPU's drained. */
  @Test
  void theBatchOfThisCpuComesFirst() {
    try (host;
        GuestMemfd memfd = file(ConversionProtocol.invalidateLock())) {
      memfd.allocate(0, PAGE);
      allocateElsewhere(memfd, 1);
      assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE));
      assertEquals(1, host.drainLru(), "the other CPU's batch has its folio");
    }
  }

  @Test
  void thenTheBatchesOfAllCpus() {
    try (host;
        GuestMemfd memfd = file(ConversionProtocol.invalidateLock())) {
      allocateElsewhere(memfd, 1);
      assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, 2L * PAGE));
      assertEquals(0, host.drainLru());
    }
  }

  /** All CPUs are asked once in a request, whatever comes into their batches meanwhile. */
  @Test
  void allCpusOnceInARequest() {
    try (host;
        GuestMemfd memfd = file(ConversionProtocol.invalidateLock());
        GuestMemfd other = file(ConversionProtocol.invalidateLock());
        HostMapping window = memfd.mmap(0, memfd.size(), READ, WRITE)) {
      window.putLong(PAGE, 1);
      host.drainLru();
      allocateElsewhere(memfd, 0);
      races.at(RacePoint.ON_MISMATCH, PAGE, () -> allocateElsewhere(other, 0)); // the second one
      BusyFolio busy = new BusyFolio();
      try (HostReference held = window.getUserPages(PAGE, 1)) {
        assertEquals(1, held.pages());
        assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, 2L * PAGE, busy));
      }
      assertEquals(PAGE, busy.offset());
      assertEquals(1, host.drainLru(), "what came after the one drain of all");
    }
  }

  /** A folio that may be pinned is refused before anything is drained; not so in version 8. */
  @ParameterizedTest
  @ValueSource(strings = {"invalidate-lock", "invalidate-lock-v8"})
  void aPinnedFolioIsNotDrained(String id) {
    try (host;
        GuestMemfd memfd = file(ConversionProtocol.byId(id).orElseThrow());
        HostMapping window = memfd.mmap(0, memfd.size(), READ, WRITE)) {
      window.putLong(0, 1);
      BusyFolio busy = new BusyFolio();
      try (HostReference pin = window.pin(0, 1)) {
        assertEquals(1, pin.pages());
        assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, PAGE, busy));
        assertEquals(1, busy.pinnedHolders());
      }
      assertEquals(id.equals("invalidate-lock") ? 1 : 0, host.drainLru());
      assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE, busy));
    }
  }

  /** Nor is its lock waited for: a thread that keeps it may be the one that waits for the pin. */
  @Test
  void aPinnedFolioIsRefusedThoughItIsLocked() throws Exception {
    try (host;
        GuestMemfd memfd = file(ConversionProtocol.invalidateLock());
        HostMapping window = memfd.mmap(0, memfd.size(), READ, WRITE);
        HostReference pin = window.pin(PAGE, 1);
        Folio folio = memfd.grab(PAGE)) {
      assertEquals(1, pin.pages());
      folio.lock();
      try {
        BusyFolio busy = new BusyFolio();
        Worker<Errno> converter = Worker.start(() -> memfd.tryMakeInaccessible(0, 2L * PAGE, busy));
        assertEquals(Errno.EAGAIN, converter.result());
        assertEquals(PAGE, busy.offset());
        assertEquals(1, busy.pinnedHolders());
        assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE));
      } finally {
        folio.unlock();
      }
    }
  }

  /** Nor is it waited for, whatever the policy; version 8 looks again. */
  @ParameterizedTest
  @ValueSource(strings = {"invalidate-lock", "invalidate-lock-v8"})
  void aPinnedFolioIsNotLookedAtAgain(String id) {
    try (host;
        GuestMemfd memfd =
            GuestMemfd.builder(host)
                .size(PAGE)
                .flags(MMAP, INIT_SHARED)
                .protocol(ConversionProtocol.byId(id).orElseThrow())
                .retryPolicy(RetryPolicy.spin(8))
                .build();
        HostMapping window = memfd.mmap(0, PAGE, READ, WRITE)) {
      try (HostReference pin = window.pin(0, 1)) {
        assertEquals(1, pin.pages());
        assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, PAGE));
      }
      assertEquals(id.equals("invalidate-lock") ? 0 : 8, memfd.metrics().retries());
    }
  }
}
