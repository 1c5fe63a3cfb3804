package io.github.guestmemfd.kvm;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.fixtures.VmFixture;
import java.nio.ByteBuffer;
import java.util.BitSet;
import java.util.List;
import org.junit.jupiter.api.Assertions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * A machine with a type: shared pages are the host's at the memslot's user address, private ones
 * the file's, and which they are belongs to the machine.
 */
class TwoMemoriesTest extends VmFixture {
  private static final long NOWHERE = 0x1_0000_0000L;
  private static final int LOG = MemslotFlag.LOG_DIRTY_PAGES.bit();
  private static final int READ_ONLY = MemslotFlag.READONLY.bit();

  private Vcpu vcpu;

  private void machine(VmType type) {
    vm = VirtualMachine.builder().type(type).raceHook(races).idleStrategy(probe).build();
    vcpu = vm.createVcpu();
  }

  private HostRam ram(int pages) {
    return closing(vm.mapHostRam(host, (long) pages * PAGE));
  }

  /** A file, of which nothing is shared at first. */
  private GuestMemfd file(int pages, long flags) {
    return closing(
        vm.createGuestMemfd(GuestMemfd.builder(host).size((long) pages * PAGE).flags(flags)));
  }

  private void slot(int number, int flags, long gpa, int pages, long user, GuestMemfd memfd) {
    vm.setUserMemoryRegion2(
        new Memslot(
            number,
            flags | (memfd == null ? 0 : MemslotFlag.GUEST_MEMFD.bit()),
            gpa,
            (long) pages * PAGE,
            user,
            memfd,
            0));
  }

  private void convert(long gpa, int pages, MemoryAttribute attribute) {
    vm.setMemoryAttributes(gpa, (long) pages * PAGE, attribute);
  }

  private static Errno errno(Runnable call) {
    try {
      call.run();
      return Errno.OK;
    } catch (GuestMemfdException e) {
      return e.errno();
    }
  }

  private void assertHostFault(boolean done, long gpa, long user, Access access) {
    assertFalse(done, "the access was done");
    assertEquals(new VcpuExit.HostFault(gpa, user, access), vcpu.exit());
  }

  // ---- where a page is ----

  /** A conversion moves nothing: each memory keeps what it has. */
  @Test
  void aSharedPageIsTheHostsAndAPrivateOneTheFiles() {
    machine(VmType.SW_PROTECTED);
    HostRam ram = ram(2);
    GuestMemfd memfd = file(2, 0);
    slot(0, 0, GPA, 2, ram.userAddress(), memfd);
    write(vcpu, GPA, 1, SHARED);
    assertEquals(1, ram.mapping().getLong(0));
    assertEquals(0, memfd.cachedPages());
    assertMemoryFault(vcpu.tryRead(GPA, 8, PRIVATE), vcpu, GPA, PRIVATE, Access.READ, Errno.EFAULT);

    convert(GPA, 1, PRIVATE);
    assertMemoryFault(vcpu.tryRead(GPA, 8, SHARED), vcpu, GPA, SHARED, Access.READ, Errno.EFAULT);
    assertEquals(0, read(vcpu, GPA, PRIVATE), "another memory");
    write(vcpu, GPA, 2, PRIVATE);
    assertEquals(1, ram.mapping().getLong(0), "the host keeps what was shared");
    assertEquals(1, memfd.cachedPages());
    ram.mapping().putLong(0, 3);
    assertEquals(2, read(vcpu, GPA, PRIVATE));

    convert(GPA, 1, SHARED);
    assertEquals(3, read(vcpu, GPA, SHARED));
    convert(GPA, 1, PRIVATE);
    assertEquals(2, read(vcpu, GPA, PRIVATE), "and the file what was private");
    assertEquals(2L * PAGE, host.used());
  }

  /** What Linux 6.18 has shown of an ordinary machine, by flags of the file. */
  @ParameterizedTest
  @CsvSource({
    // flags, whether the guest uses the file, whether the host can touch that
    "0, false, false",
    "1, true, false",
    "2, false, false",
    "3, true, true",
  })
  void aFileThatCanBeMappedHasTheSharedPagesToo(int flags, boolean inFile, boolean touch) {
    machine(VmType.DEFAULT);
    HostRam ram = ram(1);
    GuestMemfd memfd = file(1, flags);
    slot(0, 0, GPA, 1, ram.userAddress(), memfd);
    ram.mapping().putLong(0, 0xaa);
    assertEquals(inFile ? 0 : 0xaa, read(vcpu, GPA, SHARED));
    write(vcpu, GPA, 0x66, SHARED);
    assertEquals(0x66, read(vcpu, GPA, SHARED));
    assertEquals(inFile ? 0xaa : 0x66, ram.mapping().getLong(0));
    assertEquals(inFile ? 1 : 0, memfd.cachedPages());
    if ((flags & 1) != 0) {
      try (HostMapping window = memfd.mmap(0, PAGE, Protection.READ)) {
        if (touch) {
          assertEquals(0x66, window.getLong(0));
        } else {
          Assertions.assertThrows(SigBusException.class, () -> window.getLong(0));
        }
      }
    } else {
      refused(GuestMemfdException.class, Errno.ENODEV, () -> memfd.mmap(0, PAGE, Protection.READ));
    }
  }

  /** With private memory a file that can be mapped has both, and still two attributes. */
  @Test
  void aFileOfAPrivateMachineThatCanBeMapped() {
    machine(VmType.SW_PROTECTED);
    GuestMemfd memfd = file(1, 1);
    slot(0, 0, GPA, 1, NOWHERE, memfd);
    write(vcpu, GPA, 5, SHARED);
    convert(GPA, 1, PRIVATE);
    assertEquals(5, read(vcpu, GPA, PRIVATE));
  }

  @Test
  void whereTheHostHasNoMemory() {
    machine(VmType.SW_PROTECTED);
    GuestMemfd memfd = file(1, 0);
    slot(0, 0, GPA, 1, NOWHERE, memfd);
    slot(1, 0, GPA + PAGE, 1, NOWHERE, null);
    assertHostFault(vcpu.tryRead(GPA + 8, 8, SHARED), GPA, NOWHERE, Access.READ);
    assertHostFault(vcpu.tryWrite(GPA + PAGE, 8, 1, SHARED), GPA + PAGE, NOWHERE, Access.WRITE);
    assertThat(vcpu.exit())
        .hasToString(
            "HostFault[gpa=0x101000, user address=0x100000000, access=WRITE: no memory of the host"
                + " there]");
    assertEquals(2, vm.metrics().hostFaultExits());
    assertEquals(2, vm.metrics().exits());
    assertThat(refused(GuestMemfdException.class, Errno.EFAULT, () -> vm.preFault(GPA, PAGE)))
        .hasMessageContaining("no memory of the host, or no file for what is private: Memslot[");
    assertThat(
            refused(
                GuestMemfdException.class,
                Errno.EINVAL,
                () -> vm.populate(GPA, PAGE, null, folio -> Errno.OK)))
        .hasMessageEndingWith("populate gpa 0x100000 size 4096: the page at 0x100000 is shared");
    convert(GPA, 2, PRIVATE);
    write(vcpu, GPA, 1, PRIVATE);
    assertMemoryFault(
        vcpu.tryRead(GPA + PAGE, 8, PRIVATE),
        vcpu,
        GPA + PAGE,
        PRIVATE,
        Access.READ,
        Errno.EFAULT); // there is no file
    assertEquals(PAGE, vm.preFault(GPA, 2L * PAGE), "up to the page that nothing is behind");
    try (HostRam ram = vm.mapHostRam(host, NOWHERE, PAGE)) { // memory that comes later is used
      convert(GPA, 1, SHARED);
      assertTrue(vcpu.tryRead(GPA, 8, SHARED));
      assertEquals(PAGE, ram.allocated());
    }
    assertHostFault(vcpu.tryRead(GPA, 8, SHARED), GPA, NOWHERE, Access.READ);
  }

  // ---- attributes ----

  @ParameterizedTest
  @CsvSource({
    // gpa, size: answers in the kernel's order, for a machine with private memory
    "0, 0, EINVAL",
    "0x1000, 0xfffffffffffff000, EINVAL", // ends at 2^64
    "0xfffffffffffff000, 0x1000, EINVAL",
    "0x1001, 0x1000, EINVAL",
    "0x1000, 0x1001, EINVAL",
    "0x1000, 0x1000, OK",
    "0x10000000000000, 0x1000, OK", // beyond 2^52, where no memslot can be
    "0xffffffffffffe000, 0x1000, OK",
  })
  void theRangeOfAttributes(String gpa, String size, Errno expected) {
    machine(VmType.SNP);
    long at = Long.parseUnsignedLong(gpa.replace("0x", ""), 16);
    long bytes = Long.parseUnsignedLong(size.replace("0x", ""), 16);
    BusyGuestPage stopped = new BusyGuestPage();
    assertEquals(expected, vm.trySetMemoryAttributes(at, bytes, PRIVATE, stopped));
    assertEquals(expected == Errno.OK ? at + bytes : at, stopped.convertedUpTo());
    assertThat(vm.memoryAttribute(at)).contains(expected == Errno.OK ? PRIVATE : SHARED);
    assertEquals(
        expected == Errno.OK,
        vm.setMemoryAttributesLater(at, bytes, SHARED).handle((v, e) -> e == null).join());
  }

  @Test
  void attributesNeedNoMemslotAndStayWhenThereIsOne() {
    machine(VmType.TDX);
    assertThat(vm.memoryAttributes(0, 1L << 40))
        .containsExactly(new MemoryAttributeRange(0, 1L << 40, SHARED));
    convert(GPA + PAGE, 2, PRIVATE);
    slot(0, 0, GPA, 4, ram(4).userAddress(), file(4, 0));
    assertThat(vm.memoryAttributes(GPA, 4L * PAGE))
        .containsExactly(
            new MemoryAttributeRange(GPA, PAGE, SHARED),
            new MemoryAttributeRange(GPA + PAGE, 2L * PAGE, PRIVATE),
            new MemoryAttributeRange(GPA + 3L * PAGE, PAGE, SHARED));
    write(vcpu, GPA + PAGE, 1, PRIVATE);
    vm.unbind(0);
    assertThat(vm.memoryAttribute(GPA + PAGE)).contains(PRIVATE);
    refused(GuestMemfdException.class, Errno.EINVAL, () -> vm.memoryAttributes(GPA, PAGE + 1L));
  }

  /** One call, over memslots, gaps between them, and memory that is the other already. */
  @Test
  void aRangeMayStraddleMemslots() {
    machine(VmType.SW_PROTECTED);
    HostRam ram = ram(4);
    slot(0, 0, GPA, 2, ram.userAddress(), file(2, 0));
    slot(1, 0, GPA + 4L * PAGE, 2, ram.userAddress() + 2L * PAGE, file(2, 0));
    for (int page : new int[] {0, 1, 4, 5}) {
      write(vcpu, GPA + (long) page * PAGE, page, SHARED);
    }
    convert(GPA + PAGE, 4, PRIVATE);
    assertTrue(vcpu.tryRead(GPA, 8, SHARED));
    assertEquals(2, Mapped.pages(vm).size(), "what is outside the range stays mapped");
    for (int page : new int[] {1, 4}) {
      assertFalse(vcpu.tryRead(GPA + (long) page * PAGE, 8, SHARED));
      write(vcpu, GPA + (long) page * PAGE, 10 + page, PRIVATE);
    }
    assertEquals(5, read(vcpu, GPA + 5L * PAGE, SHARED));
  }

  /** As the kernel: then there is no invalidation, and what is mapped stays mapped. */
  @Test
  void aRangeThatIsSoAlreadyIsNotTouched() {
    machine(VmType.SW_PROTECTED);
    slot(0, 0, GPA, 2, ram(2).userAddress(), file(2, 0));
    write(vcpu, GPA, 1, SHARED);
    long before = vm.metrics().invalidations();
    convert(GPA, 2, SHARED);
    assertEquals(before, vm.metrics().invalidations());
    assertEquals(1, Mapped.pages(vm).size());
    convert(GPA, 1, PRIVATE);
    convert(GPA, 2, PRIVATE); // in part: all of it is zapped
    assertEquals(before + 2, vm.metrics().invalidations());
    assertEquals(0, Mapped.pages(vm).size());
  }

  @Test
  void withoutPrivateMemoryThereIsNoAttribute() {
    machine(VmType.DEFAULT);
    MemoryAttributesException e =
        refused(MemoryAttributesException.class, Errno.EINVAL, () -> convert(GPA, 1, PRIVATE));
    assertThat(e)
        .hasMessage(
            "EINVAL: set memory attributes of gpa 0x100000 size 4096 to PRIVATE: a machine of type"
                + " DEFAULT has no private memory");
    convert(GPA, 1, SHARED);
    slot(0, 0, GPA, 1, ram(1).userAddress(), null);
    assertMemoryFault(vcpu.tryRead(GPA, 8, PRIVATE), vcpu, GPA, PRIVATE, Access.READ, Errno.EFAULT);
  }

  // ---- the host's memory ----

  @Test
  void memoryThatIsDiscardedIsZeroToBothAndHoldersKeepTheirs() {
    machine(VmType.DEFAULT);
    HostRam ram = ram(3);
    slot(0, 0, GPA, 3, ram.userAddress(), null);
    for (int page = 0; page < 3; page++) {
      write(vcpu, GPA + (long) page * PAGE, 7 + page, SHARED);
    }
    var pin = ram.mapping().pin(PAGE, PAGE);
    ram.discard(PAGE, PAGE);
    assertEquals(2, Mapped.pages(vm).size());
    assertEquals(8, pin.buffer().getLong(0));
    assertEquals(0, read(vcpu, GPA + PAGE, SHARED));
    write(vcpu, GPA + PAGE, 99, SHARED);
    assertEquals(8, pin.buffer().getLong(0), "no later content");
    pin.close();
    assertEquals(99, ram.mapping().getLong(PAGE));
    assertEquals(3L * PAGE, ram.allocated());
    ram.discard(0, 3L * PAGE);
    assertEquals(0, ram.allocated());
    assertEquals(0, host.used());
  }

  /** mincore: whole pages of a range, and nothing is made by asking. */
  @Test
  void whatIsAllocatedOfARange() {
    machine(VmType.DEFAULT);
    HostRam ram = ram(3);
    ram.mapping().putLong(PAGE, 1);
    assertEquals(0, ram.allocated(0, PAGE));
    assertEquals(PAGE, ram.allocated(0, PAGE + 1));
    assertEquals(PAGE, ram.allocated(PAGE, 1));
    assertEquals(PAGE, ram.allocated(0, 3L * PAGE));
    assertEquals(0, ram.allocated(PAGE, 0));
    assertEquals(0, ram.allocated(3L * PAGE, 0));
    refused(GuestMemfdException.class, Errno.EINVAL, () -> ram.allocated(1, PAGE));
    refused(GuestMemfdException.class, Errno.EINVAL, () -> ram.allocated(0, -1));
    refused(GuestMemfdException.class, Errno.ENOMEM, () -> ram.allocated(PAGE, 2L * PAGE + 1));
    refused(GuestMemfdException.class, Errno.ENOMEM, () -> ram.allocated(-PAGE, PAGE));
    refused(GuestMemfdException.class, Errno.ENOMEM, () -> ram.allocated(0, Long.MAX_VALUE));
    assertEquals(PAGE, ram.allocated());
    ram.close();
    assertEquals(0, ram.allocated(0, 3L * PAGE));
  }

  @ParameterizedTest
  @CsvSource({
    "DONTNEED, OK, 0, 1",
    "FREE, OK, 7, 2",
    "COLD, OK, 7, 2",
    "PAGEOUT, OK, 7, 2",
    "HUGEPAGE, OK, 7, 2",
    "POPULATE_READ, OK, 7, 2",
    "POPULATE_WRITE, OK, 7, 2",
    "REMOVE, EINVAL, 7, 2",
    "COLLAPSE, EINVAL, 7, 2",
  })
  void advice(io.github.guestmemfd.abi.Advice advice, Errno expected, long after, int pages) {
    machine(VmType.DEFAULT);
    HostRam ram = ram(2);
    ram.mapping().putLong(0, 7);
    ram.mapping().putLong(PAGE, 8);
    assertEquals(expected, errno(() -> ram.madvise(0, PAGE, advice)));
    assertEquals((long) pages * PAGE, ram.allocated());
    assertEquals(after, ram.mapping().getLong(0));
    assertEquals(Errno.EINVAL, errno(() -> ram.madvise(1, PAGE, advice)));
    assertEquals(Errno.OK, errno(() -> ram.madvise(PAGE, 0, advice)));
    if (expected == Errno.OK) {
      assertEquals(Errno.ENOMEM, errno(() -> ram.madvise(PAGE, 2L * PAGE, advice)));
    }
  }

  @Test
  void userAddresses() {
    machine(VmType.DEFAULT);
    HostRam first = ram(2);
    HostRam second = ram(2);
    assertEquals(first.userAddress() + 2L * PAGE, second.userAddress());
    long at = first.userAddress();
    assertEquals(Errno.EEXIST, errno(() -> vm.mapHostRam(host, at + PAGE, PAGE)));
    assertEquals(Errno.EEXIST, errno(() -> vm.mapHostRam(host, at - PAGE, 8L * PAGE)));
    assertEquals(Errno.EINVAL, errno(() -> vm.mapHostRam(host, at + 1, PAGE)));
    assertEquals(Errno.EINVAL, errno(() -> vm.mapHostRam(host, NOWHERE, 0)));
    assertEquals(Errno.EINVAL, errno(() -> vm.mapHostRam(host, NOWHERE, 100)));
    assertEquals(Errno.ENOMEM, errno(() -> vm.mapHostRam(host, (1L << 47) - PAGE, PAGE)));
    assertEquals(Errno.ENOMEM, errno(() -> vm.mapHostRam(host, -PAGE, PAGE)));
    assertEquals(Errno.ENOMEM, errno(() -> vm.mapHostRam(host, 1L << 47)));
    try (HostRam last = vm.mapHostRam(host, (1L << 47) - 2 * PAGE, PAGE)) {
      assertThat(last).hasToString("HostRam[user address=0x7fffffffe000, size=4096]");
    }
    first.close();
    first.close();
    try (HostRam again = vm.mapHostRam(host, 2L * PAGE)) {
      assertEquals(at, again.userAddress(), "the gap is filled");
    }
    HostRam low = closing(vm.mapHostRam(host, 0x7eff_ffff_f000L, PAGE)); // below the first
    low.close();
    second.close();
    first.close();
    closing(vm.mapHostRam(host, 0x7eff_ffff_f000L, 2L * PAGE));
    assertEquals(at + PAGE, closing(vm.mapHostRam(host, PAGE)).userAddress(), "it reaches up");
    assertEquals(0x1_0000, closing(vm.mapHostRam(host, 1L << 40)).userAddress(), "no room above");
    try (var other = io.github.guestmemfd.HostMemory.ofBytes(PAGE)) {
      assertThat(
              Assertions.assertThrows(
                  IllegalArgumentException.class, () -> vm.mapHostRam(other, PAGE)))
          .hasMessageStartingWith("host memory: expected memory of ");
    } // no file is left open
  }

  /** Memslots and areas lie across each other, and two memslots over the same memory. */
  @Test
  void memslotsAndMemoryNeedNotMatch() {
    machine(VmType.DEFAULT);
    HostRam low = closing(vm.mapHostRam(host, NOWHERE, 2L * PAGE));
    HostRam high = closing(vm.mapHostRam(host, NOWHERE + 3L * PAGE, 2L * PAGE));
    slot(0, 0, GPA, 5, NOWHERE, null);
    slot(1, 0, 2 * GPA, 3, NOWHERE + PAGE, null);
    for (int page : new int[] {0, 1, 3, 4}) {
      write(vcpu, GPA + (long) page * PAGE, page + 1, SHARED);
    }
    assertFalse(vcpu.tryRead(GPA + 2L * PAGE, 8, SHARED));
    assertEquals(2, read(vcpu, 2 * GPA, SHARED));
    assertEquals(4, read(vcpu, 2 * GPA + 2L * PAGE, SHARED));
    assertEquals(6, Mapped.pages(vm).size());
    low.discard(PAGE, PAGE); // goes from both memslots
    assertEquals(4, Mapped.pages(vm).size());
    assertEquals(0, read(vcpu, 2 * GPA, SHARED));
    assertEquals(1, low.mapping().getLong(0));
    high.close();
    assertHostFault(
        vcpu.tryRead(GPA + 3L * PAGE, 8, SHARED),
        GPA + 3L * PAGE,
        NOWHERE + 3L * PAGE,
        Access.READ);
    assertFalse(vcpu.tryRead(2 * GPA + 2L * PAGE, 8, SHARED));
    assertEquals(1, read(vcpu, GPA, SHARED));
    assertEquals(2L * PAGE, host.used());
  }

  @Test
  void aPunchOfTheFileLeavesTheHostsMemoryAlone() {
    machine(VmType.SW_PROTECTED);
    HostRam ram = ram(2);
    GuestMemfd memfd = file(2, 0);
    slot(0, 0, GPA, 2, ram.userAddress(), memfd);
    write(vcpu, GPA, 1, SHARED);
    convert(GPA + PAGE, 1, PRIVATE);
    write(vcpu, GPA + PAGE, 2, PRIVATE);
    memfd.punchHole(0, 2L * PAGE);
    assertEquals(0, read(vcpu, GPA + PAGE, PRIVATE));
    assertEquals(1, read(vcpu, GPA, SHARED));
    memfd.close();
    assertMemoryFault(
        vcpu.tryRead(GPA + PAGE, 8, PRIVATE), vcpu, GPA + PAGE, PRIVATE, Access.READ, Errno.EFAULT);
    assertEquals(1, read(vcpu, GPA, SHARED), "without its file the memslot has the rest");
  }

  // ---- flags ----

  @Test
  void aReadOnlyMemslotIsReadAndWritesExitForMmio() {
    machine(VmType.DEFAULT);
    HostRam ram = ram(1);
    slot(0, READ_ONLY, GPA, 1, ram.userAddress(), null);
    ram.mapping().putLong(8, 5);
    assertEquals(5, read(vcpu, GPA + 8, SHARED));
    for (int mapped = 0; mapped < 2; mapped++) { // before it is mapped, and after
      assertFalse(vcpu.tryWrite(GPA + 8, 8, 6, SHARED));
      assertEquals(new VcpuExit.Mmio(GPA + 8, 8, Access.WRITE, 6), vcpu.exit());
      assertFalse(vcpu.tryGetAndAdd(GPA + 8, 8, 1, SHARED));
      assertFalse(vcpu.tryCompareAndSet(GPA + 8, 8, 5, 6, SHARED));
      assertFalse(vcpu.tryWrite(GPA, ByteBuffer.allocate(16), SHARED));
      assertFalse(vcpu.tryTouch(GPA, Access.WRITE, SHARED));
      assertTrue(vcpu.tryTouch(GPA, Access.EXEC, SHARED));
    }
    assertEquals(5, ram.mapping().getLong(8));
    assertEquals(PAGE, vm.preFault(GPA, PAGE));
  }

  @Test
  void whatTheGuestWritesIsLogged() {
    machine(VmType.DEFAULT);
    HostRam ram = ram(4);
    slot(0, 0, GPA, 4, ram.userAddress(), null);
    write(vcpu, GPA, 1, SHARED);
    refused(GuestMemfdException.class, Errno.ENOENT, () -> vm.getDirtyLog(0));
    slot(0, LOG, GPA, 4, ram.userAddress(), null);
    assertThat(vm.getDirtyLog(0)).isEqualTo(new BitSet());
    read(vcpu, GPA, SHARED);
    read(vcpu, GPA + PAGE, SHARED);
    ram.mapping().putLong(3L * PAGE, 1); // the host's writes are not
    assertThat(vm.getDirtyLog(0)).isEqualTo(new BitSet());
    write(vcpu, GPA, 2, SHARED);
    vcpu.touch(GPA + 2L * PAGE, Access.WRITE, SHARED);
    assertThat(vm.clearDirtyLog(0, BitSet.valueOf(new long[] {0b1110})))
        .isEqualTo(BitSet.valueOf(new long[] {0b100}));
    assertThat(vm.getDirtyLog(0)).isEqualTo(BitSet.valueOf(new long[] {1}));
    assertThat(vm.getDirtyLog(0)).isEqualTo(new BitSet());
    write(vcpu, GPA, 3, SHARED); // again
    slot(0, LOG, 2 * GPA, 4, ram.userAddress(), null); // moved with its log
    write(vcpu, 2 * GPA + 3L * PAGE, 3, SHARED);
    assertThat(vm.getDirtyLog(0)).isEqualTo(BitSet.valueOf(new long[] {0b1001}));
    slot(0, 0, 2 * GPA, 4, ram.userAddress(), null);
    slot(0, LOG, 2 * GPA, 4, ram.userAddress(), null);
    assertThat(vm.getDirtyLog(0)).as("a new log").isEqualTo(new BitSet());
    refused(
        GuestMemfdException.class,
        Errno.EINVAL,
        () -> vm.clearDirtyLog(0, BitSet.valueOf(new long[] {0b10000})));
    ram.discard(0, PAGE); // and zapped pages are logged when they are written again
    write(vcpu, 2 * GPA, 3, SHARED);
    assertThat(vm.getDirtyLog(0)).isEqualTo(BitSet.valueOf(new long[] {1}));
    assertThat(List.of(read(vcpu, 2 * GPA, SHARED))).containsExactly(3L);
  }
}
