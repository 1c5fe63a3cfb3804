package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.AddressSpace;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.abi.SigSegvException;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import org.junit.jupiter.api.Test;

/** A fork that stands between its moment and the child's mappings, against what comes meanwhile. */
class ForkRaceTest extends RaceFixture {

  /** Holds a fork there while something is done, and answers the child. */
  private AddressSpace fork(Runnable meanwhile) throws Exception {
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_INHERIT);
    Worker<AddressSpace> fork = Worker.start(host.addressSpace()::fork);
    gate.awaitReached();
    meanwhile.run();
    gate.release();
    return fork.result();
  }

  @Test
  void aMunmapThatComesLaterIsOfTheParent() throws Exception {
    HostMapping window = map(file(2));
    window.putLong(0, 1);
    try (AddressSpace child = fork(() -> window.munmap(0, PAGE))) {
      assertThrows(SigSegvException.class, () -> window.getLong(0));
      assertEquals(1, child.inherited(window).getLong(0));
    }
  }

  /** Its file is open for the child, which is the last to have it. */
  @Test
  void theChildHasWhatTheParentHasClosedSince() throws Exception {
    GuestMemfd memfd = file(2);
    HostMapping window = map(memfd);
    window.putLong(0, 1);
    AddressSpace child =
        fork(
            () -> {
              window.close();
              memfd.close();
            });
    assertEquals(1, child.inherited(window).getLong(0));
    child.close();
    assertTrue(memfd.reopen().isEmpty());
  }

  @Test
  void aConversionAndAPunchNeedNotWait() throws Exception {
    GuestMemfd memfd = file(2);
    HostMapping window = map(memfd);
    window.putLong(0, 1);
    window.putLong(PAGE, 1);
    try (AddressSpace child =
        fork(
            () -> {
              memfd.makeInaccessible(0, PAGE);
              memfd.punchHole(PAGE, PAGE);
            })) {
      HostMapping heir = child.inherited(window);
      assertThrows(SigBusException.class, () -> heir.getLong(0));
      assertEquals(0, heir.getLong(PAGE));
    }
  }

  /** A fault of the child that comes too late for a punch takes its entry back. */
  @Test
  void aFaultOfTheChildThatComesTooLateForAPunchFindsTheNewPage() throws Exception {
    GuestMemfd memfd = file(2);
    HostMapping window = map(memfd);
    window.putLong(0, 1);
    try (AddressSpace child = host.addressSpace().fork()) {
      HostMapping heir = child.inherited(window);
      RacePoints.Gate gate = races.hold(RacePoint.BEFORE_PTE_INSTALL);
      Worker<Long> fault = Worker.start(() -> heir.getLong(0));
      gate.awaitReached();
      memfd.punchHole(0, PAGE);
      window.putLong(0, 2);
      gate.release();
      assertEquals(2, fault.result());
    }
  }

  /** An interrupt is of no concern to a fork, which waits for nothing. */
  @Test
  void anInterruptIsKept() {
    HostMapping window = map(file(1));
    Thread.currentThread().interrupt();
    AddressSpace child = host.addressSpace().fork();
    assertTrue(Thread.interrupted());
    assertEquals(0, child.inherited(window).getLong(0));
    child.close();
  }

  /** What a hook throws in the middle leaves nothing behind, and no file open. */
  @Test
  void aForkThatFailsInTheMiddleLeavesNothing() {
    int[] passed = new int[1];
    HostMemory other =
        HostMemory.builder(4 * PAGE)
            .raceHook(
                (point, index) -> {
                  if (point == RacePoint.BEFORE_INHERIT && ++passed[0] == 2) {
                    throw new IllegalArgumentException("thrown");
                  }
                })
            .build();
    try (other) {
      for (int i = 0; i < 3; i++) {
        try (GuestMemfd memfd =
            GuestMemfd.builder(other).size(PAGE).flags(MMAP, INIT_SHARED).build()) {
          memfd.mmap(0, PAGE, READ);
        }
      }
      assertThrows(IllegalArgumentException.class, other.addressSpace()::fork);
      other.addressSpace().close(); // and with it every file, or the host is not closed
    }
  }

  /** Waits for nothing, so it may be called where a range operation has the pages. */
  @Test
  void aForkInsideACallbackWorksAndAnExitDoesNot() throws Exception {
    HostMapping window = map(file(1));
    AddressSpace[] child = new AddressSpace[1];
    GuestMemfd other =
        file(
            1,
            b ->
                b.ops(
                    new GuestMemfdOps() {
                      @Override
                      public Errno invalidateBegin(long offset, long length) {
                        child[0] = host.addressSpace().fork();
                        refused(Errno.EDEADLK, child[0]::close);
                        return Errno.OK;
                      }
                    }));
    other.makeInaccessible(0, PAGE);
    assertFalse(child[0].inherited(window).isClosed());
    child[0].close();
  }
}
