package io.github.guestmemfd.policy;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.fixtures.VmFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.kvm.Access;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VcpuExit;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.Future;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** What a handler does for two vCPUs at once. */
class ConversionHandlerRaceTest extends VmFixture {
  private static final int ROUNDS = 1_500;
  private static final int PAGES = 4;

  private ConversionHandler.Builder with(ConversionPolicy policy) {
    return ConversionHandler.builder(vm, policy).idleStrategy(probe);
  }

  /** Stops the first attempt that begins. */
  private static ConversionObserver stopAt(RacePoints.Gate gate) {
    AtomicBoolean first = new AtomicBoolean(true);
    return new ConversionObserver() {
      @Override
      public void begin(GpaRange range, MemoryAttribute attribute) {
        if (first.getAndSet(false)) {
          gate.pass();
        }
      }
    };
  }

  private Worker<Optional<VcpuExit>> write(long gpa, long number, ConversionHandler handler) {
    Vcpu vcpu = vm.createVcpu();
    return Worker.start(() -> vcpu.run(guest -> guest.write(gpa, 8, number, SHARED), handler));
  }

  /**
   * One vCPU has exited with the fault when another converts the page and writes to it: that stays.
   */
  @ParameterizedTest
  @EnumSource
  void theSecondVcpuDiscardsNothing(PrivatePages onShared) throws Exception {
    GuestMemfd memfd = bound(1);
    memfd.makeInaccessible(0, PAGE);
    ConversionHandler handler;
    Worker<Optional<VcpuExit>> late;
    try (RacePoints.Gate gate = races.gate()) {
      handler = with(ConversionPolicy.onFault()).onShared(onShared).observer(stopAt(gate)).build();
      late = write(GPA, 1, handler);
      gate.awaitReached();
      assertEquals(Optional.empty(), write(GPA + 8, 2, handler).result());
    }
    assertEquals(Optional.empty(), late.result());
    Vcpu vcpu = vm.createVcpu();
    assertEquals(1, read(vcpu, GPA, SHARED));
    assertEquals(2, read(vcpu, GPA + 8, SHARED));
  }

  /** The first is in the middle of its conversion: the second looks only after that. */
  @Test
  void conversionsOfOneRangeThatDiscardComeOneAfterTheOther() throws Exception {
    GuestMemfd memfd = bound(2);
    memfd.makeInaccessible(0, 2L * PAGE);
    memfd.allocate(0, 2L * PAGE);
    ConversionHandler handler =
        with(ConversionPolicy.onFault()).onShared(PrivatePages.DISCARD).build();
    Worker<Optional<VcpuExit>> second;
    Worker<Optional<VcpuExit>> first;
    try (RacePoints.Gate gate = races.hold(RacePoint.RANGE_BUSY)) {
      first = write(GPA, 1, handler);
      gate.awaitReached();
      second = write(GPA + 8, 2, handler);
      probe.awaitWaiting(second);
      assertEquals(Optional.empty(), write(GPA + PAGE, 3, handler).result(), "pages elsewhere");
      assertEquals(1, memfd.metrics().punches(), "of the page elsewhere");
    }
    assertEquals(Optional.empty(), first.result());
    assertEquals(Optional.empty(), second.result());
    assertEquals(2, memfd.metrics().punches(), "one for each page");
  }

  @Test
  void theWaitForAnotherConversionEndsAtAnInterrupt() throws Exception {
    GuestMemfd memfd = bound(1);
    memfd.makeInaccessible(0, PAGE);
    ConversionHandler handler =
        with(ConversionPolicy.onFault()).onShared(PrivatePages.DISCARD).build();
    Worker<Optional<VcpuExit>> first;
    try (RacePoints.Gate gate = races.hold(RacePoint.RANGE_BUSY)) {
      first = write(GPA, 1, handler);
      gate.awaitReached();
      Worker<Optional<VcpuExit>> second = write(GPA + 8, 2, handler);
      probe.awaitWaiting(second);
      second.interrupt();
      assertEquals(
          Optional.of(new VcpuExit.MemoryFault(GPA, PAGE, SHARED, Access.WRITE, Errno.EINTR)),
          second.result());
    }
    assertEquals(Optional.empty(), first.result());
  }

  @Test
  void attemptsOfAVcpuEndWhenItIsInterrupted() throws Exception {
    GuestMemfd memfd = bound(1);
    ConversionHandler handler = with(ConversionPolicy.onFault()).retries(Integer.MAX_VALUE).build();
    try (HostMapping window = memfd.mmap(0, PAGE, Protection.READ);
        HostReference pin = window.pin(0, PAGE)) {
      assertTrue(pin.isPinned());
      Vcpu vcpu = vm.createVcpu();
      Worker<Optional<VcpuExit>> worker =
          Worker.start(() -> vcpu.run(guest -> guest.touch(GPA, Access.READ, PRIVATE), handler));
      probe.awaitWaiting(worker);
      assertFalse(worker.isDone());
      worker.interrupt();
      assertTrue(worker.result().isPresent());
    }
  }

  // ---- many times ----

  static Stream<Arguments> kinds() {
    return Stream.of(PrivatePages.values())
        .flatMap(
            onShared ->
                Stream.of("on-fault", "batched")
                    .flatMap(id -> threads().stream().map(t -> Arguments.of(onShared, id, t))));
  }

  /**
   * Two vCPUs use the same pages, first as private and then as shared, at once. Each has a word of
   * its own in each page, and must read there what it has written with that view.
   */
  @ParameterizedTest
  @MethodSource("kinds")
  void twoVcpusConvertTheSamePages(PrivatePages onShared, String id, ThreadFactory threads)
      throws Exception {
    bound(PAGES);
    AtomicInteger begun = new AtomicInteger();
    AtomicInteger ended = new AtomicInteger();
    ConversionHandler handler =
        with(ConversionPolicy.byId(id).orElseThrow())
            .onShared(onShared)
            .observer(
                new ConversionObserver() {
                  @Override
                  public void begin(GpaRange range, MemoryAttribute attribute) {
                    begun.incrementAndGet();
                  }

                  @Override
                  public void end(
                      GpaRange range, MemoryAttribute attribute, Errno errno, BusyGuestPage busy) {
                    assertEquals(Errno.OK, errno);
                    ended.incrementAndGet();
                  }
                })
            .build();
    CyclicBarrier barrier = new CyclicBarrier(2);
    List<Future<Optional<VcpuExit>>> runs = new ArrayList<>();
    for (int i = 0; i < 2; i++) {
      Vcpu vcpu = vm.createVcpu();
      long mine = GPA + 8L * i;
      runs.add(
          vcpu.start(
              threads,
              guest -> {
                for (int round = 1; round <= ROUNDS; round++) {
                  for (MemoryAttribute view : MemoryAttribute.values()) {
                    await(barrier);
                    for (int page = 0; page < PAGES; page++) {
                      guest.write(mine + (long) page * PAGE, 8, round, view);
                    }
                    await(barrier);
                    for (int page = 0; page < PAGES; page++) {
                      assertEquals(round, guest.read(mine + (long) page * PAGE, 8, view));
                    }
                  }
                }
              },
              handler));
    }
    for (Future<Optional<VcpuExit>> run : runs) {
      assertEquals(Optional.empty(), run.get(60, TimeUnit.SECONDS));
    }
    assertEquals(begun.get(), ended.get());
    assertTrue(begun.get() >= PAGES * ROUNDS, begun + " attempts");
  }

  private static void await(CyclicBarrier barrier) {
    try {
      barrier.await(30, TimeUnit.SECONDS);
    } catch (Exception e) {
      throw new AssertionError("the other vCPU does not come", e);
    }
  }
}
