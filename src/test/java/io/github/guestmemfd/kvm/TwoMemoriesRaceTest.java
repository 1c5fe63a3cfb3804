package io.github.guestmemfd.kvm;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.fixtures.VmFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Faults and accesses of a machine with two memories against what may come in between. */
class TwoMemoriesRaceTest extends VmFixture {
  private static final int LOG = MemslotFlag.LOG_DIRTY_PAGES.bit();

  private Vcpu vcpu;
  private HostRam ram;
  private GuestMemfd memfd;

  @BeforeEach
  void machine() {
    vm =
        VirtualMachine.builder()
            .type(VmType.SW_PROTECTED)
            .raceHook(races)
            .idleStrategy(probe)
            .build();
    vcpu = vm.createVcpu();
    ram = closing(vm.mapHostRam(host, 4L * PAGE));
    memfd = closing(vm.createGuestMemfd(GuestMemfd.builder(host).size(2L * PAGE)));
    slot(0, 4, GPA, 2, memfd);
  }

  private void slot(int number, int flags, long gpa, int pages, GuestMemfd file) {
    vm.setUserMemoryRegion2(
        new Memslot(
            number,
            flags,
            gpa,
            (long) pages * PAGE,
            ram.userAddress() + 2L * PAGE * number,
            file,
            0));
  }

  private Errno convert(MemoryAttribute attribute) {
    return vm.trySetMemoryAttributes(GPA, PAGE, attribute, new BusyGuestPage());
  }

  // ---- a fault that comes too late ----

  /** It has looked at the attribute, and has the page of the memory that is no longer used. */
  @ParameterizedTest
  @EnumSource(MemoryAttribute.class)
  void aFaultThatRacedWithAConversionIsRetried(MemoryAttribute attribute) throws Exception {
    convert(attribute);
    Worker<Boolean> fault;
    try (RacePoints.Gate gate = races.hold(RacePoint.BEFORE_MMU_LOCK)) {
      fault = Worker.start(() -> vcpu.tryWrite(GPA, 8, 1, attribute));
      gate.awaitReached();
      assertEquals(Errno.OK, convert(other(attribute)));
    }
    assertMemoryFault(fault.result(), vcpu, GPA, attribute, Access.WRITE, Errno.EFAULT);
    assertEquals(1, vm.metrics().retries());
    assertThat(Mapped.pages(vm)).isEmpty();
  }

  /** There and back: the fault is done again, and succeeds. */
  @Test
  void aFaultThatRacedWithTwoConversionsFindsThePageAgain() throws Exception {
    Worker<Boolean> fault;
    try (RacePoints.Gate gate = races.hold(RacePoint.BEFORE_MMU_LOCK)) {
      fault = Worker.start(() -> vcpu.tryWrite(GPA, 8, 1, SHARED));
      gate.awaitReached();
      convert(PRIVATE);
      convert(SHARED);
    }
    assertTrue(fault.result());
    assertEquals(1, vm.metrics().retries());
  }

  @Test
  void aFaultThatRacedWithADiscardFindsTheNewPage() throws Exception {
    ram.mapping().putLong(0, 42);
    Worker<Boolean> fault;
    try (RacePoints.Gate gate = races.hold(RacePoint.BEFORE_MMU_LOCK)) {
      fault = Worker.start(() -> vcpu.tryRead(GPA, 8, SHARED));
      gate.awaitReached();
      ram.discard(0, PAGE);
    }
    assertTrue(fault.result());
    assertEquals(0, vcpu.value());
    assertEquals(1, vm.metrics().retries());
  }

  @Test
  void aFaultThatRacedWithAnUnmapMapsNothing() throws Exception {
    Worker<Boolean> fault;
    try (RacePoints.Gate gate = races.hold(RacePoint.BEFORE_MMU_LOCK)) {
      fault = Worker.start(() -> vcpu.tryRead(GPA, 8, SHARED));
      gate.awaitReached();
      ram.close(); // the fault keeps the memory; it ends with it
    }
    fault.result();
    assertEquals(0, host.used(), "whether it came before or after");
    assertFalse(vcpu.tryRead(GPA, 8, SHARED));
    assertEquals(new VcpuExit.HostFault(GPA, ram.userAddress(), Access.READ), vcpu.exit());
  }

  @Test
  void aFaultThatRacedWithAMoveLooksTheMemslotUpAgain() throws Exception {
    slot(1, 0, 2 * GPA, 2, null);
    Worker<Boolean> fault;
    try (RacePoints.Gate gate = races.hold(RacePoint.BEFORE_MMU_LOCK)) {
      fault = Worker.start(() -> vcpu.tryRead(2 * GPA, 8, SHARED));
      gate.awaitReached();
      slot(1, 0, 3 * GPA, 2, null);
    }
    assertFalse(fault.result());
    assertEquals(new VcpuExit.Mmio(2 * GPA, 8, Access.READ, 0), vcpu.exit());
    assertTrue(vcpu.tryRead(3 * GPA, 8, SHARED));
  }

  /** The new memslot has the log, and the fault on the old one must not map it writable. */
  @Test
  void aFaultThatRacedWithTheStartOfTheLogIsLogged() throws Exception {
    slot(1, 0, 2 * GPA, 2, null);
    Worker<Boolean> fault;
    try (RacePoints.Gate gate = races.hold(RacePoint.BEFORE_MMU_LOCK)) {
      fault = Worker.start(() -> vcpu.tryWrite(2 * GPA, 8, 1, SHARED));
      gate.awaitReached();
      slot(1, LOG, 2 * GPA, 2, null);
      assertEquals(new BitSet(), vm.getDirtyLog(1));
    }
    assertTrue(fault.result());
    assertEquals(BitSet.valueOf(new long[] {1}), vm.getDirtyLog(1));
  }

  // ---- an access under way ----

  private Worker<Boolean> accessAt(RacePoints.Gate gate, long gpa, MemoryAttribute attribute)
      throws InterruptedException {
    Worker<Boolean> access = Worker.start(() -> vcpu.tryWrite(gpa, 8, 1, attribute));
    gate.awaitReached();
    return access;
  }

  /** The conversion waits for it; interrupted, it has changed nothing, and can be repeated. */
  @ParameterizedTest
  @EnumSource(MemoryAttribute.class)
  void aConversionWaitsForAccessesAndCanBeInterrupted(MemoryAttribute attribute) throws Exception {
    convert(attribute);
    Worker<Boolean> access;
    Worker<Errno> conversion;
    try (RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT)) {
      access = accessAt(gate, GPA, attribute);
      conversion = Worker.start(() -> convert(other(attribute)));
      probe.awaitWaiting(conversion);
      conversion.interrupt();
      assertEquals(Errno.EINTR, conversion.result());
      assertThat(vm.memoryAttribute(GPA)).contains(attribute);
      assertEquals(0, Mapped.invalidations(vm));
      assertTrue(vm.createVcpu().tryRead(GPA, 8, attribute), "it is mapped again");
      conversion = Worker.start(() -> convert(other(attribute)));
      probe.awaitWaiting(conversion);
    }
    assertTrue(access.result());
    assertEquals(Errno.OK, conversion.result());
    assertFalse(vcpu.tryRead(GPA, 8, attribute));
    assertTrue(vcpu.tryRead(GPA, 8, other(attribute)));
  }

  @Test
  void aDiscardWaitsForAnAccessByAnotherMemslot() throws Exception {
    vm.setUserMemoryRegion2(new Memslot(1, 0, 2 * GPA, PAGE, ram.userAddress(), null, 0));
    try (RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT)) {
      Worker<Boolean> access = accessAt(gate, 2 * GPA, SHARED);
      Worker<Object> discard =
          Worker.start(
              () -> {
                ram.discard(0, PAGE);
                return null;
              });
      probe.awaitWaiting(discard);
      gate.release();
      assertTrue(access.result());
      discard.result();
    }
    assertEquals(0, ram.allocated());
  }

  /** A memslot that is being moved is still told of what happens to its memory. */
  @Test
  void aDiscardReachesAMemslotThatIsBeingMoved() throws Exception {
    slot(1, 0, 2 * GPA, 2, null);
    try (RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT)) {
      Worker<Boolean> access = accessAt(gate, 2 * GPA, SHARED);
      Worker<Object> move =
          Worker.start(
              () -> {
                slot(1, 0, 3 * GPA, 2, null);
                return null;
              });
      probe.awaitWaiting(move);
      Worker<Object> discard =
          Worker.start(
              () -> {
                ram.discard(2L * PAGE, PAGE);
                return null;
              });
      probe.awaitWaiting(discard);
      gate.release();
      access.result();
      move.result();
      discard.result();
    }
    assertEquals(0, ram.allocated());
    assertEquals(0, read(vcpu, 3 * GPA, SHARED));
  }

  /** Moves memslot 1, which waits for the accesses under way. */
  private Worker<Void> startMove() {
    return Worker.start(
        () -> {
          slot(1, LOG, 3 * GPA, 2, null);
          return null;
        });
  }

  /** What a memslot has replaced is forgotten, also if it is done with after its successor. */
  @Test
  void aMemslotThatWasReplacedIsForgotten() throws Exception {
    slot(1, LOG, 2 * GPA, 2, null);
    Worker<Boolean> access;
    Worker<Void> move;
    try (RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT)) {
      access = accessAt(gate, 2 * GPA, SHARED);
      move = startMove();
      probe.awaitWaiting(move);
      slot(1, LOG, 4 * GPA, 2, null);
    }
    assertTrue(access.result());
    move.result();
    assertNull(vm.regions.memslots().find(4 * GPA).replaced);
  }

  /** What was written before the log is taken is in it; interrupted, the log is as it was. */
  @Test
  void theLogWaitsForWritesUnderWay() throws Exception {
    slot(1, LOG, 2 * GPA, 2, null);
    BitSet first = BitSet.valueOf(new long[] {1});
    Worker<Boolean> access;
    Worker<BitSet> log;
    try (RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT)) {
      access = accessAt(gate, 2 * GPA, SHARED);
      Worker<Errno> interrupted =
          Worker.start(
              () -> {
                try {
                  vm.getDirtyLog(1);
                  return Errno.OK;
                } catch (GuestMemfdException e) {
                  return e.errno();
                }
              });
      probe.awaitWaiting(interrupted);
      interrupted.interrupt();
      assertEquals(Errno.EINTR, interrupted.result());
      log = Worker.start(() -> vm.getDirtyLog(1));
      probe.awaitWaiting(log);
    }
    assertTrue(access.result());
    assertEquals(first, log.result());
    write(vcpu, 2 * GPA, 2, SHARED);
    assertEquals(first, vm.getDirtyLog(1), "written again after it was taken");
  }

  /** Also by the memslot that had the log before, and is not done with. */
  @Test
  void theLogWaitsForWritesByAMemslotThatWasReplaced() throws Exception {
    slot(1, LOG, 2 * GPA, 2, null);
    Worker<Boolean> access;
    Worker<Void> move;
    Worker<BitSet> log;
    try (RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT)) {
      access = accessAt(gate, 2 * GPA, SHARED);
      move = startMove();
      probe.awaitWaiting(move);
      log = Worker.start(() -> vm.getDirtyLog(1));
      probe.awaitWaiting(log);
    }
    assertTrue(access.result());
    move.result();
    assertEquals(BitSet.valueOf(new long[] {1}), log.result());
  }

  /** Nothing stays mapped of a memslot that is deleted, though the wait for its accesses throws. */
  @Test
  void nothingStaysMappedThoughTheWaitThrows() throws Exception {
    BoundSlot slot = vm.regions.memslots().find(GPA);
    Worker<Boolean> access;
    Worker<Throwable> deletion;
    try (RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT)) {
      access = accessAt(gate, GPA, SHARED);
      deletion =
          Worker.start(() -> assertThrows(OutOfMemoryError.class, () -> slot(0, 0, GPA, 0, null)));
      probe.awaitWaiting(deletion);
      probe.fail(deletion, new OutOfMemoryError("planned"));
    }
    deletion.result();
    assertTrue(access.result());
    assertEquals(0, TdpEntry.pfn(slot.table.get(0)));
  }

  /** The client of the file throws while it is told of a punch: the next fault goes on. */
  @Test
  void aClientThatThrowsLeavesTheMachineUsable() {
    AtomicBoolean on = new AtomicBoolean();
    GuestMemfd other =
        closing(
            vm.createGuestMemfd(
                GuestMemfd.builder(host).size(2L * PAGE),
                new GuestMemfdOps() {
                  @Override
                  public Errno invalidateBegin(long offset, long length) {
                    if (on.get()) {
                      throw new IllegalStateException("thrown");
                    }
                    return Errno.OK;
                  }
                }));
    slot(1, 4, 2 * GPA, 2, other);
    vm.setMemoryAttributes(2 * GPA, PAGE, PRIVATE);
    write(vcpu, 2 * GPA, 5, PRIVATE);
    on.set(true);
    assertThat(
            org.junit.jupiter.api.Assertions.assertThrows(
                IllegalStateException.class, () -> other.punchHole(0, PAGE)))
        .hasMessage("thrown");
    on.set(false);
    assertEquals(5, read(vcpu, 2 * GPA, PRIVATE));
    assertEquals(0, Mapped.invalidations(vm));
  }

  // ---- three threads ----

  /** What is written as private is never read as shared, nor the other way round. */
  @Test
  void neitherMemoryIsEverTakenForTheOther() throws Exception {
    AtomicBoolean stop = new AtomicBoolean();
    AtomicLong done = new AtomicLong();
    List<Worker<Void>> workers = new ArrayList<>();
    for (MemoryAttribute attribute : MemoryAttribute.values()) {
      workers.add(
          Worker.start(
              () -> {
                Vcpu guest = vm.createVcpu();
                while (!stop.get()) {
                  long mine = attribute == SHARED ? 1 : 2;
                  if (guest.tryWrite(GPA, 8, mine, attribute)) {
                    done.getAndIncrement();
                  }
                  if (guest.tryRead(GPA, 8, attribute)) {
                    long seen = guest.value();
                    assertTrue(seen == 0 || seen == mine, () -> attribute + " saw " + seen);
                  }
                }
                return null;
              }));
    }
    for (int i = 0; i < 3000 || (done.get() == 0 && !workers.get(0).isDone()); i++) {
      assertEquals(Errno.OK, convert(i % 2 == 0 ? PRIVATE : SHARED));
      if (i % 5 == 0) {
        ram.discard(0, PAGE);
      }
      if (i % 7 == 0) {
        memfd.punchHole(0, PAGE);
      }
      if (i % 11 == 0) {
        vm.unbind(0);
        slot(0, 4, GPA, 2, memfd);
      }
    }
    stop.set(true);
    for (Worker<Void> worker : workers) {
      worker.result();
    }
  }

  /** A page that a vCPU has written is in one of the logs that are taken meanwhile, or after. */
  @Test
  void noWriteIsMissingFromTheLogs() throws Exception {
    slot(1, LOG, 2 * GPA, 2, null);
    AtomicBoolean stop = new AtomicBoolean();
    long[] copied = new long[1];
    Worker<Long> writer =
        Worker.start(
            () -> {
              Vcpu guest = vm.createVcpu();
              long n = 0;
              while (!stop.get()) {
                n++;
                write(guest, 2 * GPA, n, SHARED);
              }
              return n;
            });
    for (int i = 0; i < 3000; i++) {
      if (!vm.getDirtyLog(1).isEmpty()) {
        copied[0] = ram.mapping().getLongVolatile(2L * PAGE); // as a migration copies it
      }
    }
    stop.set(true);
    long last = writer.result();
    if (!vm.getDirtyLog(1).isEmpty()) {
      copied[0] = ram.mapping().getLong(2L * PAGE);
    }
    assertEquals(last, copied[0]);
  }

  // ---- inside a window ----

  /** What would wait for the very access that the thread is in the middle of. */
  @ParameterizedTest
  @ValueSource(strings = {"log", "attributes", "delete", "move"})
  void insideAWindowNothingWaitsForIt(String call) throws Exception {
    slot(0, 0, GPA, 0, null);
    slot(1, LOG, GPA, 2, null);
    write(vcpu, GPA, 1, SHARED);
    Worker<Errno> worker =
        Worker.start(
            () -> {
              List<Errno> answers = new ArrayList<>();
              ram.mapping()
                  .window(
                      2L * PAGE,
                      PAGE,
                      Protection.WRITE,
                      (offset, bytes) -> answers.add(errno(() -> make(call))));
              return answers.get(0);
            });
    assertEquals(Errno.EDEADLK, worker.result());
    assertEquals(1, read(vcpu, GPA, SHARED));
    assertEquals(BitSet.valueOf(new long[] {1}), vm.getDirtyLog(1));
    make(call);
  }

  private void make(String call) {
    switch (call) {
      case "log" -> vm.getDirtyLog(1);
      case "attributes" -> vm.setMemoryAttributes(GPA, PAGE, PRIVATE);
      case "delete" -> slot(1, 0, GPA, 0, null);
      default -> slot(1, LOG, 2 * GPA, 2, null);
    }
  }

  private static Errno errno(Runnable call) {
    try {
      call.run();
      return Errno.OK;
    } catch (GuestMemfdException e) {
      return e.errno();
    }
  }

  // ---- memory that goes away ----

  /** Another vCPU's fault holds the memory open: what is mapped goes away all the same. */
  @Test
  void memoryThatIsClosedDuringAFaultIsGoneForTheOthers() throws Exception {
    Vcpu other = vm.createVcpu();
    ram.mapping().putLong(0, 42);
    assertEquals(42, read(vcpu, GPA, SHARED));
    Worker<Boolean> fault;
    try (RacePoints.Gate gate = races.hold(RacePoint.BEFORE_MMU_LOCK)) {
      fault = Worker.start(() -> other.tryRead(GPA + PAGE, 8, SHARED));
      gate.awaitReached();
      ram.close();
      assertFalse(vcpu.tryRead(GPA, 8, SHARED), "read after the memory was unmapped");
      assertEquals(new VcpuExit.HostFault(GPA, ram.userAddress(), Access.READ), vcpu.exit());
    }
    fault.result();
    assertEquals(0, host.used());
  }

  /** What is changed of the host's view is no change of the guest's, until the memory goes. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aPartOfTheViewThatIsUnmapped(boolean moved) {
    ram.mapping().putLong(0, 42);
    if (moved) {
      closing(ram.mapping().mremap(0, PAGE, PAGE));
    } else {
      ram.mapping().munmap(0, PAGE);
    }
    assertEquals(42, read(vcpu, GPA, SHARED));
    ram.close();
    assertFalse(vcpu.tryRead(GPA, 8, SHARED));
  }
}
