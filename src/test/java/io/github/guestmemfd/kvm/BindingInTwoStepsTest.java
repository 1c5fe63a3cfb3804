package io.github.guestmemfd.kvm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.fixtures.Meanwhile;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AutoClose;
import org.junit.jupiter.api.Test;

/** Binding prepares and then commits; what fails in either step changes nothing. */
class BindingInTwoStepsTest {
  private static final long PAGE = 4096;
  private static final long LIMIT = 1L << 52;

  @AutoClose private final HostMemory host = HostMemory.ofBytes(1 << 20);

  private final VirtualMachine vm =
      VirtualMachine.builder().kernelProfile(KernelProfile.IN_PLACE).build();

  private GuestMemfd file() {
    return GuestMemfd.builder(host).size(8 * PAGE).flags(3).build();
  }

  private static Errno bind(VirtualMachine of, int slot, long gpa, GuestMemfd file, long offset) {
    GuestMemfdException e =
        catchThrowableOfType(
            GuestMemfdException.class, () -> of.bind(slot, gpa, 2 * PAGE, file, offset));
    return e == null ? Errno.OK : e.errno();
  }

  /** What is wrong with the descriptor or the range comes before what is bound already. */
  @Test
  void preparingComesFirst() {
    GuestMemfd gone = file();
    gone.close();
    try (GuestMemfd memfd = file()) {
      assertThat(bind(vm, 0, 0, memfd, 0)).isEqualTo(Errno.OK);
      assertThat(bind(vm, 1, 0x10000, gone, 0)).isEqualTo(Errno.EBADF);
      assertThat(bind(vm, 1, 0x10000, memfd, 7 * PAGE)).isEqualTo(Errno.EINVAL);
      assertThat(bind(vm, 1, 0x10000, memfd, PAGE)).isEqualTo(Errno.EEXIST);
      assertThat(bind(vm, 1, LIMIT - PAGE, memfd, PAGE)).isEqualTo(Errno.EEXIST);
      assertThat(bind(vm, 1, LIMIT - PAGE, memfd, 2 * PAGE)).isEqualTo(Errno.EINVAL);
      assertThat(vm.memslotAt(0x10000)).isEmpty();
    }
  }

  /** After a refused binding a file of no machine is still of none. */
  @Test
  void whatIsRefusedTiesNoFile() {
    try (GuestMemfd memfd = file()) {
      assertThat(bind(vm, 0, 0, memfd, 7 * PAGE)).isEqualTo(Errno.EINVAL);
      assertThat(bind(vm, 0, LIMIT - PAGE, memfd, 0)).isEqualTo(Errno.EINVAL);
      assertThat(bind(new VirtualMachine(), 0, 0, memfd, 0)).isEqualTo(Errno.OK);
      assertThat(bind(vm, 0, 0, memfd, 4 * PAGE)).isEqualTo(Errno.EINVAL);
    }
  }

  @Test
  void aFailureWhileItIsStoredIsRolledBack() {
    boolean[] fails = {true};
    RaceHook hook =
        new RaceHook() {
          @Override
          public void at(RacePoint point, long index) {}

          @Override
          public RaceHook ofFile(Object key) {
            if (fails[0]) {
              throw new IllegalStateException("no memory");
            }
            return this;
          }
        };
    VirtualMachine hooked = VirtualMachine.builder().raceHook(hook).build();
    try (GuestMemfd memfd = file()) {
      assertThatThrownBy(() -> hooked.bind(0, 0, 2 * PAGE, memfd, 0)).hasMessage("no memory");
      assertThat(hooked.memslotAt(0)).isEmpty();
      assertThat(bind(vm, 0, 0, memfd, 0)).as("it is still of no machine").isEqualTo(Errno.OK);
      fails[0] = false;
      try (GuestMemfd other = file()) {
        assertThat(bind(hooked, 1, 0, other, 0)).isEqualTo(Errno.OK);
      }
    }
  }

  private static void noMemory() {
    throw new OutOfMemoryError("planned");
  }

  /** The array of the file's memslots finds no memory. */
  @Test
  void noMemoryForTheBinding() {
    try (GuestMemfd memfd = vm.createGuestMemfd(GuestMemfd.builder(host).size(8 * PAGE).flags(3))) {
      assertThat(bind(vm, 0, 0, memfd, 0)).isEqualTo(Errno.OK);
      Gmem client = vm.regions.owner(memfd);
      Memslots before = vm.regions.memslots();
      Meanwhile.beforeWriteTo(
          CopyOnWriteArrayList.class,
          1,
          BindingInTwoStepsTest::noMemory,
          () -> {
            GuestMemfdException e =
                catchThrowableOfType(
                    GuestMemfdException.class,
                    () -> vm.bind(1, 0x10000, 2 * PAGE, memfd, 2 * PAGE));
            assertThat(e.errno()).isEqualTo(Errno.ENOMEM);
            assertThat(e).hasMessage("ENOMEM: memslot 1: planned").hasCauseInstanceOf(Error.class);
          });
      assertThat(vm.regions.memslots()).isSameAs(before);
      assertThat(client.bindings).hasSize(1);
      assertThatThrownBy(() -> vm.metrics(1)).hasMessageContaining("there is none");
      assertThat(bind(vm, 1, 0x10000, memfd, 2 * PAGE)).isEqualTo(Errno.OK);
    }
  }

  /** What cannot be published is undone: a file that was of no machine can go to another. */
  @Test
  void noMemoryTiesNoFile() {
    for (Class<?> at : new Class<?>[] {AtomicReference.class, CopyOnWriteArrayList.class}) {
      VirtualMachine typed = VirtualMachine.builder().type(VmType.SW_PROTECTED).build();
      try (GuestMemfd memfd = GuestMemfd.builder(host).size(8 * PAGE).build()) {
        Meanwhile.beforeWriteTo(
            at,
            1,
            BindingInTwoStepsTest::noMemory,
            () -> assertThat(bind(typed, 0, 0, memfd, 0)).isEqualTo(Errno.ENOMEM));
        assertThat(typed.memslotAt(0)).isEmpty();
        assertThat(bind(new VirtualMachine(), 0, 0, memfd, 0)).isEqualTo(Errno.OK);
      }
    }
  }

  /** The set of memslots is allocated before anything else of a memslot that is replaced. */
  @Test
  void noMemoryForAChangeOfAMemslot() {
    VirtualMachine typed = VirtualMachine.builder().type(VmType.DEFAULT).build();
    Memslot first = new Memslot(300, 0, 0, 2 * PAGE, PAGE, null, 0);
    Memslot moved = new Memslot(300, 0, 0x10000, 2 * PAGE, PAGE, null, 0);
    typed.setUserMemoryRegion2(first);
    Meanwhile.beforeWriteTo(
        CopyOnWriteArrayList.class,
        1,
        BindingInTwoStepsTest::noMemory,
        () ->
            assertThatThrownBy(() -> typed.setUserMemoryRegion2(moved))
                .hasMessageContaining("ENOMEM"));
    assertThat(typed.memslotAt(0)).contains(first);
    assertThat(typed.memslotAt(0x10000)).isEmpty();
    assertThat(typed.regions.memslots().find(0).replacedBy).isNull();
    typed.setUserMemoryRegion2(moved);
    assertThat(typed.memslotAt(0x10000)).contains(moved);
  }

  /** A memslot whose deletion finds no memory is there, and can be deleted. */
  @Test
  void noMemoryForADeletion() {
    try (GuestMemfd memfd = file()) {
      assertThat(bind(vm, 0, 0, memfd, 0)).isEqualTo(Errno.OK);
      Meanwhile.beforeWriteTo(
          MemoryRegions.class,
          1,
          BindingInTwoStepsTest::noMemory,
          () -> assertThatThrownBy(() -> vm.unbind(0)).hasMessageContaining("ENOMEM"));
      assertThat(vm.memslotAt(0)).isPresent();
      vm.unbind(0);
      assertThat(vm.memslotAt(0)).isEmpty();
    }
  }
}
