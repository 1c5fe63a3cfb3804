package io.github.guestmemfd.conformance;

import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.kvm.Access;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VcpuExit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * Rows of docs/conformance.md about a guest that runs: what its loads and stores find, whatever the
 * host does to its own mappings, and what the vCPU exits with. What the guest of a real kernel
 * answers was seen with one that loads and stores single bytes.
 */
class GuestRowsTest extends ConformanceFixture {
  private static final long SHARED_AT_FIRST = 3;

  /** Where the file is in the guest. */
  private static final long GPA = 0x2_0000;

  private final Vcpu vcpu = vm.createVcpu();

  private GuestMemfd bound(long pages) {
    GuestMemfd memfd = file(pages, SHARED_AT_FIRST);
    vm.bind(1, GPA, pages * PAGE, memfd, 0);
    return memfd;
  }

  private void store(long gpa, int number) {
    assertThat(vcpu.tryWrite(gpa, 1, number, SHARED)).as("store, %s", gpa).isTrue();
  }

  private long load(long gpa) {
    assertThat(vcpu.tryRead(gpa, 1, SHARED)).as("load, %s", gpa).isTrue();
    return vcpu.value();
  }

  private VcpuExit exitOf(long gpa, Access access) {
    boolean done =
        switch (access) {
          case READ -> vcpu.tryRead(gpa, 1, SHARED);
          case WRITE -> vcpu.tryWrite(gpa, 1, 1, SHARED);
          case EXEC -> vcpu.tryFetch(gpa, 1, SHARED);
        };
    assertThat(done).as("done").isFalse();
    return vcpu.exit();
  }

  // ---- one content ----

  @Test
  void theGuestAndTheHostHaveOneContent() {
    GuestMemfd memfd = bound(4);
    HostMapping map = map(memfd);
    map.putByte(0, (byte) 0x41);
    assertThat(load(GPA)).isEqualTo(0x41);
    map.putByte(0, (byte) 0x42);
    assertThat(load(GPA)).isEqualTo(0x42);
    store(GPA, 0x77);
    assertThat(map.getByte(0)).isEqualTo((byte) 0x77);
  }

  @ParameterizedTest
  @EnumSource(Access.class)
  void theFirstTouchOfTheGuestAllocatesTheOnePageZeroed(Access access) {
    GuestMemfd memfd = bound(4);
    HostMapping map = map(memfd);
    fill(map, 1, 1, 0xee);
    memfd.punchHole(PAGE, PAGE);
    assertThat(vcpu.tryTouch(GPA + PAGE + 5, access, SHARED)).isTrue();
    assertThat(memfd.cachedPages()).isEqualTo(1);
    assertThat(memfd.cachedPages(PAGE, PAGE)).isEqualTo(1);
    assertThat(load(GPA + PAGE + 6)).isZero();
    assertFilled(map, 1, 1, 0);
  }

  @Test
  void whatTheGuestStoresChangesNoTime() {
    GuestMemfd memfd = bound(2);
    memfd.allocate(0, PAGE);
    assertThat(KernelRowsTest.modifies(memfd, () -> store(GPA, 1))).isFalse();
    assertThat(KernelRowsTest.modifies(memfd, () -> store(GPA + PAGE, 1))).isFalse(); // a hole
    assertThat(KernelRowsTest.modifies(memfd, () -> vm.preFault(GPA, PAGE))).isFalse();
  }

  /** By fallocate and by madvise. */
  @ParameterizedTest
  @CsvSource({"true", "false"})
  void afterAPunchTheGuestFindsANewZeroPage(boolean byMadvise) {
    GuestMemfd memfd = bound(4);
    HostMapping map = map(memfd);
    store(GPA, 0x77);
    if (byMadvise) {
      map.madvise(0, PAGE, Advice.REMOVE);
    } else {
      memfd.punchHole(0, PAGE);
    }
    assertThat(memfd.cachedPages()).isZero();
    assertThat(load(GPA)).isZero();
    assertThat(memfd.cachedPages()).isEqualTo(1);
    store(GPA, 9);
    assertThat(map.getByte(0)).isEqualTo((byte) 9);
  }

  @Test
  void whoHoldsAPunchedPageDoesNotSeeTheGuestsNewOne() {
    GuestMemfd memfd = bound(2);
    HostMapping map = map(memfd);
    store(GPA, 0x32);
    try (HostReference held = map.getUserPages(0, PAGE)) {
      memfd.punchHole(0, PAGE);
      assertThat(load(GPA)).isZero();
      store(GPA, 0x55);
      assertThat(held.buffer().get(0)).isEqualTo((byte) 0x32);
      assertThat(map.getByte(0)).isEqualTo((byte) 0x55);
    }
  }

  // ---- the host's mappings are not the guest's ----

  /** Nothing that the host does to its page tables reaches those of the guest. */
  @ParameterizedTest
  @CsvSource({"DONTNEED", "READ_ONLY", "NONE", "MOVED", "UNMAPPED", "NO MAPPING AT ALL"})
  void theGuestGoesOnWhateverTheHostsMappingIs(String what) {
    GuestMemfd memfd = bound(4);
    HostMapping map = closing(memfd.mmap(0, memfd.size(), READ, WRITE));
    store(GPA, 0x31);
    map.getByte(0); // an entry of the host
    switch (what) {
      case "DONTNEED" -> map.madvise(0, 4 * PAGE, Advice.DONTNEED);
      case "READ_ONLY" -> map.mprotect(0, 4 * PAGE, READ);
      case "NONE" -> map.mprotect(0, 4 * PAGE);
      case "MOVED" -> closing(map.mremap(0, 4 * PAGE, 4 * PAGE));
      case "UNMAPPED" -> map.munmap(0, 4 * PAGE);
      default -> map.close();
    }
    assertThat(load(GPA)).isEqualTo(0x31);
    store(GPA, 0x32);
    store(GPA + PAGE, 0x33); // a hole
    assertThat(vm.metrics().zaps()).isZero();
    try (HostMapping other = memfd.mmap(0, 2 * PAGE, READ)) {
      assertThat(other.getByte(0)).isEqualTo((byte) 0x32);
      assertThat(other.getByte(PAGE)).isEqualTo((byte) 0x33);
    }
  }

  // ---- the end of the file, and of a memslot ----

  @Test
  void aMappingKeepsTheFileForTheGuestToo() {
    GuestMemfd memfd = bound(8);
    store(GPA, 0x55);
    try (HostMapping map = memfd.mmap(0, PAGE, READ)) {
      memfd.close();
      assertThat(load(GPA)).isEqualTo(0x55);
      assertThat(load(GPA + 7 * PAGE)).isZero(); // a new fault
      assertThat(map.getByte(0)).isEqualTo((byte) 0x55);
    }
    assertThat(host.used()).isZero();
  }

  /** As the kernel says it: EFAULT, flags 0, the page and its size. */
  @ParameterizedTest
  @EnumSource(Access.class)
  void whenTheFileIsGoneAllPagesAreAMemoryFault(Access access) {
    GuestMemfd memfd = bound(16);
    store(GPA, 0x55);
    memfd.close();
    for (long page : new long[] {0, 9}) { // one that was mapped, and a hole
      assertThat(exitOf(GPA + page * PAGE + 7, access))
          .isEqualTo(
              new VcpuExit.MemoryFault(GPA + page * PAGE, PAGE, SHARED, access, Errno.EFAULT));
    }
    vm.unbind(1);
    assertThat(exitOf(GPA + 7, access)).isEqualTo(mmio(GPA + 7, access));
  }

  private static VcpuExit mmio(long gpa, Access access) {
    return new VcpuExit.Mmio(gpa, 1, access, access == Access.WRITE ? 1 : 0);
  }

  @ParameterizedTest
  @EnumSource(Access.class)
  void behindTheEndOfAMemslotIsMmio(Access access) {
    bound(2);
    assertThat(exitOf(GPA + 2 * PAGE, access)).isEqualTo(mmio(GPA + 2 * PAGE, access));
    assertThat(exitOf(GPA - 1, access)).isEqualTo(mmio(GPA - 1, access));
  }

  @Test
  void memslotsInAnotherOrderThanTheFile() {
    GuestMemfd memfd = file(4, SHARED_AT_FIRST);
    HostMapping map = map(memfd);
    map.putByte(0, (byte) 0x10);
    map.putByte(PAGE, (byte) 0x11);
    vm.bind(1, GPA, PAGE, memfd, PAGE);
    vm.bind(2, GPA + PAGE, PAGE, memfd, 0);
    assertThat(load(GPA)).isEqualTo(0x11);
    assertThat(load(GPA + PAGE)).isEqualTo(0x10);
    vm.unbind(1);
    assertThat(exitOf(GPA, Access.READ)).isEqualTo(mmio(GPA, Access.READ));
    assertThat(load(GPA + PAGE)).isEqualTo(0x10);
    vm.bind(1, GPA, PAGE, memfd, 3 * PAGE);
    assertThat(load(GPA)).isZero();
  }

  /** Linux 6.18 maps pages past the end of the file to such a memslot; here there are none. */
  @ParameterizedTest
  @EnumSource(Access.class)
  void pagesPastTheEndOfTheFileAreAMemoryFault(Access access) {
    GuestMemfd memfd = file(16, SHARED_AT_FIRST);
    vm.bind(1, GPA, 2 * PAGE, memfd, 0x7fff_ffff_ffff_f000L); // a sum past 2^63 - 1
    for (long page = 0; page < 2; page++) {
      assertThat(exitOf(GPA + page * PAGE, access))
          .isEqualTo(
              new VcpuExit.MemoryFault(GPA + page * PAGE, PAGE, SHARED, access, Errno.EINVAL));
    }
    assertThat(errno(() -> vm.preFault(GPA, PAGE))).isEqualTo(Errno.EINVAL);
    assertThat(memfd.cachedPages()).isZero();
    vm.unbind(1);
  }

  // ---- pre-faults ----

  /** The answers of Linux in their order; the range ends before 2^64, and need not be memory. */
  @ParameterizedTest
  @CsvSource({
    "0x20001, 0x1000, EINVAL, 0",
    "0x20000, 0x1001, EINVAL, 0",
    "0x20000, 0x0, EINVAL, 0",
    "0xfffffffffffff000, 0x1000, EINVAL, 0", // ends at 2^64
    "0xfffffffffffff000, 0x2000, EINVAL, 0",
    "0x20000, 0xfffffffffffff000, EINVAL, 0",
    "0xffffffffffffe000, 0x1000, ENOENT, 0",
    "0x10000000000000, 0x1000, ENOENT, 0", // beyond 2^52, where no memslot can be
    "0x1f000, 0x1000, ENOENT, 0",
    "0x1f000, 0x2000, ENOENT, 0", // before the memslot: nothing is done
    "0x20000, 0x2000, OK, 2",
    "0x21000, 0x2000, OK, 1", // up to the end of the memslot
    "0x20000, 0x10000000000000, OK, 2",
    "0x20000, 0x8000000000000000, OK, 2",
  })
  void preFaultErrorsInOrder(String gpa, String size, Errno expected, long pages) {
    GuestMemfd memfd = bound(2);
    long[] done = new long[1];
    assertThat(errno(() -> done[0] = vm.preFault(unsigned(gpa), unsigned(size))))
        .isEqualTo(expected);
    assertThat(done[0]).isEqualTo(pages * PAGE);
    assertThat(memfd.cachedPages()).isEqualTo(pages);
  }

  /** What is done counts; the signal stays pending. */
  @Test
  void aSignalEndsAPreFaultBeforeTheNextPage() {
    GuestMemfdOps interrupting =
        new GuestMemfdOps() {
          @Override
          public Errno prepareAccessible(Folio folio) {
            if (folio.offset() == PAGE) {
              Thread.currentThread().interrupt();
            }
            return Errno.OK;
          }
        };
    GuestMemfd memfd =
        closing(vm.createGuestMemfd(describe(4 * PAGE, SHARED_AT_FIRST), interrupting));
    vm.bind(1, GPA, 4 * PAGE, memfd, 0);
    assertThat(vm.preFault(GPA, 4 * PAGE)).isEqualTo(2 * PAGE);
    assertThat(errno(() -> vm.preFault(GPA + 2 * PAGE, 2 * PAGE))).isEqualTo(Errno.EINTR);
    assertThat(Thread.interrupted()).isTrue();
    assertThat(vm.preFault(GPA, 4 * PAGE)).isEqualTo(4 * PAGE);
  }

  private static long unsigned(String hex) {
    return Long.parseUnsignedLong(hex.substring(2), 16);
  }
}
