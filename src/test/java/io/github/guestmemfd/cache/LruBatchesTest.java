package io.github.guestmemfd.cache;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.Duel;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AutoClose;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Folios that have just come into a page cache, and the references their batches hold. */
@Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class LruBatchesTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;

  @AutoClose private final RacePoints races = new RacePoints();

  private HostMemory host(int pages, int cpus, int size) {
    return HostMemory.builder((long) pages * PAGE).raceHook(races).lruBatches(cpus, size).build();
  }

  private static GuestMemfd file(HostMemory host, int pages) {
    return file(host, pages, GuestMemfdOps.NONE);
  }

  private static GuestMemfd file(HostMemory host, int pages, GuestMemfdOps ops) {
    return GuestMemfd.builder(host)
        .size((long) pages * PAGE)
        .flags(MMAP, INIT_SHARED)
        .ops(ops)
        .retryPolicy(RetryPolicy.failAtOnce())
        .build();
  }

  @Test
  void withoutBatchesThereIsNothingToDrain() {
    try (HostMemory host = HostMemory.ofBytes(PAGE);
        GuestMemfd memfd = file(host, 1)) {
      memfd.allocate(0, PAGE);
      assertEquals(0, host.drainLru());
    }
  }

  /** What is punched meanwhile lives on in its batch. */
  @Test
  void aBatchHoldsItsFoliosUntilItIsDrained() {
    try (HostMemory host = host(8, 1, 4);
        GuestMemfd memfd = file(host, 8)) {
      memfd.allocate(0, 2L * PAGE);
      memfd.grab(2L * PAGE).close();
      memfd.grab(2L * PAGE).close();
      memfd.punchHole(0, memfd.size());
      assertEquals(3L * PAGE, host.used());
      assertEquals(3, host.drainLru());
      assertEquals(0, host.used());
      assertEquals(0, host.drainLru());
    }
  }

  @Test
  void aFullBatchIsEmptied() {
    try (HostMemory host = host(8, 1, 4);
        GuestMemfd memfd = file(host, 8)) {
      memfd.allocate(0, 4L * PAGE);
      assertEquals(0, host.drainLru());
      memfd.allocate(0, 5L * PAGE);
      assertEquals(1, host.drainLru());
    }
  }

  @Test
  void aBatchOfOneHoldsNothing() {
    try (HostMemory host = host(8, 1, 1);
        GuestMemfd memfd = file(host, 8)) {
      memfd.allocate(0, memfd.size());
      assertEquals(0, host.drainLru());
    }
  }

  /** Threads of different CPUs fill different batches. */
  @Test
  void eachCpuHasItsBatch() throws Exception {
    try (HostMemory host = host(8, 2, 2);
        GuestMemfd memfd = file(host, 8)) {
      List<Long> cpus = new ArrayList<>();
      for (long page = 0; cpus.size() < 2; page++) {
        long offset = page * PAGE;
        Callable<Long> fill =
            () -> {
              long cpu = Thread.currentThread().getId() % 2;
              if (!cpus.contains(cpu)) {
                memfd.allocate(offset, PAGE);
              }
              return cpu;
            };
        Long cpu = Worker.start(fill).result();
        if (!cpus.contains(cpu)) {
          cpus.add(cpu);
        }
      }
      assertEquals(2, host.drainLru(), "one in each, which fills none");
    }
  }

  /** The reference is in the way of a conversion, which drains and looks again. */
  @Test
  void aConversionDrains() {
    AtomicInteger unsafe = new AtomicInteger(-1);
    try (HostMemory host = host(8, 3, 4);
        GuestMemfd memfd = file(host, 2)) {
      memfd.allocate(0, 2L * PAGE);
      races.at(RacePoint.ON_MISMATCH, () -> unsafe.set(1));
      BusyFolio busy = new BusyFolio();
      assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, 2L * PAGE, busy), busy::toString);
      assertEquals(1, unsafe.get(), "there was a mismatch");
      assertEquals(0, host.drainLru());
    }
  }

  @Test
  void aConversionThatFailsNamesTheOthersOnly() {
    try (HostMemory host = host(8, 1, 4);
        GuestMemfd memfd = file(host, 1);
        HostMapping window = memfd.mmap(0, PAGE, READ, WRITE)) {
      window.putLong(0, 42);
      BusyFolio busy = new BusyFolio();
      window.pin(0, 8).close(); // by way of the page table: one more reference comes and goes
      try (var plain = window.getUserPages(0, 8)) {
        assertEquals(1, plain.pages());
        assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, PAGE, busy));
        assertEquals(1, busy.unsafeHolders(), busy::toString);
      }
      assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE, busy));
    }
  }

  /** Orphans in batches are memory that an allocation can have. */
  @ParameterizedTest
  @CsvSource({"true", "false"})
  void anAllocationThatFindsNoMemoryDrains(boolean range) {
    try (HostMemory host = host(4, 1, 8);
        GuestMemfd memfd = file(host, 5);
        HostMapping window = memfd.mmap(0, 5L * PAGE, READ, WRITE)) {
      memfd.allocate(0, 4L * PAGE);
      memfd.punchHole(0, 4L * PAGE);
      assertEquals(4L * PAGE, host.used());
      if (range) {
        memfd.allocate(0, 4L * PAGE);
      } else {
        for (int i = 0; i < 4; i++) {
          window.putLong((long) i * PAGE, i);
        }
      }
      assertEquals(4, memfd.cachedPages());
      GuestMemfdException e =
          assertThrows(GuestMemfdException.class, () -> memfd.allocate(4L * PAGE, PAGE));
      assertEquals(Errno.ENOMEM, e.errno());
    }
  }

  @Test
  void theEndOfTheHostDrains() {
    HostMemory host = host(4, 2, 8);
    GuestMemfd memfd = file(host, 4);
    memfd.allocate(0, 4L * PAGE);
    memfd.close();
    assertEquals(4L * PAGE, host.used());
    host.close();
    assertEquals(0, host.used());
  }

  /** Of two that fill a hole the loser's frame goes with its batch. */
  @Test
  void theLosersFrameIsDrainedToo() throws Exception {
    try (HostMemory host = host(4, 2, 8);
        GuestMemfd memfd = file(host, 1)) {
      RacePoints.Gate gate = races.hold(RacePoint.BEFORE_SLOT_FILL);
      Worker<Void> loser =
          Worker.start(
              () -> {
                memfd.grab(0).close();
                return null;
              });
      gate.awaitReached();
      memfd.grab(0).close();
      gate.release();
      loser.result();
      assertEquals(2L * PAGE, host.used());
      assertEquals(2, host.drainLru());
      assertEquals(PAGE, host.used());
      memfd.makeInaccessible(0, PAGE);
    }
  }

  /** A callback that throws does not keep anything from being drained, and no caller sees it. */
  @Test
  void whatFreeFolioThrowsIsNotTheDrainersBusiness() {
    AtomicInteger freed = new AtomicInteger();
    GuestMemfdOps ops =
        new GuestMemfdOps() {
          @Override
          public void freeFolio(Folio folio) {
            freed.incrementAndGet();
            throw new IllegalStateException("no");
          }
        };
    try (HostMemory host = host(4, 1, 8);
        GuestMemfd memfd = file(host, 4, ops)) {
      memfd.allocate(0, 4L * PAGE);
      memfd.punchHole(0, 4L * PAGE);
      assertEquals(0, freed.get());
      assertEquals(4, host.drainLru());
      assertEquals(4, freed.get());
      assertEquals(0, host.used());
    }
  }

  @ParameterizedTest
  @CsvSource({"0, 1", "-1, 1", "1, 0", "1, -1", "1, 1048577"})
  void refusesOtherNumbers(int cpus, int size) {
    HostMemory.Builder builder = HostMemory.builder(PAGE);
    assertThrows(IllegalArgumentException.class, () -> builder.lruBatches(cpus, size));
  }

  /** Under load: fills of other pages come and go in the batches while a page is converted. */
  @Test
  @Tag("duel")
  void conversionsSucceedWhileBatchesFill() throws Exception {
    try (HostMemory host = host(64, 2, 3);
        GuestMemfd memfd =
            GuestMemfd.builder(host).size(16L * PAGE).flags(MMAP, INIT_SHARED).build()) {
      Duel.race(
          round -> {
            long offset = (round & 7) * PAGE;
            memfd.grab(offset).close();
            assertEquals(Errno.OK, memfd.tryMakeInaccessible(offset, PAGE));
            assertEquals(Errno.OK, memfd.tryMakeAccessible(offset, PAGE));
            memfd.punchHole(offset, PAGE);
            return true;
          },
          round -> {
            long offset = (8 + (round & 7)) * PAGE;
            memfd.grab(offset).close();
            memfd.punchHole(offset, PAGE);
            return true;
          });
      host.drainLru();
      assertEquals(0, host.used());
    }
  }
}
