package io.github.guestmemfd.policy;

import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.VmFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.kvm.Vcpu;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;

/** What depends on a pending conversion that a handler ends, on the thread of the handler. */
class DependentOfDiscardTest extends VmFixture {

  /** It may convert the same page, by the same handler. */
  @Test
  void holdsNoRangeOfTheHandler() throws Exception {
    GuestMemfd memfd =
        closing(vm.createGuestMemfd(describe(1).retryPolicy(RetryPolicy.completeLater())));
    vm.setUserMemoryRegion2(0, GPA, PAGE, memfd, 0);
    ConversionHandler handler =
        ConversionHandler.builder(vm, ConversionPolicy.eager())
            .idleStrategy(probe)
            .onShared(PrivatePages.DISCARD)
            .build();
    try (HostMapping window = memfd.mmap(0, PAGE, Protection.READ, Protection.WRITE);
        HostReference reference = window.getUserPages(0, PAGE)) {
      assertEquals(1, reference.pages());
      CompletableFuture<Void> future = memfd.makeInaccessibleLater(0, PAGE);
      assertFalse(future.isDone());
      AtomicReference<Errno> nested = new AtomicReference<>();
      CompletableFuture<Void> dependent =
          future.handle(
              (nothing, failure) -> {
                Vcpu other = vm.createVcpu();
                other.run(guest -> nested.set(guest.mapGpaRange(GPA, 1, SHARED)), handler);
                return null;
              });
      Vcpu vcpu = vm.createVcpu();
      Worker<Errno> first =
          Worker.start(
              () -> {
                AtomicReference<Errno> answer = new AtomicReference<>();
                vcpu.run(guest -> answer.set(guest.mapGpaRange(GPA, 1, SHARED)), handler);
                return answer.get();
              });
      assertEquals(Errno.OK, first.result());
      assertTrue(dependent.isDone());
      assertEquals(Errno.OK, nested.get());
      assertEquals(Optional.of(SHARED), vm.memoryAttribute(GPA));
    }
  }
}
