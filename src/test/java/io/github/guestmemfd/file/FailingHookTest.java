package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.HolderKind.UNSAFE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.gunyah.MemoryParcels;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.memory.Counts;
import io.github.guestmemfd.spi.RacePoint;
import java.nio.ByteBuffer;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.EnumSource.Mode;

/**
 * A race hook that throws. An operation that can be given up leaves nothing behind; one that cannot
 * is carried to its end, and the exception comes then.
 */
class FailingHookTest extends RaceFixture {
  private RacePoint failing;

  @Override
  protected void passes(RacePoint point, long index) {
    if (point == failing) {
      failing = null;
      throw new IllegalStateException("planned");
    }
    super.passes(point, index);
  }

  private void fails(RacePoint at, Executable body) {
    failing = at;
    IllegalStateException e = assertThrows(IllegalStateException.class, body);
    assertEquals("planned", e.getMessage());
  }

  private static void fails(CompletableFuture<Void> future, Class<? extends Exception> with) {
    ExecutionException e = assertThrows(ExecutionException.class, future::get);
    assertEquals(with, e.getCause().getClass());
  }

  @Test
  void aCloseEndsTheFile() {
    GuestMemfd memfd = file(2);
    write(memfd, 0, SECRET);
    fails(RacePoint.RANGE_BUSY, memfd::close);
    assertTrue(memfd.reopen().isEmpty());
    assertEquals(0, host.used());
  }

  @Test
  void aFaultTakesItsEntryBack() throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    fails(RacePoint.AFTER_PTE_INSTALL, () -> window.putLong(0, 1));
    try (Folio folio = memfd.grab(0, UNSAFE)) {
      assertEquals(2, Counts.refs(frames().counts(folio.pfn())), "references");
    }
    assertQuiet(memfd);
  }

  private CompletableFuture<Void> pending(GuestMemfd memfd) {
    CompletableFuture<Void> later = memfd.makeInaccessibleLater(0, PAGE);
    assertFalse(later.isDone());
    return later;
  }

  @Test
  void aCompletionFailsAndThePagesAreAsTheyWere() throws Exception {
    GuestMemfd memfd = later(1);
    Folio folio = memfd.grab(0, UNSAFE);
    CompletableFuture<Void> later = pending(memfd);
    failing = RacePoint.RANGE_BUSY;
    folio.close();
    fails(later, IllegalStateException.class);
    assertTrue(memfd.isAccessible(0));
    assertQuiet(memfd);
  }

  @Test
  void aConversionIsUndoneForAnotherOperation() throws Exception {
    GuestMemfd memfd = later(1);
    try (Folio folio = memfd.grab(0, UNSAFE)) {
      CompletableFuture<Void> later = pending(memfd);
      fails(RacePoint.RANGE_BUSY, () -> memfd.makeAccessible(0, PAGE));
      fails(later, GuestMemfdException.class);
      assertTrue(memfd.isAccessible(folio.offset()));
    }
    assertQuiet(memfd);
  }

  @Test
  void aConversionIsCancelled() throws Exception {
    GuestMemfd memfd = later(1);
    try (Folio folio = memfd.grab(0, UNSAFE)) {
      CompletableFuture<Void> later = pending(memfd);
      fails(RacePoint.RANGE_BUSY, () -> later.cancel(false));
      assertTrue(later.isCancelled());
      assertTrue(memfd.isAccessible(folio.offset()));
    }
    assertQuiet(memfd);
  }

  @Test
  void anInvalidationOfAVirtualMachineEnds() {
    VirtualMachine vm = VirtualMachine.builder().keepReferences().build();
    try (GuestMemfd memfd =
        vm.createGuestMemfd(
            GuestMemfd.builder(host).size(2L * PAGE).protocol(ConversionProtocol.bothCounters()))) {
      vm.bind(0, 0, memfd.size(), memfd, 0);
      Vcpu vcpu = vm.createVcpu();
      assertEquals(2L * PAGE, vm.preFault(0, 2L * PAGE));
      fails(RacePoint.BETWEEN_DROPS, () -> memfd.punchHole(0, 2L * PAGE));
      assertTrue(vcpu.tryWrite(0, 8, 1, MemoryAttribute.PRIVATE), "a fault starts over for ever");
      memfd.punchHole(0, 2L * PAGE);
      assertEquals(0, host.used());
    }
  }

  @Test
  void allIsReclaimed() {
    MemoryParcels parcels =
        new MemoryParcels(
            GuestMemfd.builder(host).size(2L * PAGE).protocol(ConversionProtocol.bothCounters()));
    try (GuestMemfd memfd = parcels.memfd()) {
      parcels.lend(0, 2L * PAGE);
      fails(RacePoint.BETWEEN_DROPS, () -> parcels.reclaim(0, 2L * PAGE));
      assertFalse(parcels.isLent(0, 2L * PAGE));
      assertEquals(Errno.OK, memfd.tryMakeAccessible(0, 2L * PAGE));
    }
  }

  /** A hook may throw to simulate a failure at its step: nothing is left held, mapped or busy. */
  @ParameterizedTest
  @EnumSource(
      value = RacePoint.class,
      mode = Mode.EXCLUDE,
      names = {"BEFORE_MMU_LOCK", "BEFORE_HOST_CLOSE"}) // a client's, and no file's
  void aFailureAtAnyStepLeavesNothingBehind(RacePoint point) throws Exception {
    ConversionProtocol whosePoint =
        switch (point) {
          case BETWEEN_REF_AND_SAFE, BETWEEN_DROPS -> ConversionProtocol.bothCounters();
          case BEFORE_GUEST_LOCK -> ConversionProtocol.timedWait();
          case BEFORE_FREEZE -> ConversionProtocol.lastPut();
          default -> ConversionProtocol.atomicPair();
        };
    GuestMemfd memfd = file(2, b -> b.protocol(whosePoint));
    HostMapping window = map(memfd);
    window.putLong(PAGE, 1);
    Folio unsafe = null;
    if (point == RacePoint.ON_MISMATCH) {
      unsafe = memfd.grab(PAGE, UNSAFE);
    }
    fails(
        point,
        () -> {
          window.putLong(0, 1); // a first use, which passes every point of a fault
          window.getUserPages(0, 8).close();
          host.pfnWalker().scan(1);
          memfd.grab(0).close();
          memfd.tryRead(0, ByteBuffer.allocate(8));
          host.addressSpace().fork().close();
          memfd.makeInaccessible(0, 2L * PAGE);
        });
    if (unsafe != null) {
      unsafe.close();
    }
    assertQuiet(memfd);
  }
}
