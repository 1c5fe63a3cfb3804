package org.example;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AutoClose;
import org.junit.jupiter.api.Test;

class RaceTest {
  @AutoClose final RacePoints races = new RacePoints(); // fails if a planned race never happened

  @Test
  void aFaultUnderWayIsInTheWayOfAConversion() throws Exception {
    try (HostMemory host = HostMemory.builder(1 << 20).raceHook(races).build();
        GuestMemfd memfd =
            GuestMemfd.builder(host)
                .size(65536)
                .flags(MMAP, INIT_SHARED)
                .retryPolicy(RetryPolicy.failAtOnce())
                .build();
        HostMapping window = memfd.mmap(0, 65536, READ, WRITE)) {
      CompletableFuture<Void> fault;
      try (RacePoints.Gate gate = races.hold(RacePoint.BEFORE_PTE_INSTALL)) {
        fault = CompletableFuture.runAsync(() -> window.putLong(0, 7));
        gate.awaitReached(); // it has a reference, and no mapping yet
        assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, 4096));
      } // the fault goes on
      fault.join();

      assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, 4096));
      assertThrows(SigBusException.class, () -> window.getLong(0));
    }
  }
}
