package io.github.guestmemfd.conformance;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.EXEC;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.ConversionBlockedException;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileStat;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.MapType;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.abi.SigSegvException;
import io.github.guestmemfd.kvm.VirtualMachine;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * What user space sees of a guest_memfd on Linux 6.18: every answer, and the order of the errors.
 */
class ConformanceTest {
  private static final long PAGE = 4096;
  private static final long LARGEST = 0x7ffffffffffff000L;

  private final HostMemory host = HostMemory.ofBytes(64 * PAGE);

  @AfterEach
  void nothingIsLost() {
    assertThat(host.used()).isZero();
    host.close();
  }

  private GuestMemfd create(long size, long flags) {
    return GuestMemfd.builder(host).size(size).flags(flags).build();
  }

  private static Errno errno(Runnable call) {
    GuestMemfdException e = catchThrowableOfType(GuestMemfdException.class, call::run);
    return e == null ? Errno.OK : e.errno();
  }

  @Nested
  class Create {
    @ParameterizedTest
    @ValueSource(longs = {0, 1, 4095, 4097, -1, -4096, Long.MIN_VALUE, Long.MAX_VALUE})
    void badSize(long size) {
      assertThat(errno(() -> create(size, 3))).isEqualTo(Errno.EINVAL);
    }

    @ParameterizedTest
    @ValueSource(longs = {4096, 1L << 32, 1L << 62, 0x7fffffffffffe000L, LARGEST})
    void goodSizeAllocatesNothing(long size) {
      try (GuestMemfd memfd = create(size, 3)) {
        assertThat(memfd.size()).isEqualTo(size);
        assertThat(memfd.cachedPages()).isZero();
        assertThat(host.used()).isZero();
      }
    }

    @ParameterizedTest
    @ValueSource(longs = {4, 8, 1L << 31, 1L << 32, 1L << 63, -1})
    void unknownFlags(long flags) {
      assertThat(errno(() -> create(PAGE, flags))).isEqualTo(Errno.EINVAL);
    }

    @ParameterizedTest
    @ValueSource(longs = {0, 1, 2, 3})
    void knownFlags(long flags) {
      try (GuestMemfd memfd = create(PAGE, flags)) {
        assertThat(memfd.isAccessible(0)).isEqualTo((flags & 2) != 0);
      }
    }

    @Test
    void flagsAddUp() {
      try (GuestMemfd one =
              GuestMemfd.builder(host).size(PAGE).flags(MMAP).flags(INIT_SHARED).build();
          GuestMemfd other = GuestMemfd.builder(host).size(PAGE).flags(2).flags(MMAP).build()) {
        for (GuestMemfd memfd : List.of(one, other)) {
          assertThat(memfd.isAccessible(0)).isTrue();
          memfd.mmap(0, PAGE).close();
        }
      }
      GuestMemfd.Builder unknown = GuestMemfd.builder(host).size(PAGE).flags(4).flags(MMAP);
      assertThat(errno(unknown::build)).isEqualTo(Errno.EINVAL);
    }

    @Test
    void eachFileHasItsInodeAndDupSharesIt() {
      try (GuestMemfd one = create(PAGE, 3);
          GuestMemfd two = create(PAGE, 3);
          GuestMemfd dup = one.dup()) {
        assertThat(one.stat().ino()).isNotEqualTo(two.stat().ino());
        assertThat(dup.stat().ino()).isEqualTo(one.stat().ino());
        assertThat(dup.sameFile(one)).isTrue();
        assertThat(two.sameFile(one)).isFalse();
      }
    }

    @Test
    void statusIsThatOfAnEmptyRegularFile() {
      try (GuestMemfd memfd = create(2 * PAGE, 3)) {
        memfd.allocate(0, PAGE);
        FileStat stat = memfd.stat();
        assertThat(stat.size()).isEqualTo(2 * PAGE);
        assertThat(stat.blocks()).isZero();
        assertThat(stat.blksize()).isEqualTo(4096);
        assertThat(Integer.toOctalString(stat.mode())).isEqualTo("100600");
      }
    }

    @Test
    void theSizeIsFixed() {
      try (GuestMemfd memfd = create(PAGE, 3)) {
        assertThat(errno(() -> memfd.ftruncate(0))).isEqualTo(Errno.EINVAL);
        assertThat(errno(() -> memfd.ftruncate(PAGE))).isEqualTo(Errno.EINVAL);
      }
    }
  }

  @Nested
  class Fallocate {
    /** Each line breaks several rules at once; the first in the kernel's order answers. */
    @ParameterizedTest
    @CsvSource({
      "-1, -4096, 4096, EINVAL",
      "0, 0, 0, EINVAL",
      "0x100, 0, -1, EINVAL",
      "0x100, 0, 4096, EOPNOTSUPP",
      "-1, 0, 4096, EOPNOTSUPP",
      "0x02, 0x7ffffffffffff000, 4096, EOPNOTSUPP",
      "0x04, 0x7ffffffffffff000, 4096, EOPNOTSUPP",
      "0x05, 0x7ffffffffffff000, 4096, EOPNOTSUPP",
      "0x09, 0x7ffffffffffff000, 4096, EOPNOTSUPP",
      "0x21, 0x7ffffffffffff000, 4096, EOPNOTSUPP",
      "0x81, 0x7ffffffffffff000, 4096, EOPNOTSUPP",
      "0x13, 0x7ffffffffffff000, 4096, EOPNOTSUPP",
      "0x00, 0x7ffffffffffff000, 4096, EFBIG",
      "0x40, 0x7ffffffffffff000, 4096, EFBIG",
      "0x41, 0x7ffffffffffff000, 4096, EFBIG",
      "0x10, 0x7ffffffffffff000, 4096, EFBIG",
      "0x11, 0x7ffffffffffff000, 4096, EFBIG",
      "0x08, 0x7ffffffffffff000, 4096, EFBIG",
      "0x20, 0x7ffffffffffff000, 4096, EFBIG",
      "0x80, 0x7ffffffffffff000, 4096, EFBIG",
      "0x01, 0x7ffffffffffff000, 4096, EFBIG",
      "0x03, 0x7ffffffffffff000, 4096, EFBIG",
      "0x00, 1, 4096, EOPNOTSUPP",
      "0x40, 1, 4096, EOPNOTSUPP",
      "0x11, 1, 4096, EOPNOTSUPP",
      "0x80, 1, 4096, EOPNOTSUPP",
      "0x01, 1, 4096, EINVAL",
      "0x01, 0, 4095, EINVAL",
      "0x03, 1, 4096, EINVAL",
      "0x03, 409600, 4095, EINVAL",
      "0x01, 0, 20480, EINVAL",
      "0x01, 16384, 4096, EINVAL",
      "0x01, 12288, 4096, OK",
      "0x03, 0, 0x7ffffffffffff000, OK",
      "0x03, 16384, 4096, OK",
      "0x03, 12288, 8192, OK",
    })
    void errorsInOrder(String mode, String offset, String length, Errno expected) {
      try (GuestMemfd memfd = create(4 * PAGE, 0)) {
        assertThat(
                errno(
                    () ->
                        memfd.fallocate(
                            Integer.decode(mode), Long.decode(offset), Long.decode(length))))
            .isEqualTo(expected);
        assertThat(memfd.cachedPages())
            .isEqualTo(expected == Errno.OK && mode.equals("0x01") ? 1 : 0);
      }
    }

    @Test
    void allocationKeepsWhatIsThere() {
      try (GuestMemfd memfd = create(4 * PAGE, 3);
          HostMapping map = memfd.mmap(0, 4 * PAGE, READ, WRITE)) {
        map.putByte(PAGE, (byte) 7);
        memfd.allocate(0, 4 * PAGE);
        assertThat(memfd.cachedPages()).isEqualTo(4);
        assertThat(map.getByte(PAGE)).isEqualTo((byte) 7);
        assertThat(map.getByte(0)).isZero();
      }
    }

    @Test
    void punchDiscardsExactlyThePagesAskedForInsideTheFile() {
      try (GuestMemfd memfd = create(4 * PAGE, 3);
          HostMapping map = memfd.mmap(0, 4 * PAGE, READ, WRITE)) {
        for (int i = 0; i < 4; i++) {
          map.putLong(i * PAGE, i + 1);
        }
        memfd.punchHole(PAGE, PAGE);
        memfd.punchHole(3 * PAGE, 100 * PAGE);
        assertThat(memfd.cachedPages()).isEqualTo(2);
        assertThat(map.getLong(0)).isEqualTo(1);
        assertThat(map.getLong(PAGE)).isZero();
        assertThat(map.getLong(2 * PAGE)).isEqualTo(3);
        assertThat(map.getLong(3 * PAGE)).isZero();
        memfd.punchHole(PAGE, PAGE);
        memfd.punchHole(PAGE, PAGE); // a hole can be punched
      }
    }

    @Test
    void successUpdatesTheModificationTime() throws InterruptedException {
      try (GuestMemfd memfd = create(PAGE, 3)) {
        long before = memfd.stat().mtimeNanos();
        while (System.currentTimeMillis() * 1_000_000 <= before) {
          Thread.onSpinWait();
        }
        assertThat(errno(() -> memfd.allocate(0, 2 * PAGE))).isEqualTo(Errno.EINVAL);
        assertThat(memfd.stat().mtimeNanos()).isEqualTo(before);
        memfd.allocate(0, PAGE);
        assertThat(memfd.stat().mtimeNanos()).isGreaterThan(before);
      }
    }

    @Test
    void anInterruptedThreadKeepsThePrefix() {
      try (GuestMemfd memfd = create(4 * PAGE, 3)) {
        Thread.currentThread().interrupt();
        assertThat(errno(() -> memfd.allocate(0, 4 * PAGE))).isEqualTo(Errno.EINTR);
        assertThat(Thread.interrupted()).isTrue();
        memfd.allocate(0, 4 * PAGE);
        assertThat(memfd.cachedPages()).isEqualTo(4);
      }
    }

    @Test
    void withoutMemoryNothingIsAllocated() {
      try (GuestMemfd memfd = create(128 * PAGE, 3)) {
        memfd.allocate(0, PAGE);
        assertThat(errno(() -> memfd.allocate(0, 128 * PAGE))).isEqualTo(Errno.ENOMEM);
        assertThat(memfd.cachedPages()).isEqualTo(1);
        memfd.allocate(0, 64 * PAGE); // 63 are left, and 63 are missing
        assertThat(errno(() -> memfd.allocate(64 * PAGE, PAGE))).isEqualTo(Errno.ENOMEM);
      }
    }
  }

  @Nested
  class Cachestat {
    /** What the kernel answers about a file of eight pages, of which 1, 2, 5 and 7 are there. */
    @ParameterizedTest
    @CsvSource({
      "0, 0, 4",
      "8192, 0, 3",
      "28672, 0, 1",
      "28673, 0, 1",
      "32768, 0, 0",
      "0, 4096, 0",
      "0, 4097, 1",
      "4096, 1, 1",
      "4095, 1, 0",
      "4095, 2, 1",
      "8191, 2, 2",
      "8191, 8193, 2",
      "1, 20480, 3",
      "20479, 1, 0",
      "20479, 8193, 1",
      "0, 32768, 4",
      "32767, 1, 1",
      "32767, 0x7fffffffffffffff, 1",
      "32768, 4096, 0",
      "0x7fffffffffffffff, 1, 0",
      "0x7fffffffffffffff, 0x7fffffffffffffff, 0",
      "0, -1, 4",
      "0, -0x8000000000000000, 4",
      "4095, -1, 0",
      "4095, -4096, 4",
      "20480, -1, 0",
      "-1, 0, 0",
      "-1, 1, 0",
      "-1, 28672, 0",
      "-4096, 4096, 0",
    })
    void countsTheFoliosOfARange(String offset, String length, long expected) {
      try (GuestMemfd memfd = create(8 * PAGE, 3)) {
        for (long page : new long[] {1, 2, 5, 7}) {
          memfd.allocate(page * PAGE, PAGE);
        }
        assertThat(memfd.cachedPages(Long.decode(offset), Long.decode(length))).isEqualTo(expected);
      }
    }

    /** Also answers of the kernel. */
    @ParameterizedTest
    @CsvSource({
      "0, 0, 2",
      "1, 0, 2",
      "4096, 0, 1",
      "0, 0x7fffffffffffffff, 2",
      "0, 0x7fffffffffffe000, 1",
      "0, 0x7fffffffffffe001, 2",
      "0x7fffffffffffefff, 0x7fffffffffffffff, 1",
      "0x7fffffffffffe000, 1, 1",
      "0x7ffffffffffff000, 0, 0",
      "-1, 0, 0",
    })
    void ofTheLargestFile(String offset, String length, long expected) {
      try (GuestMemfd memfd = create(LARGEST, 3)) {
        memfd.allocate(0, PAGE);
        memfd.allocate(LARGEST - PAGE, PAGE);
        assertThat(memfd.cachedPages(Long.decode(offset), Long.decode(length))).isEqualTo(expected);
      }
    }

    @Test
    void doesNotAskForTheAttributeOrTheEntry() {
      try (GuestMemfd memfd = create(4 * PAGE, 3);
          HostMapping map = memfd.mmap(0, 4 * PAGE, READ, WRITE)) {
        map.putByte(PAGE, (byte) 1);
        map.madvise(PAGE, PAGE, Advice.DONTNEED);
        assertThat(memfd.cachedPages(PAGE, PAGE)).isEqualTo(1);
        memfd.makeInaccessible(0, 4 * PAGE);
        assertThat(memfd.cachedPages(PAGE, PAGE)).isEqualTo(1);
        memfd.punchHole(PAGE, PAGE);
        assertThat(memfd.cachedPages(PAGE, PAGE)).isZero();
      }
    }
  }

  @Nested
  class Mmap {
    @ParameterizedTest
    @CsvSource({
      // offset, length, exec, private, flags, expected
      "1, 0, true, true, 0, EINVAL",
      "0, 0, true, true, 0, EINVAL",
      "-4096, -1, true, true, 0, ENOMEM",
      "0, 0x800000000000, true, true, 0, ENOMEM",
      "0, 0x7ffffffff000, true, true, 0, ENOMEM",
      "-4096, 4096, true, true, 0, EOVERFLOW",
      "0x7fffffffffffe000, 4097, true, true, 0, EOVERFLOW",
      "0x7fffffffffffe000, 4096, false, false, 3, OK",
      "0, 4096, true, true, 0, EPERM",
      "0, 4096, true, false, 3, EPERM",
      "0, 4096, false, true, 0, ENODEV",
      "0, 4096, false, false, 2, ENODEV",
      "0, 4096, false, true, 3, EINVAL",
      "0, 4096, false, false, 1, OK",
      "0, 1, false, false, 3, OK",
      "40960, 4096, false, false, 3, OK",
    })
    void errorsInOrder(
        String offset, String length, boolean exec, boolean isPrivate, long flags, Errno expected) {
      try (GuestMemfd memfd = create(4 * PAGE, flags)) {
        assertThat(
                errno(
                    () ->
                        memfd
                            .mmap(
                                Long.decode(offset),
                                Long.decode(length),
                                isPrivate ? MapType.PRIVATE : MapType.SHARED,
                                exec ? new Protection[] {READ, EXEC} : new Protection[] {READ})
                            .close()))
            .isEqualTo(expected);
      }
    }

    @Test
    void theLengthIsRoundedUp() {
      try (GuestMemfd memfd = create(4 * PAGE, 3);
          HostMapping map = memfd.mmap(0, PAGE + 1, READ, WRITE)) {
        assertThat(map.length()).isEqualTo(2 * PAGE);
        map.putByte(2 * PAGE - 1, (byte) 1);
        assertThatThrownBy(() -> map.getByte(2 * PAGE))
            .isInstanceOf(IndexOutOfBoundsException.class);
      }
    }

    @Test
    void touchingPastTheEndOrAPrivatePageIsASigbusThereAndAllocatesNothing() {
      try (GuestMemfd memfd = create(4 * PAGE, 3);
          HostMapping map = memfd.mmap(PAGE, 4 * PAGE, READ, WRITE)) {
        memfd.makeInaccessible(2 * PAGE, PAGE);
        assertSigbus(() -> map.getByte(PAGE + 5), PAGE + 5);
        assertSigbus(() -> map.putLong(PAGE + 8, 1), PAGE + 8);
        assertSigbus(() -> map.getByte(3 * PAGE), 3 * PAGE);
        assertSigbus(() -> map.getLong(3 * PAGE - 4), 3 * PAGE);
        assertSigbus(() -> map.putLong(3 * PAGE - 4, -1), 3 * PAGE);
        assertThat(map.getInt(3 * PAGE - 4)).isZero(); // not half a store
        assertThat(memfd.cachedPages()).isEqualTo(1);
      }
    }

    private void assertSigbus(Runnable access, long offset) {
      SigBusException e = catchThrowableOfType(SigBusException.class, access::run);
      assertThat(e).isNotNull();
      assertThat(e.offset()).isEqualTo(offset);
      assertThat(e.errno()).isEqualTo(Errno.EFAULT);
      assertThat(e.code()).isEqualTo(SigBusException.Code.BUS_ADRERR);
      assertThat(e.code().value()).isEqualTo(2);
    }

    @Test
    void protectionComesFirst() {
      try (GuestMemfd memfd = create(PAGE, 1);
          HostMapping none = memfd.mmap(0, 2 * PAGE);
          HostMapping read = memfd.mmap(0, 2 * PAGE, READ);
          HostMapping write = memfd.mmap(0, 2 * PAGE, WRITE)) {
        assertThatThrownBy(() -> none.getByte(0)).isInstanceOf(SigSegvException.class);
        assertThatThrownBy(() -> none.getByte(PAGE)).isInstanceOf(SigSegvException.class);
        assertThatThrownBy(() -> read.putByte(PAGE, (byte) 0)).isInstanceOf(SigSegvException.class);
        assertThatThrownBy(() -> read.getByte(PAGE)).isInstanceOf(SigBusException.class);
        memfd.makeAccessible(0, PAGE);
        write.putByte(0, (byte) 3);
        assertThat(write.getByte(0)).isEqualTo((byte) 3); // as on x86-64
      }
    }

    @Test
    void afterAPunchTheNextTouchIsANewZeroPage() {
      try (GuestMemfd memfd = create(PAGE, 3);
          HostMapping map = memfd.mmap(0, PAGE, READ, WRITE)) {
        map.putLong(8, 99);
        memfd.punchHole(0, PAGE);
        assertThat(map.getLong(8)).isZero();
      }
    }

    @Test
    void mappingsOutliveTheDescriptorAndShowOneContent() {
      GuestMemfd memfd = create(2 * PAGE, 3);
      try (HostMapping one = memfd.mmap(0, 2 * PAGE, READ, WRITE);
          HostMapping two = memfd.mmap(PAGE, PAGE, READ)) {
        memfd.close();
        one.putInt(PAGE + 12, 5);
        assertThat(two.getInt(12)).isEqualTo(5);
        one.madvise(PAGE, PAGE, Advice.REMOVE); // even now
        assertThat(two.getInt(12)).isZero();
      }
    }
  }

  @Nested
  class Madvise {
    private final GuestMemfd memfd = create(4 * PAGE, 3);
    private final HostMapping map = memfd.mmap(0, 6 * PAGE, READ, WRITE);
    private final HostMapping read = memfd.mmap(0, 6 * PAGE, READ);
    private final HostMapping none = memfd.mmap(0, 6 * PAGE);

    @AfterEach
    void close() {
      map.close();
      read.close();
      none.close();
      memfd.close();
    }

    @ParameterizedTest
    @CsvSource({
      "1, 0, FREE, EINVAL",
      "0, -1, FREE, EINVAL",
      "0, -4096, DONTNEED, EINVAL",
      "0, 0, FREE, OK",
      "0, 1, FREE, EINVAL",
      "24576, 4096, FREE, ENOMEM",
      "20480, 8192, FREE, EINVAL",
      "24576, 0, FREE, OK",
      "0, 4096, DONTNEED, OK",
      "0, 24576, REMOVE, OK",
      "20480, 8192, DONTNEED, ENOMEM",
      "24576, 4096, REMOVE, ENOMEM",
      "-4096, 8192, REMOVE, ENOMEM",
      "0, 16384, POPULATE_READ, OK",
      "0, 20480, POPULATE_READ, EFAULT",
      "16384, 4096, POPULATE_WRITE, EFAULT",
      "16384, 12288, POPULATE_WRITE, EFAULT",
      "24576, 4096, POPULATE_WRITE, ENOMEM",
      "-4096, 8192, POPULATE_WRITE, ENOMEM",
      "0, 4096, COLD, OK",
      "0, 24576, PAGEOUT, OK",
      "16384, 4096, HUGEPAGE, OK",
      "1, 0, PAGEOUT, EINVAL",
      "0, -4096, COLD, EINVAL",
      "24576, 4096, COLD, ENOMEM",
      "20480, 8192, PAGEOUT, ENOMEM",
      "-4096, 8192, HUGEPAGE, ENOMEM",
      "0, 4096, COLLAPSE, EINVAL",
      "16384, 8192, COLLAPSE, EINVAL",
      "-4096, 8192, COLLAPSE, EINVAL",
      "24576, 4096, COLLAPSE, ENOMEM",
      "0, 0, COLLAPSE, OK",
    })
    void answers(long offset, long length, Advice advice, Errno expected) {
      assertThat(errno(() -> map.madvise(offset, length, advice))).isEqualTo(expected);
    }

    /** Hints move nothing: the folio stays, mapped, with its content. */
    @ParameterizedTest
    @EnumSource(
        value = Advice.class,
        names = {"COLD", "PAGEOUT", "HUGEPAGE"})
    void hintsChangeNothing(Advice hint) {
      map.putLong(0, 9);
      for (HostMapping any : new HostMapping[] {map, read, none}) {
        any.madvise(0, 6 * PAGE, hint);
      }
      assertThat(memfd.cachedPages()).isEqualTo(1);
      assertThat(map.getLong(0)).isEqualTo(9);
    }

    @Test
    void populateKeepsThePrefix() {
      assertThat(errno(() -> map.madvise(2 * PAGE, 4 * PAGE, Advice.POPULATE_WRITE)))
          .isEqualTo(Errno.EFAULT);
      assertThat(memfd.cachedPages()).isEqualTo(2);
    }

    @Test
    void populateAgainstTheProtectionIsInvalidBeforeAnythingElse() {
      assertThat(errno(() -> read.madvise(0, PAGE, Advice.POPULATE_WRITE))).isEqualTo(Errno.EINVAL);
      assertThat(errno(() -> none.madvise(0, PAGE, Advice.POPULATE_READ))).isEqualTo(Errno.EINVAL);
      assertThat(errno(() -> none.madvise(4 * PAGE, PAGE, Advice.POPULATE_READ)))
          .isEqualTo(Errno.EINVAL);
      assertThat(memfd.cachedPages()).isZero();
      read.madvise(0, PAGE, Advice.POPULATE_READ);
      assertThat(memfd.cachedPages()).isEqualTo(1);
    }

    @Test
    void dontNeedKeepsTheFolioAndRemoveDoesNot() {
      map.putLong(0, 1);
      map.putLong(PAGE, 2);
      map.madvise(0, PAGE, Advice.DONTNEED);
      assertThat(memfd.cachedPages()).isEqualTo(2);
      assertThat(map.getLong(0)).isEqualTo(1);
      none.madvise(0, PAGE, Advice.REMOVE); // punches whatever the protection
      assertThat(memfd.cachedPages()).isEqualTo(1);
      assertThat(map.getLong(0)).isZero();
      assertThat(errno(() -> read.madvise(PAGE, 100 * PAGE, Advice.REMOVE)))
          .isEqualTo(Errno.ENOMEM);
      assertThat(map.getLong(PAGE)).isZero(); // the mapped part was done
    }
  }

  @Nested
  class References {
    private final GuestMemfd memfd = create(4 * PAGE, 3);
    private final HostMapping map = memfd.mmap(0, 5 * PAGE, READ, WRITE);

    @AfterEach
    void close() {
      map.close();
      memfd.close();
    }

    @Test
    void allocateUntouchedPages() {
      map.getUserPages(PAGE, PAGE).close();
      assertThat(memfd.cachedPages()).isEqualTo(1);
      map.getUserPages(100, PAGE).close(); // two pages are touched
      assertThat(memfd.cachedPages()).isEqualTo(2);
    }

    @Test
    void areRefusedOnPrivatePagesPastTheEndAndWithoutPermission() {
      memfd.makeInaccessible(0, PAGE);
      assertThat(errno(() -> map.getUserPages(0, PAGE))).isEqualTo(Errno.EFAULT);
      assertThat(errno(() -> map.getUserPages(4 * PAGE, PAGE))).isEqualTo(Errno.EFAULT);
      assertThat(errno(() -> map.getUserPages(5 * PAGE, PAGE))).isEqualTo(Errno.EFAULT);
      assertThat(errno(() -> map.getUserPages(0, -1))).isEqualTo(Errno.EINVAL);
      try (HostMapping none = memfd.mmap(0, 4 * PAGE);
          HostMapping write = memfd.mmap(0, 4 * PAGE, WRITE)) {
        assertThat(errno(() -> none.getUserPages(PAGE, PAGE))).isEqualTo(Errno.EFAULT);
        assertThat(errno(() -> write.getUserPages(PAGE, PAGE))).isEqualTo(Errno.EFAULT);
      }
      assertThat(memfd.cachedPages()).isZero();
    }

    /** GUP-fast looks at page table entries, and on x86-64 whatever is mapped can be read. */
    @Test
    void aMappingForWritingAloneGivesThePagesThatItHasMapped() {
      try (HostMapping write = memfd.mmap(0, 4 * PAGE, WRITE)) {
        write.putByte(0, (byte) 5);
        assertThat(write.getByte(PAGE)).isZero();
        try (HostReference both = write.getUserPages(0, 3 * PAGE)) {
          assertThat(both.length()).isEqualTo(2 * PAGE);
          assertThat(both.buffer(0).get(0)).isEqualTo((byte) 5);
        }
        write.madvise(0, PAGE, Advice.DONTNEED);
        assertThat(errno(() -> write.getUserPages(0, PAGE))).isEqualTo(Errno.EFAULT);
      }
    }

    @Test
    void arePartialIfALaterPageCannotBeHad() {
      try (HostReference reference = map.getUserPages(2 * PAGE + 1, 4 * PAGE)) {
        assertThat(reference.pages()).isEqualTo(2);
        assertThat(reference.length()).isEqualTo(2 * PAGE - 1);
        assertThat(reference.buffer(0).remaining()).isEqualTo(4095);
        assertThat(reference.buffer(1).remaining()).isEqualTo(4096);
      }
      try (HostReference nothing = map.getUserPages(0, 0)) {
        assertThat(nothing.length()).isZero();
      }
    }

    @Test
    void neverBlockAPunchAndNeverSeeLaterContent() {
      map.putByte(0, (byte) 1);
      try (HostReference reference = map.getUserPages(0, PAGE)) {
        map.putByte(0, (byte) 2);
        assertThat(reference.buffer().get(0)).isEqualTo((byte) 2); // a later write, no punch
        memfd.punchHole(0, PAGE);
        assertThat(memfd.cachedPages()).isZero();
        assertThat(host.used()).isEqualTo(PAGE); // the orphan
        map.putByte(0, (byte) 3);
        assertThat(reference.buffer().get(0)).isEqualTo((byte) 2);
        reference.buffer().put(0, (byte) 4); // still writes the old frame
        assertThat(map.getByte(0)).isEqualTo((byte) 3);
      }
      assertThat(host.used()).isEqualTo(PAGE);
    }

    @Test
    void outliveMappingAndFile() {
      GuestMemfd other = create(PAGE, 3);
      HostMapping window = other.mmap(0, PAGE, READ, WRITE);
      window.putInt(40, 77);
      HostReference reference = window.pin(0, PAGE);
      window.close();
      other.close();
      assertThat(host.used()).isEqualTo(PAGE);
      assertThat(reference.buffer().getInt(40)).isEqualTo(77);
      reference.close();
      assertThat(host.used()).isZero();
      assertThatThrownBy(reference::close)
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("put twice")
          .hasMessageContaining("pfns=");
      assertThatThrownBy(reference::buffer).isInstanceOf(IllegalStateException.class);
    }

    @Test
    void keepTheirPagesFromBecomingInaccessible() {
      try (HostReference plain = map.getUserPages(2 * PAGE, PAGE);
          HostReference pinned = map.pin(2 * PAGE, PAGE);
          Folio safe = memfd.grab(2 * PAGE)) {
        ConversionBlockedException e =
            catchThrowableOfType(
                ConversionBlockedException.class, () -> memfd.makeInaccessible(0, 4 * PAGE));
        assertThat(e.errno()).isEqualTo(Errno.EAGAIN);
        assertThat(e.busyFolio().offset()).isEqualTo(2 * PAGE);
        assertThat(e.busyFolio().unsafeHolders()).isEqualTo(1);
        assertThat(e.busyFolio().pinnedHolders()).isEqualTo(1);
        assertThat(e.busyFolio().safeHolders()).isEqualTo(1);
        for (int i = 0; i < 4; i++) {
          assertThat(memfd.isAccessible(i * PAGE)).isTrue();
        }
        assertThat(plain.isPinned()).isFalse();
        assertThat(pinned.isPinned()).isTrue();
        assertThat(safe.pfn()).isEqualTo(plain.pfn(0));
      }
      memfd.makeInaccessible(0, 4 * PAGE);
    }
  }

  @Nested
  class Binding {
    private final VirtualMachine vm = new VirtualMachine();
    private final GuestMemfd memfd = create(8 * PAGE, 3);

    @AfterEach
    void close() {
      memfd.close();
    }

    private Errno bind(int slot, long gpa, long size, GuestMemfd file, long offset) {
      return errno(() -> vm.setUserMemoryRegion2(slot, gpa, size, file, offset));
    }

    @Test
    void errorsInOrder() {
      assertThat(bind(0, 0x10000, 2 * PAGE, memfd, 0)).isEqualTo(Errno.OK);
      GuestMemfd closed = create(PAGE, 3);
      closed.close();
      assertThat(bind(1, 0x10001, PAGE, closed, 0)).isEqualTo(Errno.EINVAL);
      assertThat(bind(1, 0x10000, 100, closed, 0)).isEqualTo(Errno.EINVAL);
      assertThat(bind(1, 0x10000, PAGE, closed, 1)).isEqualTo(Errno.EINVAL);
      assertThat(bind(1, -PAGE, PAGE, closed, 0)).isEqualTo(Errno.EINVAL);
      assertThat(bind(1, 0x10000, PAGE, closed, -PAGE)).isEqualTo(Errno.EINVAL);
      assertThat(bind(1, 0x10000, 1L << 43, closed, 0)).isEqualTo(Errno.EINVAL);
      assertThat(bind(32764, 0x10000, PAGE, closed, 0)).isEqualTo(Errno.EINVAL);
      assertThat(bind(1, 0, 0, null, 0)).isEqualTo(Errno.EINVAL); // none to delete
      assertThat(bind(0, 0x90000, PAGE, closed, 0)).isEqualTo(Errno.EINVAL); // cannot be changed
      assertThat(bind(1, 0x11000, PAGE, closed, 0)).isEqualTo(Errno.EEXIST);
      assertThat(bind(1, 0xf000, 2 * PAGE, closed, 0)).isEqualTo(Errno.EEXIST);
      assertThat(bind(1, 0x12000, PAGE, closed, 0)).isEqualTo(Errno.EBADF);
      assertThat(bind(1, 1L << 52, PAGE, closed, 0)).isEqualTo(Errno.EBADF);
      assertThat(bind(1, 0x12000, PAGE, memfd, 8 * PAGE)).isEqualTo(Errno.EINVAL);
      assertThat(bind(1, 0x12000, 3 * PAGE, memfd, 6 * PAGE)).isEqualTo(Errno.EINVAL);
      assertThat(bind(1, 0x12000, PAGE, memfd, -2 * PAGE)).isEqualTo(Errno.EINVAL);
      assertThat(bind(1, 0x12000, 2 * PAGE, memfd, PAGE)).isEqualTo(Errno.EINVAL); // file overlap
      assertThat(bind(1, 1L << 52, PAGE, memfd, 4 * PAGE)).isEqualTo(Errno.EINVAL);
      assertThat(bind(1, (1L << 52) - PAGE, PAGE, memfd, 4 * PAGE)).isEqualTo(Errno.OK);
      assertThat(bind(2, 0x12000, 2 * PAGE, memfd, 2 * PAGE)).isEqualTo(Errno.OK); // adjacent
    }

    @Test
    void aDupIsTheSameFile() {
      assertThat(bind(0, 0, PAGE, memfd, 0)).isEqualTo(Errno.OK);
      try (GuestMemfd dup = memfd.dup()) {
        assertThat(bind(1, PAGE, PAGE, dup, 0)).isEqualTo(Errno.EINVAL);
        assertThat(bind(1, PAGE, PAGE, dup, PAGE)).isEqualTo(Errno.OK);
      }
    }

    @Test
    void aFileIsOfOneVirtualMachine() {
      assertThat(bind(0, 0, PAGE, memfd, 0)).isEqualTo(Errno.OK);
      VirtualMachine other = new VirtualMachine();
      assertThat(errno(() -> other.bind(0, 0, PAGE, memfd, 4 * PAGE))).isEqualTo(Errno.EINVAL);
    }

    @Test
    void theSlotHoldsTheFileWeakly() {
      GuestMemfd file = create(2 * PAGE, 3);
      HostMapping map = file.mmap(0, PAGE, READ, WRITE);
      assertThat(bind(0, 0x40000, PAGE, file, 0)).isEqualTo(Errno.OK);
      file.close();
      assertThat(vm.memslotAt(0x40fff).orElseThrow().memfd().reopen())
          .hasValueSatisfying(GuestMemfd::close); // the mapping keeps it
      map.close();
      assertThat(vm.memslotAt(0x40fff).orElseThrow().memfd().reopen()).isEmpty();
      assertThat(bind(1, 0x40000, PAGE, memfd, 0)).isEqualTo(Errno.EEXIST);
      vm.unbind(0);
      assertThat(errno(() -> vm.unbind(0))).isEqualTo(Errno.EINVAL);
      assertThat(bind(1, 0x40000, PAGE, memfd, 0)).isEqualTo(Errno.OK);
      assertThat(vm.memslotAt(0x41000)).isEmpty();
    }

    @Test
    void contentSurvivesUnbinding() {
      try (HostMapping map = memfd.mmap(0, PAGE, READ, WRITE)) {
        vm.bind(3, 0, PAGE, memfd, 0);
        map.putInt(0, 9);
        vm.unbind(3);
        assertThat(map.getInt(0)).isEqualTo(9);
      }
    }

    /**
     * The kernel adds signed numbers here: a sum that overflows is negative, and below the size.
     */
    @Test
    void aRangeThatOverflowsPassesTheCheckOfItsEnd() {
      assertThat(bind(0, 0, 2 * PAGE, memfd, LARGEST)).isEqualTo(Errno.OK);
      assertThat(bind(1, 0x8000, 2 * PAGE, memfd, LARGEST)).isEqualTo(Errno.EINVAL); // overlap
    }
  }

  @Nested
  class InPlaceConversion {
    @ParameterizedTest
    @CsvSource({
      "1, 4096, EINVAL",
      "0, 0, EINVAL",
      "0, 4095, EINVAL",
      "-4096, 4096, EINVAL",
      "0, -4096, EINVAL",
      "0, 20480, EINVAL",
      "16384, 4096, EINVAL",
      "0x7ffffffffffff000, 4096, EINVAL",
      "0x7ffffffffffff000, 0x7ffffffffffff000, EINVAL",
      "12288, 4096, OK",
      "0, 16384, OK",
    })
    void arguments(String offset, String length, Errno expected) {
      try (GuestMemfd memfd = create(4 * PAGE, 3)) {
        BusyFolio busy = new BusyFolio();
        assertThat(memfd.tryMakeInaccessible(Long.decode(offset), Long.decode(length), busy))
            .isEqualTo(expected);
        assertThat(busy.offset()).isEqualTo(-1);
        assertThat(memfd.tryMakeAccessible(Long.decode(offset), Long.decode(length)))
            .isEqualTo(expected);
      }
    }

    @Test
    void alreadyInThatStateSucceedsWhateverHoldsIt() {
      try (GuestMemfd memfd = create(PAGE, 3);
          HostMapping map = memfd.mmap(0, PAGE, READ, WRITE);
          HostReference reference = map.pin(0, PAGE)) {
        memfd.makeAccessible(0, PAGE);
        assertThat(reference.length()).isEqualTo(PAGE);
        assertThat(memfd.tryMakeInaccessible(0, PAGE)).isEqualTo(Errno.EAGAIN);
        map.putByte(0, (byte) 1); // it refaults
      }
    }

    @Test
    void contentAndHolesSurviveConversion() {
      try (GuestMemfd memfd = create(4 * PAGE, 3);
          HostMapping map = memfd.mmap(0, 4 * PAGE, READ, WRITE)) {
        map.putLong(PAGE, 0x1122334455667788L);
        memfd.makeInaccessible(0, 4 * PAGE);
        assertThat(memfd.cachedPages()).isEqualTo(1);
        assertThatThrownBy(() -> map.getLong(PAGE)).isInstanceOf(SigBusException.class);
        memfd.punchHole(0, PAGE);
        assertThat(memfd.isAccessible(0)).isFalse(); // punching does not change the attribute
        memfd.makeAccessible(0, 4 * PAGE);
        assertThat(map.getLong(PAGE)).isEqualTo(0x1122334455667788L);
        assertThat(map.getLong(0)).isZero();
      }
    }

    @Test
    void anAllocatedFolioIsZeroedOnceWhicheverSideComesFirst() {
      try (GuestMemfd memfd = create(PAGE, 0)) {
        memfd.allocate(0, PAGE);
        try (Folio folio = memfd.grab(0)) {
          assertThat(folio.buffer().getLong(0)).isZero();
          folio.buffer().putLong(0, 5);
        }
        try (Folio folio = memfd.grab(4095)) {
          assertThat(folio.buffer().getLong(0)).isEqualTo(5);
          assertThat(folio.offset()).isZero();
        }
      }
    }
  }

  @Test
  void flagsAreTheKernelsBits() {
    try (GuestMemfd memfd = GuestMemfd.builder(host).size(PAGE).flags(MMAP, INIT_SHARED).build();
        HostMapping map = memfd.mmap(0, PAGE, READ)) {
      assertThat(map.getByte(0)).isZero();
    }
  }

  @Test
  void aClosedDescriptorIsRefusedEverywhere() {
    GuestMemfd memfd = create(PAGE, 3);
    memfd.close();
    memfd.close(); // the second close does nothing
    assertThat(errno(memfd::stat)).isEqualTo(Errno.EBADF);
    assertThat(errno(memfd::dup)).isEqualTo(Errno.EBADF);
    assertThat(errno(memfd::cachedPages)).isEqualTo(Errno.EBADF);
    assertThat(errno(() -> memfd.cachedPages(-1, -1))).isEqualTo(Errno.EBADF);
    assertThat(errno(() -> memfd.ftruncate(0))).isEqualTo(Errno.EBADF);
    assertThat(errno(() -> memfd.fallocate(-1, -1, -1))).isEqualTo(Errno.EBADF);
    assertThat(errno(() -> memfd.isAccessible(0))).isEqualTo(Errno.EBADF);
    assertThat(errno(() -> memfd.grab(0))).isEqualTo(Errno.EBADF);
    assertThat(errno(() -> memfd.makeAccessible(0, PAGE))).isEqualTo(Errno.EBADF);
    assertThat(errno(() -> memfd.makeInaccessible(0, PAGE))).isEqualTo(Errno.EBADF);
    assertThat(errno(() -> memfd.mmap(0, 0, READ))).isEqualTo(Errno.EBADF);
    assertThat(errno(() -> memfd.mmap(1, 0, READ))).isEqualTo(Errno.EINVAL);
    assertThat(memfd.reopen()).isEmpty();
  }
}
