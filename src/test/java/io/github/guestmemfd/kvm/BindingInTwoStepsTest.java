package io.github.guestmemfd.kvm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
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
      fails[0] = false;
      assertThat(bind(hooked, 1, 0, memfd, 0)).isEqualTo(Errno.OK);
    }
  }
}
