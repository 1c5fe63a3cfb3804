package io.github.guestmemfd.kvm;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.VmFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.Assertions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** A fault and an access of a vCPU against what may come in between, the same way every time. */
class VcpuRaceTest extends VmFixture {
  private final Vcpu vcpu = vm.createVcpu();

  static List<ConversionProtocol> sound() {
    return ConversionProtocol.all().stream().filter(ConversionProtocol::isSound).toList();
  }

  /** A vCPU whose fault has the first page, and is about to take mmu_lock. */
  private Worker<Boolean> faultAt(RacePoints.Gate gate) throws InterruptedException {
    Worker<Boolean> fault = Worker.start(() -> vcpu.tryRead(GPA, 8, SHARED));
    gate.awaitReached();
    return fault;
  }

  // ---- a fault that comes too late ----

  @Test
  void aFaultThatRacedWithAConversionIsRetried() throws Exception {
    GuestMemfd memfd = bound(1);
    Worker<Boolean> fault;
    try (RacePoints.Gate gate = races.hold(RacePoint.BEFORE_MMU_LOCK, GPA)) {
      fault = faultAt(gate);
      memfd.makeInaccessible(0, PAGE);
    }
    assertMemoryFault(fault.result(), vcpu, GPA, SHARED, Access.READ, Errno.EFAULT);
    assertEquals(1, vm.metrics().retries());
    assertEquals(1, vm.metrics().faults());
  }

  @Test
  void aFaultThatRacedWithAPunchFindsTheNewPage() throws Exception {
    GuestMemfd memfd = bound(2);
    write(vcpu, GPA, 42, SHARED);
    vm.unbind(0);
    vm.bind(0, GPA, 2L * PAGE, memfd, 0); // nothing is mapped
    Worker<Boolean> fault;
    try (RacePoints.Gate gate = races.hold(RacePoint.BEFORE_MMU_LOCK, GPA)) {
      fault = faultAt(gate);
      memfd.punchHole(0, PAGE);
      assertEquals(PAGE, host.used(), "the fault holds the old page");
    }
    assertTrue(fault.result());
    assertEquals(0, vcpu.value());
    assertEquals(1, vm.metrics().retries());
    assertEquals(PAGE, host.used(), "and lets it go");
  }

  /** The number has not changed yet, so it is the range that tells. */
  @Test
  void aFaultWaitsForAnInvalidationUnderWay() throws Exception {
    RacePoints.Gate begun = races.gate();
    GuestMemfd memfd =
        file(
            2,
            new GuestMemfdOps() {
              @Override
              public Errno invalidateBegin(long offset, long length) {
                begun.pass();
                return Errno.OK;
              }
            });
    vm.bind(0, GPA, 2L * PAGE, memfd, 0);
    Worker<Boolean> fault;
    Worker<Errno> conversion;
    try (begun) {
      try (RacePoints.Gate gate = races.hold(RacePoint.BEFORE_MMU_LOCK, GPA)) {
        fault = faultAt(gate);
        conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
        begun.awaitReached();
      }
      probe.awaitWaiting(fault);
      assertTrue(vm.metrics().retries() > 0);
      assertTrue(vm.createVcpu().tryRead(GPA + PAGE, 8, SHARED), "a page beside it does not wait");
    }
    assertEquals(Errno.OK, conversion.result());
    assertMemoryFault(fault.result(), vcpu, GPA, SHARED, Access.READ, Errno.EFAULT);
  }

  /** It looked at the attribute before the conversion, and gets the page after it. */
  @Test
  void aFaultThatWaitedForTheConversionLooksAtTheAttributeAgain() throws Exception {
    GuestMemfd memfd = bound(1);
    RacePoints.Gate busy = races.hold(RacePoint.RANGE_BUSY);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    busy.awaitReached();
    Worker<Boolean> fault = Worker.start(() -> vcpu.tryRead(GPA, 8, SHARED));
    probe.awaitWaiting(fault);
    busy.release();
    assertEquals(Errno.OK, conversion.result());
    assertMemoryFault(fault.result(), vcpu, GPA, SHARED, Access.READ, Errno.EFAULT);
  }

  /** The memslot comes while its page is being converted, so that the invalidation misses it. */
  @Test
  void aMemslotBoundInTheMiddleOfAConversionIsNotMappedWrongly() throws Exception {
    RacePoints.Gate begun = races.gate();
    GuestMemfd memfd =
        file(
            1,
            new GuestMemfdOps() {
              @Override
              public Errno invalidateBegin(long offset, long length) {
                begun.pass();
                return Errno.OK;
              }
            });
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    begun.awaitReached();
    vm.bind(0, GPA, PAGE, memfd, 0);
    Worker<Boolean> fault = Worker.start(() -> vcpu.tryRead(GPA, 8, SHARED));
    probe.awaitWaiting(fault);
    begun.release();
    assertEquals(Errno.OK, conversion.result());
    assertMemoryFault(fault.result(), vcpu, GPA, SHARED, Access.READ, Errno.EFAULT);
  }

  /** An entry that came too late would keep its reference for ever. */
  @Test
  void aFaultThatRacedWithTheDeletionOfItsMemslotMapsNothing() throws Exception {
    vm = VirtualMachine.builder().raceHook(races).idleStrategy(probe).keepReferences().build();
    Vcpu user = vm.createVcpu();
    GuestMemfd memfd = bound(1);
    Worker<Boolean> fault;
    try (RacePoints.Gate gate = races.hold(RacePoint.BEFORE_MMU_LOCK, GPA)) {
      fault = Worker.start(() -> user.tryRead(GPA, 8, SHARED));
      gate.awaitReached();
      vm.unbind(0);
    }
    assertFalse(fault.result());
    assertInstanceOf(VcpuExit.Mmio.class, user.exit());
    memfd.punchHole(0, PAGE);
    assertEquals(0, host.used());
  }

  /** The fault holds the file open, and is the one to end it. */
  @Test
  void aFaultThatRacedWithTheEndOfItsFileMapsNothing() throws Exception {
    GuestMemfd memfd = bound(1);
    Worker<Boolean> fault;
    try (RacePoints.Gate gate = races.hold(RacePoint.BEFORE_MMU_LOCK, GPA)) {
      fault = faultAt(gate);
      memfd.close();
    }
    assertMemoryFault(fault.result(), vcpu, GPA, SHARED, Access.READ, Errno.EFAULT);
    assertEquals(0, host.used());
  }

  @Test
  void aFaultThatRacedWithAMemoryFailureIsToldOfIt() throws Exception {
    GuestMemfd memfd = bound(1);
    int pfn;
    try (Folio folio = memfd.grab(0)) {
      pfn = folio.pfn();
    }
    Worker<Boolean> fault;
    try (RacePoints.Gate gate = races.hold(RacePoint.BEFORE_MMU_LOCK, GPA)) {
      fault = faultAt(gate);
      assertEquals(Errno.OK, host.pfnWalker().memoryFailure(pfn));
    }
    assertMemoryFault(fault.result(), vcpu, GPA, SHARED, Access.READ, Errno.EHWPOISON);
  }

  /** The entry of one that overwrote the other's would keep its reference for ever. */
  @Test
  void twoFaultsOnOnePageShareAnEntry() throws Exception {
    vm = VirtualMachine.builder().raceHook(races).idleStrategy(probe).keepReferences().build();
    Vcpu user = vm.createVcpu();
    GuestMemfd memfd = bound(1);
    Worker<Boolean> fault;
    try (RacePoints.Gate gate = races.hold(RacePoint.BEFORE_MMU_LOCK, GPA)) {
      fault = Worker.start(() -> user.tryRead(GPA, 8, SHARED));
      gate.awaitReached();
      write(vm.createVcpu(), GPA, 42, SHARED);
    }
    assertTrue(fault.result());
    assertEquals(42, user.value());
    memfd.makeInaccessible(0, PAGE);
    assertEquals(1, vm.metrics().zaps());
    assertFalse(user.tryRead(GPA, 8, SHARED));
    memfd.punchHole(0, PAGE);
    assertEquals(0, host.used());
  }

  @Test
  void aWaitingFaultIsInterruptible() throws Exception {
    GuestMemfd memfd = bound(1);
    RacePoints.Gate busy = races.hold(RacePoint.RANGE_BUSY);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    busy.awaitReached();
    Worker<VcpuExit> fault =
        Worker.start(
            () -> {
              assertFalse(vcpu.tryRead(GPA, 8, SHARED));
              assertTrue(Thread.currentThread().isInterrupted());
              return vcpu.exit();
            });
    probe.awaitWaiting(fault);
    fault.interrupt();
    assertEquals(new VcpuExit.Interrupted(), fault.result());
    busy.release();
    assertEquals(Errno.OK, conversion.result());
  }

  /** Here it does not wait for the page but for an invalidation of a range that spans it. */
  @Test
  void aFaultThatIsDoneAgainIsInterruptible() throws Exception {
    RacePoints.Gate begun = races.gate();
    GuestMemfd memfd =
        file(
            3,
            new GuestMemfdOps() {
              @Override
              public Errno invalidateBegin(long offset, long length) {
                if (offset == 0) {
                  begun.pass();
                }
                return Errno.OK;
              }
            });
    // The one range of the file is two of the guest's, with the page of another memslot between.
    vm.bind(0, GPA, PAGE, memfd, 0);
    vm.bind(1, GPA + PAGE, PAGE, memfd, 2L * PAGE);
    vm.bind(2, GPA + 2L * PAGE, PAGE, memfd, PAGE);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, 2L * PAGE));
    begun.awaitReached();
    Worker<Boolean> fault = Worker.start(() -> vcpu.tryRead(GPA + PAGE, 8, SHARED));
    probe.awaitWaiting(fault);
    fault.interrupt();
    assertFalse(fault.result());
    assertEquals(new VcpuExit.Interrupted(), vcpu.exit());
    begun.release();
    assertEquals(Errno.OK, conversion.result());
    assertTrue(vcpu.tryRead(GPA + PAGE, 8, SHARED));
  }

  /** A hook may throw to simulate a failure at its step. */
  @ParameterizedTest
  @EnumSource(
      value = RacePoint.class,
      names = {"BEFORE_MMU_LOCK", "ACCESS_IN_FLIGHT"})
  void aFailureLeavesNothingBehind(RacePoint point) {
    VirtualMachine failing =
        VirtualMachine.builder()
            .raceHook(
                (passed, gfn) -> {
                  assertEquals(GPA / PAGE, gfn);
                  if (passed == point) {
                    throw new IllegalStateException("planned");
                  }
                })
            .build();
    GuestMemfd memfd = closing(failing.createGuestMemfd(describe(1)));
    failing.bind(0, GPA, PAGE, memfd, 0);
    Vcpu user = failing.createVcpu();
    Assertions.assertThrows(IllegalStateException.class, () -> user.tryRead(GPA, 8, SHARED));
    assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE));
    memfd.punchHole(0, PAGE);
    assertEquals(0, host.used());
  }

  // ---- an access under way ----

  @ParameterizedTest
  @ValueSource(strings = {"convert", "punch", "unbind", "close", "fail"})
  void aZapWaitsForAnAccessUnderWay(String operation) throws Exception {
    GuestMemfd memfd = bound(1);
    read(vcpu, GPA, SHARED);
    int pfn;
    try (Folio folio = memfd.grab(0)) {
      pfn = folio.pfn();
    }
    Worker<Boolean> access;
    Worker<Void> zap;
    try (RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT, GPA)) {
      access = Worker.start(() -> vcpu.tryWrite(GPA, 8, 42, SHARED));
      gate.awaitReached();
      zap =
          Worker.start(
              () -> {
                switch (operation) {
                  case "convert" -> memfd.makeInaccessible(0, PAGE);
                  case "punch" -> memfd.punchHole(0, PAGE);
                  case "unbind" -> vm.unbind(0);
                  case "close" -> memfd.close();
                  default -> assertEquals(Errno.OK, host.pfnWalker().memoryFailure(pfn));
                }
                return null;
              });
      probe.awaitWaiting(zap);
      assertFalse(zap.isDone());
      assertEquals(PAGE, host.used());
    }
    assertTrue(access.result(), "done before the zap");
    zap.result();
    if (operation.equals("convert")) {
      assertEquals(42, read(vcpu, GPA, PRIVATE));
    } else if (operation.equals("punch")) {
      assertEquals(0, read(vcpu, GPA, SHARED));
    } else {
      assertFalse(vcpu.tryRead(GPA, 8, SHARED));
    }
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aZapThatIsInterruptedRefusesTheConversion(boolean keepsReferences) throws Exception {
    if (keepsReferences) {
      vm = VirtualMachine.builder().raceHook(races).idleStrategy(probe).keepReferences().build();
    }
    Vcpu user = vm.createVcpu();
    GuestMemfd memfd = bound(1);
    write(user, GPA, 1, SHARED);
    Worker<Boolean> access;
    try (RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT, GPA)) {
      access = Worker.start(() -> user.tryWrite(GPA, 8, 42, SHARED));
      gate.awaitReached();
      Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
      probe.awaitWaiting(conversion);
      conversion.interrupt();
      assertEquals(Errno.EINTR, conversion.result());
      assertTrue(memfd.isAccessible(0));
      assertEquals(1, read(vm.createVcpu(), GPA, SHARED), "mapped again");
    }
    assertTrue(access.result());
    assertEquals(42, read(user, GPA, SHARED));
    memfd.makeInaccessible(0, PAGE);
    assertEquals(42, read(user, GPA, PRIVATE));
    memfd.punchHole(0, PAGE);
    assertEquals(0, host.used(), "no reference is left behind");
  }

  // ---- every protocol ----

  /** Mapped pages are no obstacle: under no sound protocol. */
  @ParameterizedTest
  @MethodSource("sound")
  void mappedPagesAreConverted(ConversionProtocol protocol) {
    GuestMemfd memfd =
        closing(
            vm.createGuestMemfd(
                describe(4).protocol(protocol).retryPolicy(RetryPolicy.failAtOnce())));
    vm.bind(0, GPA, 4L * PAGE, memfd, 0);
    Vcpu second = vm.createVcpu();
    try (HostMapping window = memfd.mmap(0, 4L * PAGE, Protection.READ, Protection.WRITE)) {
      for (int round = 0; round < 3; round++) {
        for (long at = 0; at < 4L * PAGE; at += PAGE) {
          window.putLong(at, at + round);
          assertEquals(at + round, read(vcpu, GPA + at, SHARED));
          write(second, GPA + at + 8, at - round, SHARED);
        }
        vm.setMemoryAttributes(GPA, 4L * PAGE, PRIVATE);
        Assertions.assertThrows(SigBusException.class, () -> window.getLong(0));
        for (long at = 0; at < 4L * PAGE; at += PAGE) {
          assertFalse(vcpu.tryRead(GPA + at, 8, SHARED));
          assertEquals(at + round, read(vcpu, GPA + at, PRIVATE));
          assertEquals(at - round, read(second, GPA + at + 8, PRIVATE));
        }
        vm.setMemoryAttributes(GPA, 4L * PAGE, SHARED);
        assertEquals(PAGE - round, window.getLong(PAGE + 8));
      }
    }
    memfd.punchHole(0, 4L * PAGE);
    assertEquals(0, host.used());
  }

  /** With references kept in the entries, where these survive a conversion. */
  @ParameterizedTest
  @ValueSource(strings = {"both-counters", "safe-only", "timed-wait", "atomic-pair"})
  void mappedPagesWithReferencesAreConverted(String id) {
    vm = VirtualMachine.builder().keepReferences().build();
    mappedPagesAreConvertedBy(vm.createVcpu(), ConversionProtocol.byId(id).orElseThrow());
  }

  private void mappedPagesAreConvertedBy(Vcpu user, ConversionProtocol protocol) {
    GuestMemfd memfd =
        closing(
            vm.createGuestMemfd(
                describe(2)
                    .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
                    .protocol(protocol)
                    .retryPolicy(RetryPolicy.failAtOnce())));
    vm.bind(0, GPA, 2L * PAGE, memfd, 0);
    write(user, GPA, 42, SHARED);
    try (HostMapping window = memfd.mmap(0, PAGE, Protection.READ)) {
      assertEquals(42, window.getLong(0));
      int scanned = 0;
      for (int pfn = 1; pfn <= 64; pfn++) {
        scanned += host.pfnWalker().scan(pfn) ? 1 : 0;
      }
      assertEquals(1, scanned);
    }
    vm.setMemoryAttributes(GPA, PAGE, PRIVATE);
    assertEquals(42, read(user, GPA, PRIVATE));
    vm.unbind(0);
    vm.bind(0, GPA, 2L * PAGE, memfd, 0);
    assertEquals(42, read(user, GPA, PRIVATE));
    memfd.punchHole(0, PAGE);
    assertEquals(0, host.used());
    read(user, GPA, PRIVATE);
  }

  /** What the option is not for: the mapping of the guest counts like any other holder. */
  @Test
  void keptReferencesThatCountRefuseTheConversion() {
    vm = VirtualMachine.builder().keepReferences().build();
    Vcpu user = vm.createVcpu();
    GuestMemfd memfd =
        closing(vm.createGuestMemfd(describe(1).protocol(ConversionProtocol.invalidateLock())));
    vm.bind(0, GPA, PAGE, memfd, 0);
    read(user, GPA, SHARED);
    assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, PAGE));
    vm.unbind(0);
    assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE));
  }

  // ---- threads ----

  @Test
  void cancellingEndsAVcpuThatWaits() throws Exception {
    GuestMemfd memfd = bound(1);
    RacePoints.Gate busy = races.hold(RacePoint.RANGE_BUSY);
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    busy.awaitReached();
    RacePoints.Gate started = races.gate();
    RacePoints.Gate exited = races.gate();
    started.release();
    exited.release();
    Future<Optional<VcpuExit>> run =
        vcpu.start(
            Executors.defaultThreadFactory(),
            v -> {
              started.pass();
              v.write(GPA, 8, 1, SHARED);
            },
            (v, exit) -> {
              assertEquals(new VcpuExit.Interrupted(), exit);
              exited.pass();
              return false;
            });
    started.awaitReached();
    run.cancel(true);
    exited.awaitReached();
    busy.release();
    assertEquals(Errno.OK, conversion.result());
  }
}
