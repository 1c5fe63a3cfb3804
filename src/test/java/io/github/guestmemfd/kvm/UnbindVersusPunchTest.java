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
import io.github.guestmemfd.fixtures.VmFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * A vCPU's access is under way by an entry that an unbinding or an invalidation has taken away, and
 * something else converts or frees the page: it waits for the access too.
 */
class UnbindVersusPunchTest extends VmFixture {
  private static final long SECRET = 0x5ec2e7_5ec2e7L;

  private void build(boolean keepsReferences) {
    VirtualMachine.Builder builder = VirtualMachine.builder().raceHook(races).idleStrategy(probe);
    vm = (keepsReferences ? builder.keepReferences() : builder).build();
  }

  private static int pfn(GuestMemfd memfd) {
    try (Folio folio = memfd.grab(0)) {
      return folio.pfn();
    }
  }

  private static Errno punch(GuestMemfd memfd) {
    try {
      memfd.punchHole(0, PAGE);
      return Errno.OK;
    } catch (GuestMemfdException e) {
      return e.errno();
    }
  }

  private <T> Worker<T> waiting(Worker<T> worker) throws InterruptedException {
    probe.awaitWaiting(worker);
    assertFalse(worker.isDone(), "an access is under way");
    return worker;
  }

  /** Every other frame is another virtual machine's: the next that is freed will be, too. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aPunchDoesNotFreeWhatAnUnbindWaitsFor(boolean keepsReferences) throws Exception {
    build(keepsReferences);
    Vcpu vcpu = vm.createVcpu();
    GuestMemfd memfd = bound(1);
    write(vcpu, GPA, 7, SHARED);
    VirtualMachine neighbour = new VirtualMachine();
    GuestMemfd others = closing(neighbour.createGuestMemfd(describe(64)));
    neighbour.bind(0, GPA, 64L * PAGE, others, 0);
    others.makeInaccessible(0, 64L * PAGE);
    Vcpu other = neighbour.createVcpu();
    for (int i = 0; i < 63; i++) {
      write(other, GPA + (long) i * PAGE, SECRET, PRIVATE);
    }
    RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT, GPA);
    Worker<Boolean> access = Worker.start(() -> vcpu.tryGetAndAdd(GPA, 8, 1, SHARED));
    gate.awaitReached();
    Worker<Void> unbind =
        waiting(
            Worker.start(
                () -> {
                  vm.unbind(0);
                  return null;
                }));
    Worker<Errno> punch = waiting(Worker.start(() -> punch(memfd)));
    assertFalse(
        other.tryWrite(GPA + 63L * PAGE, 8, SECRET, PRIVATE), "there is no frame for another");
    punch.interrupt();
    assertEquals(Errno.EINTR, punch.result());
    Worker<Errno> again = waiting(Worker.start(() -> punch(memfd)));
    assertFalse(unbind.isDone());
    assertEquals(64L * PAGE, host.used());
    gate.release();
    assertTrue(access.result());
    assertEquals(7, vcpu.value(), "its own page");
    unbind.result();
    assertEquals(Errno.OK, again.result());
    assertEquals(0, read(other, GPA + 63L * PAGE, PRIVATE), "the frame, zeroed");
    for (int i = 0; i < 63; i++) {
      assertEquals(SECRET, read(other, GPA + (long) i * PAGE, PRIVATE));
    }
  }

  /** An invalidation is interrupted while it waits for a vCPU: what comes next waits. */
  @ParameterizedTest
  @CsvSource({
    "convert, false", "convert, true", "punch, false", "punch, true", "unbind, false",
    "unbind, true", "close, false", "close, true", "fail, false", "fail, true"
  })
  void anInterruptedInvalidationIsNotForgotten(String next, boolean keepsReferences)
      throws Exception {
    build(keepsReferences);
    Vcpu vcpu = vm.createVcpu();
    GuestMemfd memfd = bound(1);
    write(vcpu, GPA, 7, SHARED);
    int pfn = pfn(memfd);
    RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT, GPA);
    Worker<Boolean> access = Worker.start(() -> vcpu.tryGetAndAdd(GPA, 8, 1, SHARED));
    gate.awaitReached();
    for (int i = 0; i < 2; i++) {
      Worker<Errno> first = waiting(Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE)));
      first.interrupt();
      assertEquals(Errno.EINTR, first.result());
      assertTrue(memfd.isAccessible(0));
    }
    Worker<Void> second =
        waiting(
            Worker.start(
                () -> {
                  switch (next) {
                    case "convert" -> memfd.makeInaccessible(0, PAGE);
                    case "punch" -> memfd.punchHole(0, PAGE);
                    case "unbind" -> vm.unbind(0);
                    case "close" -> memfd.close();
                    default -> assertEquals(Errno.OK, host.pfnWalker().memoryFailure(pfn));
                  }
                  return null;
                }));
    assertEquals(PAGE, host.used());
    gate.release();
    assertTrue(access.result());
    assertEquals(7, vcpu.value(), "what the page was before");
    second.result();
    if (next.equals("convert")) {
      assertEquals(8, read(vcpu, GPA, PRIVATE));
    }
    if (!next.equals("close")) {
      memfd.punchHole(0, PAGE);
    }
    assertEquals(0, host.used(), "no reference is left behind");
  }

  /**
   * A conversion of two runs ends the invalidation of the first, whose client throws; the attribute
   * will be undone. A fault that comes in between sees the attribute that the page will not have.
   */
  @Test
  void aThrowingInvalidateEndLeavesNoStaleMapping() throws Exception {
    AtomicReference<Worker<Boolean>> fault = new AtomicReference<>();
    AtomicReference<Throwable> failed = new AtomicReference<>();
    Vcpu vcpu = vm.createVcpu();
    boolean[] armed = {false};
    GuestMemfd memfd =
        file(
            3,
            new GuestMemfdOps() {
              @Override
              public void invalidateEnd(long offset, long length) {
                if (!armed[0]) {
                  return;
                }
                if (offset == 0) {
                  throw new IllegalStateException("planned");
                }
                armed[0] = false;
                Worker<Boolean> late = Worker.start(() -> vcpu.tryTouch(GPA, Access.READ, SHARED));
                fault.set(late);
                try {
                  probe.awaitWaiting(late); // for the page: the attribute was right
                } catch (InterruptedException | AssertionError e) {
                  failed.set(e);
                }
              }
            });
    vm.bind(0, GPA, 3L * PAGE, memfd, 0);
    memfd.makeInaccessible(0, PAGE);
    memfd.makeInaccessible(2L * PAGE, PAGE);
    write(vm.createVcpu(), GPA, SECRET, PRIVATE);
    armed[0] = true;
    assertThrows(IllegalStateException.class, () -> memfd.makeAccessible(0, 3L * PAGE));
    assertEquals(null, failed.get());
    assertFalse(fault.get().result(), "the page is private, as before");
    assertFalse(memfd.isAccessible(0));
    Vcpu user = vm.createVcpu();
    assertFalse(user.tryTouch(GPA, Access.READ, SHARED));
    assertTrue(Worker.start(() -> user.tryRead(GPA, 8, PRIVATE)).result(), "does not spin");
    assertEquals(SECRET, user.value());
    memfd.makeAccessible(0, 3L * PAGE);
    assertEquals(SECRET, read(user, GPA, SHARED));
  }
}
