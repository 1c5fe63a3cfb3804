package io.github.guestmemfd.kvm;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.VmFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * The faults of a kernel that converts in place: no reference on the page is held when it is
 * mapped, and a private page is made private each time.
 */
class FaultWithoutReferenceTest extends VmFixture {
  private final List<Long> madePrivate = new ArrayList<>();
  private Supplier<Errno> answer = () -> Errno.OK;
  private final List<Long> madeShared = new ArrayList<>();
  private Runnable onShared = () -> {};
  private final AtomicInteger releases = new AtomicInteger();

  private final GuestMemfdOps client =
      new GuestMemfdOps() {
        @Override
        public Errno makePrivate(Folio folio) {
          madePrivate.add(folio.offset() / PAGE);
          return answer.get();
        }

        @Override
        public void makeShared(Folio folio) {
          madeShared.add(folio.offset() / PAGE);
          onShared.run();
        }

        @Override
        public void release() {
          releases.incrementAndGet();
        }
      };

  @BeforeEach
  void inPlace() {
    vm = of(KernelProfile.IN_PLACE);
  }

  private VirtualMachine of(KernelProfile profile) {
    return VirtualMachine.builder()
        .kernelProfile(profile)
        .raceHook(races)
        .idleStrategy(probe)
        .build();
  }

  static List<ConversionProtocol> protocols() {
    List<ConversionProtocol> all = new ArrayList<>(ConversionProtocol.all());
    all.add(ConversionProtocol.invalidateLockV8());
    return all;
  }

  private GuestMemfd bound(int pages, ConversionProtocol protocol) {
    GuestMemfd memfd =
        closing(
            vm.createGuestMemfd(
                describe(pages).protocol(protocol).retryPolicy(RetryPolicy.failAtOnce()), client));
    vm.bind(0, GPA, memfd.size(), memfd, 0);
    return memfd;
  }

  // ---- without a reference ----

  /** A vCPU that has got its page is in no conversion's way, whatever the protocol. */
  @ParameterizedTest
  @MethodSource("protocols")
  void aConversionDoesNotMeetAFaultThatHasGotItsPage(ConversionProtocol protocol) throws Exception {
    GuestMemfd memfd = bound(1, protocol);
    Vcpu vcpu = vm.createVcpu();
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_MMU_LOCK);
    Worker<Boolean> fault = Worker.start(() -> vcpu.tryWrite(GPA, 8, 42, SHARED));
    gate.awaitReached();
    assertEquals(0, memfd.holders(0).safe());
    assertEquals(0, memfd.holders(0).unsafe());
    assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE));
    gate.release();
    assertFalse(fault.result());
    assertEquals(
        new VcpuExit.MemoryFault(GPA, PAGE, SHARED, Access.WRITE, Errno.EFAULT), vcpu.exit());
    assertEquals(1, vm.metrics().retries());
    assertEquals(0, read(vcpu, GPA, PRIVATE), "nothing was written");
  }

  /** Kernels of before hold one: it refuses the conversion if it is not counted as safe. */
  @ParameterizedTest
  @CsvSource({"LINUX_6_18", "LINUX_7_2"})
  void earlierKernelsHoldAReference(KernelProfile profile) throws Exception {
    vm = of(profile);
    GuestMemfd memfd = bound(1, ConversionProtocol.invalidateLock());
    Vcpu vcpu = vm.createVcpu();
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_MMU_LOCK);
    Worker<Boolean> fault = Worker.start(() -> vcpu.tryWrite(GPA, 8, 42, SHARED));
    gate.awaitReached();
    assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, PAGE));
    gate.release();
    assertTrue(fault.result());
    memfd.makeInaccessible(0, PAGE);
    assertEquals(42, read(vcpu, GPA, PRIVATE));
    assertEquals(List.of(), madePrivate, "nor do they have the hook");
  }

  /** The frame is another file's when the fault goes on: it is not mapped. */
  @Test
  void aPunchAndAnotherFileWhileAFaultHasNoReference() throws Exception {
    GuestMemfd memfd = bound(1, ConversionProtocol.invalidateLock());
    int pfn = memfd.tryGetPfn(0);
    Vcpu vcpu = vm.createVcpu();
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_MMU_LOCK);
    Worker<Boolean> fault = Worker.start(() -> vcpu.tryWrite(GPA, 8, 42, SHARED));
    gate.awaitReached();
    memfd.punchHole(0, PAGE);
    assertEquals(0, host.used());
    GuestMemfd other = closing(GuestMemfd.builder(host).size(PAGE).flags(3).build());
    try (Folio folio = other.grab(0)) {
      assertEquals(pfn, folio.pfn(), "the frame is used again");
      gate.release();
      assertTrue(fault.result());
      assertEquals(0, folio.buffer().getLong(0));
    }
    assertEquals(42, read(vcpu, GPA, SHARED));
  }

  /** The file ends while a fault has its page and no reference. */
  @Test
  void theEndOfTheFileWhileAFaultHasNoReference() throws Exception {
    GuestMemfd memfd = bound(1, ConversionProtocol.invalidateLock());
    Vcpu vcpu = vm.createVcpu();
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_MMU_LOCK);
    Worker<Boolean> fault = Worker.start(() -> vcpu.tryWrite(GPA, 8, 42, SHARED));
    gate.awaitReached();
    memfd.close();
    gate.release();
    fault.result();
    assertFalse(vcpu.tryRead(GPA, 8, SHARED));
    assertEquals(0, host.used());
  }

  @Test
  void noReferencesCanBeKept() {
    VirtualMachine.Builder builder =
        VirtualMachine.builder().kernelProfile(KernelProfile.IN_PLACE).keepReferences();
    IllegalStateException e = assertThrows(IllegalStateException.class, builder::build);
    assertTrue(e.getMessage().contains("Linux 7.4"), e::getMessage);
  }

  // ---- makePrivate and makeShared ----

  /** Every fault on a private page, and no other; a page that is mapped has no fault. */
  @Test
  void everyFaultOnAPrivatePage() {
    GuestMemfd memfd = bound(2, ConversionProtocol.invalidateLock());
    Vcpu vcpu = vm.createVcpu();
    write(vcpu, GPA, 1, SHARED);
    assertEquals(List.of(), madePrivate);
    memfd.makeInaccessible(0, 2L * PAGE);
    assertEquals(List.of(), madePrivate, "a conversion makes nothing private");
    for (int i = 1; i <= 3; i++) {
      write(vcpu, GPA, i, PRIVATE);
      write(vcpu, GPA + 8, i, PRIVATE);
      assertEquals(i, madePrivate.size());
      vm.unbind(0);
      vm.bind(0, GPA, memfd.size(), memfd, 0);
    }
    assertEquals(2L * PAGE, vm.preFault(GPA, 2L * PAGE));
    assertEquals(List.of(0L, 0L, 0L, 0L, 1L), madePrivate);
    assertEquals(List.of(), madeShared);
  }

  /** What it answers is what the fault fails with; the next one asks again. */
  @Test
  void itsErrorIsTheFaults() {
    GuestMemfd memfd = bound(1, ConversionProtocol.invalidateLock());
    Vcpu vcpu = vm.createVcpu();
    memfd.makeInaccessible(0, PAGE);
    answer = () -> Errno.ENOENT;
    assertMemoryFault(vcpu.tryRead(GPA, 8, PRIVATE), vcpu, GPA, PRIVATE, Access.READ, Errno.ENOENT);
    GuestMemfdException e = assertThrows(GuestMemfdException.class, () -> vm.preFault(GPA, PAGE));
    assertEquals(Errno.ENOENT, e.errno());
    assertEquals(-Errno.ENOENT.code(), memfd.tryGetPfn(0));
    assertTrue(memfd.why(Errno.ENOENT).contains("makePrivate"), () -> memfd.why(Errno.ENOENT));
    answer = () -> Errno.OK;
    assertEquals(0, read(vcpu, GPA, PRIVATE));
    assertEquals(4, madePrivate.size());
  }

  /** What it throws is thrown; nothing is held, locked or lost. */
  @ParameterizedTest
  @MethodSource("protocols")
  void anExceptionLosesNothing(ConversionProtocol protocol) {
    GuestMemfd memfd = bound(1, protocol);
    Vcpu vcpu = vm.createVcpu();
    memfd.makeInaccessible(0, PAGE);
    answer =
        () -> {
          throw new IllegalStateException("no");
        };
    assertThrows(IllegalStateException.class, () -> vcpu.tryRead(GPA, 8, PRIVATE));
    assertThrows(IllegalStateException.class, () -> memfd.tryGetPfn(0));
    answer = () -> Errno.OK;
    assertEquals(0, memfd.holders(0).safe());
    memfd.makeAccessible(0, PAGE);
    memfd.makeInaccessible(0, PAGE);
    write(vcpu, GPA, 42, PRIVATE);
    memfd.punchHole(0, PAGE);
    assertEquals(0, host.used());
  }

  /** The last descriptor is closed meanwhile: the file, and its client, end when it is over. */
  @ParameterizedTest
  @MethodSource("protocols")
  void aFileDoesNotEndWhileItsPageIsMadePrivate(ConversionProtocol protocol) throws Exception {
    GuestMemfd memfd = bound(1, protocol);
    memfd.makeInaccessible(0, PAGE);
    CountDownLatch inside = new CountDownLatch(1);
    CountDownLatch closed = new CountDownLatch(1);
    answer =
        () -> {
          inside.countDown();
          try {
            return closed.await(Worker.LIMIT_SECONDS, TimeUnit.SECONDS) ? Errno.OK : Errno.EIO;
          } catch (InterruptedException e) {
            return Errno.EINTR;
          }
        };
    Worker<Integer> fault = Worker.start(() -> memfd.tryGetPfn(0));
    assertTrue(inside.await(Worker.LIMIT_SECONDS, TimeUnit.SECONDS));
    memfd.close();
    assertEquals(0, releases.get(), "not while the client is asked about a page");
    closed.countDown();
    assertTrue(fault.result() > 0);
    assertEquals(1, releases.get());
    assertEquals(0, host.used());
  }

  /**
   * If makeShared throws the page is private as before, and is made private before its next use.
   */
  @Test
  void aConversionThatMakeSharedThrowsInIsUndone() {
    GuestMemfd memfd = bound(2, ConversionProtocol.invalidateLock());
    Vcpu vcpu = vm.createVcpu();
    memfd.makeInaccessible(0, 2L * PAGE);
    write(vcpu, GPA, 1, PRIVATE);
    write(vcpu, GPA + PAGE, 2, PRIVATE);
    madePrivate.clear();
    onShared =
        () -> {
          if (madeShared.size() == 2) {
            throw new IllegalStateException("no");
          }
        };
    assertThrows(IllegalStateException.class, () -> memfd.makeAccessible(0, 2L * PAGE));
    assertEquals(List.of(0L, 1L), madeShared);
    assertFalse(memfd.isAccessible(0));
    assertEquals(1, read(vcpu, GPA, PRIVATE));
    assertEquals(List.of(0L), madePrivate);
    memfd.makeAccessible(0, 2L * PAGE);
    assertEquals(2, read(vcpu, GPA + PAGE, SHARED));
  }

  /** An undone conversion to private shares again what faults have made private meanwhile. */
  @Test
  void anEndThatThrowsSharesAgain() {
    Vcpu vcpu = vm.createVcpu();
    boolean[] throwing = {true};
    GuestMemfdOps throwsAtEnd =
        new GuestMemfdOps() {
          @Override
          public Errno makePrivate(Folio folio) {
            return client.makePrivate(folio);
          }

          @Override
          public void makeShared(Folio folio) {
            client.makeShared(folio);
          }

          @Override
          public void invalidateEnd(long offset, long length) {
            if (throwing[0]) {
              throwing[0] = false;
              throw new IllegalStateException("no");
            }
          }
        };
    GuestMemfd memfd = closing(vm.createGuestMemfd(describe(1), throwsAtEnd));
    vm.bind(0, GPA, PAGE, memfd, 0);
    write(vcpu, GPA, 7, SHARED);
    assertThrows(IllegalStateException.class, () -> memfd.makeInaccessible(0, PAGE));
    assertEquals(List.of(0L), madeShared);
    assertTrue(memfd.isAccessible(0));
    assertEquals(7, read(vcpu, GPA, SHARED));
  }

  /** A private page that has been used, and that the guest has to fault in again. */
  private GuestMemfd privatePageThatIsNotMapped(Vcpu vcpu) {
    GuestMemfd memfd = bound(1, ConversionProtocol.invalidateLock());
    memfd.makeInaccessible(0, PAGE);
    read(vcpu, GPA, PRIVATE);
    vm.unbind(0);
    vm.bind(0, GPA, PAGE, memfd, 0);
    return memfd;
  }

  /**
   * A conversion waits for makePrivate, which has the folio locked, before it tells of the folio.
   */
  @Test
  void makeSharedComesAfterAMakePrivateUnderWay() throws Exception {
    Vcpu vcpu = vm.createVcpu();
    GuestMemfd memfd = privatePageThatIsNotMapped(vcpu);
    RacePoints.Gate gate = races.gate();
    answer =
        () -> {
          gate.pass();
          assertEquals(List.of(), madeShared);
          return Errno.OK;
        };
    Worker<Boolean> fault = Worker.start(() -> vcpu.tryRead(GPA, 8, PRIVATE));
    gate.awaitReached();
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeAccessible(0, PAGE));
    probe.awaitWaiting(conversion);
    gate.release();
    assertEquals(Errno.OK, conversion.result());
    fault.result();
    assertEquals(List.of(0L), madeShared);
    assertEquals(0, read(vcpu, GPA, SHARED));
  }

  /** A fault that waits for the folio lock finds the page converted, and looks again. */
  @Test
  void aFaultThatComesTooLateForItsPage() throws Exception {
    Vcpu vcpu = vm.createVcpu();
    GuestMemfd memfd = privatePageThatIsNotMapped(vcpu);
    madePrivate.clear();
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_FOLIO_LOCK);
    Worker<Boolean> fault = Worker.start(() -> vcpu.tryRead(GPA, 8, PRIVATE));
    gate.awaitReached();
    assertEquals(1, memfd.holders(0).unsafe(), "until it has the lock");
    memfd.makeAccessible(0, PAGE);
    gate.release();
    assertFalse(fault.result());
    assertEquals(
        new VcpuExit.MemoryFault(GPA, PAGE, PRIVATE, Access.READ, Errno.EFAULT), vcpu.exit());
    assertEquals(List.of(), madePrivate);
  }

  // ---- the call itself ----

  @Test
  void tryGetPfnAnswers() {
    GuestMemfd memfd = bound(2, ConversionProtocol.invalidateLock());
    assertEquals(-Errno.EINVAL.code(), memfd.tryGetPfn(-1));
    assertEquals(-Errno.EINVAL.code(), memfd.tryGetPfn(2L * PAGE));
    int pfn = memfd.tryGetPfn(PAGE + 5);
    assertTrue(pfn > 0);
    assertEquals(pfn, memfd.tryGetPfn(PAGE));
    assertEquals(0, memfd.holders(PAGE).safe());
    assertEquals(1, memfd.cachedPages());
    GuestMemfd closed = memfd.dup();
    closed.close();
    assertEquals(-Errno.EBADF.code(), closed.tryGetPfn(0));
  }

  @Test
  void insideACallbackAPrivatePageCannotBeGot() {
    GuestMemfd memfd = bound(2, ConversionProtocol.invalidateLock());
    memfd.makeInaccessible(0, PAGE);
    memfd.tryGetPfn(0);
    int[] inside = new int[2];
    answer =
        () -> {
          inside[0] = memfd.tryGetPfn(0);
          inside[1] = memfd.tryGetPfn(PAGE);
          return Errno.OK;
        };
    int shared = memfd.tryGetPfn(PAGE);
    assertTrue(memfd.tryGetPfn(0) > 0);
    assertEquals(-Errno.EDEADLK.code(), inside[0]);
    assertEquals(shared, inside[1]);
  }

  @Test
  void anInterruptEndsAWaitForTheFolio() throws Exception {
    GuestMemfd memfd = bound(1, ConversionProtocol.invalidateLock());
    memfd.makeInaccessible(0, PAGE);
    memfd.tryGetPfn(0);
    RacePoints.Gate gate = races.gate();
    answer =
        () -> {
          gate.pass();
          return Errno.OK;
        };
    Worker<Integer> first = Worker.start(() -> memfd.tryGetPfn(0));
    gate.awaitReached();
    answer = () -> Errno.OK;
    Worker<Integer> second = Worker.start(() -> memfd.tryGetPfn(0));
    probe.awaitWaiting(second);
    second.interrupt();
    assertEquals(-Errno.EINTR.code(), second.result());
    gate.release();
    assertTrue(first.result() > 0);
    assertEquals(0, memfd.holders(0).safe());
  }
}
