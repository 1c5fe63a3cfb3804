package io.github.guestmemfd.kvm;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.VmFixture;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import org.junit.jupiter.api.Test;

/** Conversions by guest address that complete when the last holder lets go. */
class AttributesLaterTest extends VmFixture {

  private GuestMemfd patient(int pages) {
    return closing(vm.createGuestMemfd(describe(pages).retryPolicy(RetryPolicy.completeLater())));
  }

  private MemoryAttributesException refused(Errno errno, long gpa, long at, long size) {
    CompletableFuture<Void> later = vm.setMemoryAttributesLater(at, size, PRIVATE);
    assertTrue(later.isCompletedExceptionally(), "not later");
    MemoryAttributesException e =
        refused(MemoryAttributesException.class, errno, () -> throwFailure(later));
    assertEquals(gpa, e.gpa());
    assertEquals(at, e.convertedUpTo());
    return e;
  }

  private static void throwFailure(CompletableFuture<Void> later) throws Throwable {
    throw assertThrows(ExecutionException.class, later::get).getCause();
  }

  @Test
  void completesWhenTheLastHolderLetsGo() {
    GuestMemfd memfd = patient(4);
    vm.bind(0, GPA, 2L * PAGE, memfd, PAGE);
    vm.bind(1, GPA + 2L * PAGE, PAGE, memfd, 3L * PAGE);
    Vcpu vcpu = vm.createVcpu();
    write(vcpu, GPA + PAGE, 42, SHARED);
    Folio folio = memfd.grab(2L * PAGE, HolderKind.UNSAFE);
    CompletableFuture<Void> later = vm.setMemoryAttributesLater(GPA, 3L * PAGE, PRIVATE);
    assertFalse(later.isDone());
    assertEquals(42, read(vcpu, GPA + PAGE, SHARED), "mapped before");
    assertMemoryFault(
        vcpu.tryTouch(GPA, Access.READ, SHARED), vcpu, GPA, SHARED, Access.READ, Errno.EFAULT);
    assertMemoryFault(
        vcpu.tryTouch(GPA, Access.READ, PRIVATE), vcpu, GPA, PRIVATE, Access.READ, Errno.EAGAIN);
    folio.close();
    assertTrue(later.isDone() && !later.isCompletedExceptionally());
    assertMemoryFault(
        vcpu.tryTouch(GPA + PAGE, Access.READ, SHARED),
        vcpu,
        GPA + PAGE,
        SHARED,
        Access.READ,
        Errno.EFAULT);
    assertEquals(42, read(vcpu, GPA + PAGE, PRIVATE));
    assertTrue(memfd.isAccessible(0), "not in the range");
  }

  @Test
  void isCompleteAtOnceIfNobodyIsInTheWay() {
    GuestMemfd memfd = patient(2);
    vm.bind(0, GPA, 2L * PAGE, memfd, 0);
    CompletableFuture<Void> done = vm.setMemoryAttributesLater(GPA + PAGE, PAGE, PRIVATE);
    assertTrue(done.isDone() && !done.isCompletedExceptionally());
    assertEquals(Optional.of(SHARED), vm.memoryAttribute(GPA));
    assertEquals(Optional.of(PRIVATE), vm.memoryAttribute(GPA + PAGE));
    try (Folio folio = memfd.grab(0, HolderKind.UNSAFE)) {
      assertTrue(vm.setMemoryAttributesLater(GPA, 2L * PAGE, SHARED).isDone());
      assertTrue(memfd.isAccessible(folio.offset()) && memfd.isAccessible(PAGE));
    }
  }

  @Test
  void isUndoneByAConversionToShared() {
    GuestMemfd memfd = patient(1);
    vm.bind(0, GPA, PAGE, memfd, 0);
    try (Folio folio = memfd.grab(0, HolderKind.UNSAFE)) {
      CompletableFuture<Void> later = vm.setMemoryAttributesLater(GPA, PAGE, PRIVATE);
      vm.setMemoryAttributes(GPA, PAGE, SHARED);
      ExecutionException e = assertThrows(ExecutionException.class, later::get);
      assertEquals(Errno.ECANCELED, ((GuestMemfdException) e.getCause()).errno());
      assertTrue(memfd.isAccessible(folio.offset()));
    }
  }

  @Test
  void isOnePieceOfOneFile() {
    GuestMemfd memfd = patient(3);
    GuestMemfd other = patient(1);
    vm.bind(0, GPA, PAGE, memfd, 0);
    vm.bind(1, GPA + PAGE, PAGE, memfd, 2L * PAGE);
    vm.bind(2, GPA + 2L * PAGE, PAGE, other, 0);
    refused(Errno.EINVAL, GPA + PAGE, GPA, 2L * PAGE);
    refused(Errno.EINVAL, GPA + 2L * PAGE, GPA + PAGE, 2L * PAGE);
    refused(Errno.ENOENT, GPA + 3L * PAGE, GPA + PAGE, 3L * PAGE);
    refused(Errno.ENOENT, GPA - PAGE, GPA - PAGE, 2L * PAGE);
    refused(Errno.EINVAL, GPA + 1, GPA + 1, PAGE);
    refused(Errno.EINVAL, GPA, GPA, 0);
    assertTrue(memfd.isAccessible(0) && memfd.isAccessible(2L * PAGE) && other.isAccessible(0));
  }

  @Test
  void isRefusedIfTheFileIsGone() {
    GuestMemfd memfd = patient(1);
    vm.bind(0, GPA, PAGE, memfd, 0);
    memfd.close();
    refused(Errno.EBADF, GPA, GPA, PAGE);
  }

  @Test
  void isRefusedIfTheFileDoesNotWait() {
    GuestMemfd memfd = bound(2);
    try (Folio folio = memfd.grab(PAGE, HolderKind.UNSAFE)) {
      MemoryAttributesException e = refused(Errno.EAGAIN, GPA + PAGE, GPA, 2L * PAGE);
      assertTrue(e.getCause() instanceof GuestMemfdException, () -> "cause " + e.getCause());
      assertTrue(memfd.isAccessible(0) && memfd.isAccessible(folio.offset()));
    }
    assertNull(vm.setMemoryAttributesLater(GPA, 2L * PAGE, PRIVATE).join());
    assertThrows(
        NullPointerException.class, () -> vm.setMemoryAttributesLater(GPA, 2L * PAGE, null));
  }

  @Test
  void isRefusedIfACallbackRefuses() {
    GuestMemfd memfd =
        file(
            1,
            new GuestMemfdOps() {
              @Override
              public Errno prepareAccessible(Folio folio) {
                return Errno.EPERM;
              }
            });
    vm.bind(0, GPA, PAGE, memfd, 0);
    memfd.allocate(0, PAGE);
    vm.setMemoryAttributes(GPA, PAGE, PRIVATE);
    memfd.grab(0).close();
    CompletableFuture<Void> later = vm.setMemoryAttributesLater(GPA, PAGE, SHARED);
    refused(MemoryAttributesException.class, Errno.EPERM, () -> throwFailure(later));
  }
}
