package io.github.guestmemfd.kvm;

import static io.github.guestmemfd.abi.HolderKind.UNSAFE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.VmFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** A put that tries a pending conversion, with a vCPU's access under way. */
class PutWithAccessUnderWayTest extends VmFixture {
  @Test
  void aPutDoesNotLeaveItsThreadInterrupted() throws Exception {
    Vcpu vcpu = vm.createVcpu();
    GuestMemfd memfd =
        closing(
            vm.createGuestMemfd(
                GuestMemfd.builder(host)
                    .size(PAGE)
                    .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
                    .retryPolicy(RetryPolicy.completeLater())));
    vm.bind(0, GPA, PAGE, memfd, 0);
    write(vcpu, GPA, 7, SHARED);
    Folio folio = memfd.grab(0, UNSAFE);
    CompletableFuture<Void> later = memfd.makeInaccessibleLater(0, PAGE);
    assertFalse(later.isDone());
    RacePoints.Gate commit = races.hold(RacePoint.BEFORE_COMMIT);
    Worker<Boolean> put =
        Worker.start(
            () -> {
              folio.close();
              return Thread.interrupted();
            });
    commit.awaitReached();
    RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT, GPA);
    Worker<Boolean> access = Worker.start(() -> vcpu.tryGetAndAdd(GPA, 8, 1, SHARED));
    gate.awaitReached();
    commit.release();
    boolean interrupted = put.result();
    gate.release();
    assertTrue(access.result());
    later.get(10, TimeUnit.SECONDS);
    assertFalse(interrupted, "no one has interrupted the thread that puts");
  }
}
