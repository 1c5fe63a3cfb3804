package io.github.guestmemfd.kvm;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.fixtures.WaitProbe;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import org.junit.jupiter.api.AutoClose;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * A file that is bound to several memslots ends while an access to the first is under way, and the
 * idle strategy throws in that wait. The other memslots must be zapped all the same: the frames are
 * about to be another owner's.
 */
@Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class EndOfFileThrowsTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final long GPA = 0x10_0000;
  private static final long OTHER_GPA = 0x20_0000;
  private static final long SECRET = 0x5ec2e7_5ec2e7L;

  @AutoClose private final RacePoints races = new RacePoints();
  private final WaitProbe probe = new WaitProbe();

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void everyMemslotIsZapped(boolean keepsReferences) throws Exception {
    HostMemory host = HostMemory.builder(2L * PAGE).raceHook(races).idleStrategy(probe).build();
    VirtualMachine.Builder builder = VirtualMachine.builder().raceHook(races).idleStrategy(probe);
    VirtualMachine vm = (keepsReferences ? builder.keepReferences() : builder).build();
    GuestMemfd memfd = vm.createGuestMemfd(GuestMemfd.builder(host).size(2L * PAGE));
    vm.bind(0, GPA, PAGE, memfd, 0);
    vm.bind(1, OTHER_GPA, PAGE, memfd, PAGE);
    Vcpu one = vm.createVcpu();
    Vcpu two = vm.createVcpu();
    assertTrue(one.tryWrite(GPA, 8, 1, PRIVATE));
    assertTrue(two.tryWrite(OTHER_GPA, 8, 2, PRIVATE));

    RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT);
    Worker<Boolean> access = Worker.start(() -> one.tryWrite(GPA, 8, 3, PRIVATE));
    gate.awaitReached();
    Worker<String> end =
        Worker.start(
            () -> {
              try {
                memfd.close();
                return "closed";
              } catch (OutOfMemoryError e) {
                return e.getMessage();
              }
            });
    probe.awaitWaiting(end);
    probe.fail(end, new OutOfMemoryError("planned"));
    gate.release();
    assertTrue(access.result());
    assertEquals("planned", end.result());
    assertEquals(0, host.used(), "frames of a file that has ended");

    GuestMemfd neighbour = GuestMemfd.builder(host).size(2L * PAGE).build();
    for (long at = 0; at < 2L * PAGE; at += PAGE) {
      try (Folio folio = neighbour.grab(at)) {
        folio.buffer().putLong(0, SECRET);
      }
    }
    boolean read = two.tryRead(OTHER_GPA, 8, PRIVATE);
    assertFalse(
        read, () -> "a vCPU reads another file's private page: 0x" + Long.toHexString(two.value()));
    assertFalse(two.tryWrite(OTHER_GPA, 8, 4, PRIVATE));
    for (long at = 0; at < 2L * PAGE; at += PAGE) {
      try (Folio folio = neighbour.grab(at)) {
        assertEquals(SECRET, folio.buffer().getLong(0), "another file's private page");
      }
    }
    neighbour.close();
    host.close();
  }
}
