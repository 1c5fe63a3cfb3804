package io.github.guestmemfd.conformance;

import static io.github.guestmemfd.abi.Protection.EXEC;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileCall;
import io.github.guestmemfd.abi.MapType;
import io.github.guestmemfd.kvm.Access;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VcpuExit;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What the kernel's own self-test of guest_memfd looks at, case by case, asked of the model. */
class SelfTestCasesTest extends ConformanceFixture {
  private static final int MMAP = 1;
  private static final int SHARED_AT_FIRST = 3;
  private static final long PAGES = 4;

  @Test
  @DisplayName("flags: each bit on its own")
  void flags() {
    for (int bit = 0; bit < Long.SIZE; bit++) {
      long flag = 1L << bit;
      assertThat(errno(() -> describe(PAGE, flag).build().close()))
          .as("flag 0x%x", flag)
          .isEqualTo(bit < 2 ? Errno.OK : Errno.EINVAL);
    }
  }

  @Test
  @DisplayName("multiple files: sizes and inodes of their own")
  void multipleFiles() {
    GuestMemfd one = file(1, 0);
    assertThat(one.stat().size()).isEqualTo(PAGE);
    GuestMemfd two = file(2, 0);
    assertThat(two.stat().size()).isEqualTo(2 * PAGE);
    assertThat(one.stat().size()).isEqualTo(PAGE);
    assertThat(one.stat().ino()).isNotEqualTo(two.stat().ino());
    assertThat(one.sameFile(two)).isFalse();
  }

  @Test
  @DisplayName("invalid sizes: everything below a page, and nothing")
  void invalidSizes() {
    for (long size = 0; size < PAGE; size++) {
      long bytes = size;
      assertThat(errno(() -> describe(bytes, 0).build()))
          .as("size %s", bytes)
          .isEqualTo(Errno.EINVAL);
    }
    assertThat(errno(() -> describe(PAGE, 0).build().close())).isEqualTo(Errno.OK);
  }

  /** Content is reached by mapping only. */
  @Test
  @DisplayName("read/write refused")
  void readAndWriteRefused() {
    GuestMemfd memfd = file(PAGES, SHARED_AT_FIRST);
    assertThat(memfd.call(FileCall.READ)).isEqualTo(Errno.EINVAL);
    assertThat(memfd.call(FileCall.WRITE)).isEqualTo(Errno.EINVAL);
    assertThat(memfd.call(FileCall.PREAD)).isEqualTo(Errno.ESPIPE);
    assertThat(memfd.call(FileCall.PWRITE)).isEqualTo(Errno.ESPIPE);
    assertThat(memfd.call(FileCall.LSEEK)).isEqualTo(Errno.ESPIPE);
  }

  @Test
  @DisplayName("mmap supported: content, a punched page, and content again")
  void mmapSupported() {
    GuestMemfd memfd = file(PAGES, SHARED_AT_FIRST);
    HostMapping map = map(memfd);
    fill(map, 0, PAGES, 0xaa);
    assertFilled(map, 0, PAGES, 0xaa);
    memfd.punchHole(0, PAGE);
    assertFilled(map, 0, 1, 0);
    assertFilled(map, 1, PAGES - 1, 0xaa);
    fill(map, 0, PAGES, 0xaa);
    assertFilled(map, 0, PAGES, 0xaa);
  }

  @Test
  @DisplayName("fault past the end: SIGBUS beyond the file, and only there")
  void faultPastTheEnd() {
    GuestMemfd memfd = file(PAGES, SHARED_AT_FIRST);
    HostMapping map = closing(memfd.mmap(0, 2 * PAGES * PAGE, READ, WRITE));
    assertSigbus(() -> map.putByte(PAGES * PAGE, (byte) 1), PAGES * PAGE);
    assertSigbus(() -> map.getByte(2 * PAGES * PAGE - 1), 2 * PAGES * PAGE - 1);
    fill(map, 0, PAGES, 0xaa);
    assertFilled(map, 0, PAGES, 0xaa);
  }

  @Test
  @DisplayName("fault on a private file: SIGBUS everywhere, nothing is allocated")
  void faultOnAPrivateFile() {
    GuestMemfd memfd = file(PAGES, MMAP);
    HostMapping map = map(memfd);
    for (long i = 0; i < PAGES; i++) {
      long at = i * PAGE;
      assertSigbus(() -> map.getByte(at), at);
      assertSigbus(() -> map.putByte(at + 1, (byte) 1), at + 1);
    }
    assertThat(memfd.cachedPages()).isZero();
  }

  @Test
  @DisplayName("no copy-on-write mapping: EINVAL")
  void noCopyOnWriteMapping() {
    GuestMemfd memfd = file(PAGES, SHARED_AT_FIRST);
    assertThat(errno(() -> memfd.mmap(0, PAGES * PAGE, MapType.PRIVATE, READ, WRITE)))
        .isEqualTo(Errno.EINVAL);
  }

  @ParameterizedTest(name = "{0}")
  @ValueSource(strings = {"SHARED", "PRIVATE"})
  @DisplayName("mmap refused without the flag: ENODEV")
  void mmapRefusedWithoutTheFlag(MapType type) {
    GuestMemfd memfd = file(PAGES, 0);
    assertThat(errno(() -> memfd.mmap(0, PAGES * PAGE, type, READ, WRITE))).isEqualTo(Errno.ENODEV);
    assertThat(errno(() -> memfd.mmap(0, PAGES * PAGE, type, READ, EXEC))).isEqualTo(Errno.EPERM);
  }

  @Test
  @DisplayName("huge-page collapse refused: the hint is taken, the demand is EINVAL")
  void hugePageCollapseRefused() {
    GuestMemfd memfd = file(PAGES, SHARED_AT_FIRST);
    HostMapping map = map(memfd);
    fill(map, 0, PAGES, 0xaa);
    map.madvise(0, PAGES * PAGE, Advice.HUGEPAGE);
    assertThat(errno(() -> map.madvise(0, PAGES * PAGE, Advice.COLLAPSE))).isEqualTo(Errno.EINVAL);
    map.madvise(0, PAGES * PAGE, Advice.DONTNEED);
    assertFilled(map, 0, PAGES, 0xaa);
  }

  @Test
  @DisplayName("file size: as created, in pages of 4096, and it stays")
  void fileSize() {
    GuestMemfd memfd = file(PAGES, 0);
    assertThat(memfd.stat().size()).isEqualTo(PAGES * PAGE);
    assertThat(memfd.stat().blksize()).isEqualTo(4096);
    assertThat(errno(() -> memfd.ftruncate(2 * PAGES * PAGE))).isEqualTo(Errno.EINVAL);
    memfd.allocate(0, PAGES * PAGE);
    memfd.punchHole(0, 2 * PAGES * PAGE);
    assertThat(memfd.stat().size()).isEqualTo(PAGES * PAGE);
  }

  @Test
  @DisplayName("fallocate: allocating and punching, at and past the end")
  void fallocate() {
    GuestMemfd memfd = file(PAGES, 0);
    long end = PAGES * PAGE;
    assertThat(errno(() -> memfd.allocate(0, end))).isEqualTo(Errno.OK);
    assertThat(errno(() -> memfd.punchHole(PAGE - 1, PAGE))).isEqualTo(Errno.EINVAL);
    assertThat(errno(() -> memfd.allocate(end, PAGE))).isEqualTo(Errno.EINVAL);
    assertThat(errno(() -> memfd.allocate(end + PAGE, PAGE))).isEqualTo(Errno.EINVAL);
    assertThat(errno(() -> memfd.punchHole(end, PAGE))).isEqualTo(Errno.OK);
    assertThat(errno(() -> memfd.punchHole(end + PAGE, PAGE))).isEqualTo(Errno.OK);
    assertThat(errno(() -> memfd.punchHole(PAGE, PAGE - 1))).isEqualTo(Errno.EINVAL);
    assertThat(memfd.cachedPages()).isEqualTo(PAGES);
    assertThat(errno(() -> memfd.punchHole(PAGE, PAGE))).isEqualTo(Errno.OK);
    assertThat(memfd.cachedPages()).isEqualTo(PAGES - 1);
    assertThat(errno(() -> memfd.allocate(PAGE, PAGE))).isEqualTo(Errno.OK);
    assertThat(memfd.cachedPages()).isEqualTo(PAGES);
  }

  @ParameterizedTest(name = "{0}, {1}")
  @CsvSource({
    "0, 1",
    "0, 4095",
    "0, 4097",
    "1, 1",
    "1, 4095",
    "1, 4096",
    "1, 4097",
    "4096, 1",
    "4096, 4095",
    "4096, 4097",
  })
  @DisplayName("invalid punch hole: ten pairs that are no whole pages, EINVAL")
  void invalidPunchHole(long offset, long length) {
    GuestMemfd memfd = file(PAGES, 0);
    memfd.allocate(0, PAGES * PAGE);
    assertThat(errno(() -> memfd.punchHole(offset, length))).isEqualTo(Errno.EINVAL);
    assertThat(memfd.cachedPages()).isEqualTo(PAGES);
  }

  @Test
  @DisplayName("guest access: host and guest see what the other wrote, byte for byte")
  void guestAccess() {
    GuestMemfd memfd = file(PAGES, SHARED_AT_FIRST);
    HostMapping map = map(memfd);
    long gpa = 0x1_0000_0000L;
    vm.bind(1, gpa, PAGES * PAGE, memfd, 0);
    fill(map, 0, PAGES, 0xaa);
    Vcpu vcpu = vm.createVcpu();
    for (long at = 0; at < PAGES * PAGE; at++) {
      assertThat(vcpu.read(gpa + at, 1, SHARED)).isEqualTo(0xaa);
      vcpu.write(gpa + at, 1, 0xbb, SHARED);
    }
    assertFilled(map, 0, PAGES, 0xbb);
    assertThat(vcpu.tryRead(gpa + PAGES * PAGE, 1, SHARED)).isFalse();
    assertThat(vcpu.exit()).isInstanceOf(VcpuExit.Mmio.class);
    vm.unbind(1);
  }

  /** A file that starts private: the guest alone has it. */
  @Test
  @DisplayName("guest access: to a private file")
  void guestAccessToAPrivateFile() {
    GuestMemfd memfd = file(PAGES, MMAP);
    HostMapping map = map(memfd);
    vm.bind(1, 0, PAGES * PAGE, memfd, 0);
    Vcpu vcpu = vm.createVcpu();
    vcpu.write(PAGE, 8, 42, PRIVATE);
    assertThat(vcpu.read(PAGE, 8, PRIVATE)).isEqualTo(42);
    assertSigbus(() -> map.getLong(PAGE), PAGE);
    assertThat(vcpu.tryTouch(PAGE, Access.READ, SHARED)).isFalse();
    assertThat(vcpu.exit())
        .isEqualTo(new VcpuExit.MemoryFault(PAGE, PAGE, SHARED, Access.READ, Errno.EFAULT));
    assertThat(memfd.cachedPages(0, PAGE)).isZero();
    try (Folio folio = memfd.grab(PAGE)) {
      assertThat(folio.buffer().getLong(0)).isEqualTo(42);
    }
  }
}
