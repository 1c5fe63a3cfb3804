package io.github.guestmemfd.conformance;

import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.Insides;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.Step;
import io.github.guestmemfd.memory.Counts;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Rows of docs/conformance.md that no other test covers: who holds what, what a fault does. */
class KernelRowsTest extends ConformanceFixture {
  private static final long SHARED_AT_FIRST = 3;

  private int refs(int pfn) {
    return Counts.refs(Insides.frames(host).counts(pfn));
  }

  private static int pfn(GuestMemfd memfd, long offset) {
    try (Folio folio = memfd.grab(offset)) {
      return folio.pfn();
    }
  }

  // ---- times ----

  /** Does something, and answers whether the modification time has changed. */
  static boolean modifies(GuestMemfd memfd, Runnable call) {
    long before = memfd.stat().mtimeNanos();
    while (System.currentTimeMillis() * 1_000_000 <= before) {
      Thread.onSpinWait();
    }
    call.run();
    return memfd.stat().mtimeNanos() != before;
  }

  @Test
  void whatUpdatesTheModificationTime() {
    GuestMemfd memfd = file(4, SHARED_AT_FIRST);
    HostMapping map = map(memfd);
    assertThat(modifies(memfd, () -> map.madvise(0, PAGE, Advice.REMOVE))).isTrue();
    assertThat(modifies(memfd, () -> memfd.punchHole(8 * PAGE, PAGE))).isTrue();
    assertThat(modifies(memfd, () -> map.getByte(0))).isFalse();
    assertThat(modifies(memfd, () -> map.putByte(0, (byte) 1))).isFalse(); // it is mapped
    assertThat(modifies(memfd, () -> map.madvise(0, PAGE, Advice.DONTNEED))).isFalse();
    assertThat(modifies(memfd, () -> map.putByte(0, (byte) 1))).isTrue(); // a fault to write
    assertThat(modifies(memfd, () -> map.madvise(PAGE, PAGE, Advice.POPULATE_READ))).isFalse();
    assertThat(modifies(memfd, () -> map.madvise(2 * PAGE, PAGE, Advice.POPULATE_WRITE))).isTrue();
    assertThat(modifies(memfd, () -> errno(() -> memfd.allocate(4 * PAGE, PAGE)))).isFalse();
  }

  /** A reference maps the page, for writing too where the mapping may be written. */
  @Test
  void whatReferencesDoToTheModificationTime() {
    GuestMemfd memfd = file(8, SHARED_AT_FIRST);
    memfd.allocate(0, 8 * PAGE);
    HostMapping map = map(memfd);
    HostMapping readOnly = closing(memfd.mmap(0, memfd.size(), READ));
    assertThat(modifies(memfd, () -> map.getUserPages(0, PAGE).close())).isFalse();
    assertThat(modifies(memfd, () -> map.putByte(0, (byte) 1))).isFalse();
    map.getUserPages(3 * PAGE, PAGE).close();
    byte[] page = new byte[(int) PAGE];
    assertThat(modifies(memfd, () -> map.put(3 * PAGE, page, 0, page.length))).isFalse();
    assertThat(modifies(memfd, () -> map.put(4 * PAGE, page, 0, page.length))).isTrue();
    assertThat(modifies(memfd, () -> readOnly.getUserPages(PAGE, PAGE).close())).isFalse();
    assertThat(modifies(memfd, () -> map.putByte(PAGE, (byte) 1))).isTrue();
    assertThat(modifies(memfd, () -> map.madvise(2 * PAGE, PAGE, Advice.POPULATE_READ))).isFalse();
    assertThat(modifies(memfd, () -> map.putByte(2 * PAGE, (byte) 1))).isFalse();
  }

  /** What is done counts, whatever the answer. */
  @Test
  void whatIsRefusedHalfwayUpdatesTheModificationTime() {
    GuestMemfd memfd = file(2, SHARED_AT_FIRST);
    HostMapping map = map(memfd);
    for (Advice advice : List.of(Advice.REMOVE, Advice.POPULATE_WRITE)) {
      assertThat(
              modifies(
                  memfd,
                  () ->
                      assertThat(errno(() -> map.madvise(PAGE, 4 * PAGE, advice)))
                          .isEqualTo(Errno.ENOMEM)))
          .isTrue();
    }
  }

  // ---- files ----

  @Test
  void aMachineHasAsManyFilesAsItIsAskedFor() {
    for (int i = 0; i < 4000; i++) {
      file(1L << 28, SHARED_AT_FIRST); // of 1 TiB
    }
    assertThat(host.used()).isZero();
  }

  // ---- faults ----

  @Test
  void theFirstTouchIsZeroedWhateverTheFrameHeldBefore() {
    GuestMemfd old = file(256, SHARED_AT_FIRST); // all of the host
    fill(map(old), 0, 256, 0xee);
    old.punchHole(0, old.size());
    GuestMemfd memfd = file(256, SHARED_AT_FIRST);
    memfd.allocate(0, 128 * PAGE); // not uptodate: zeroed at their first touch
    assertFilled(map(memfd), 0, 256, 0);
  }

  @Test
  void aFaultMapsOnePageAndOneThatReadsMapsItForWritingToo() {
    GuestMemfd memfd = file(4, SHARED_AT_FIRST);
    memfd.allocate(0, 4 * PAGE);
    HostMapping map = map(memfd);
    for (int i = 0; i < 4; i++) {
      map.getByte(i * PAGE);
      map.putByte(i * PAGE, (byte) 1);
      assertThat(memfd.metrics().faults()).isEqualTo(i + 1);
    }
  }

  @Test
  void populatingAPrivatePageOrPastTheEndIsAFault() {
    GuestMemfd memfd = file(2, SHARED_AT_FIRST);
    HostMapping map = closing(memfd.mmap(0, 3 * PAGE, READ));
    memfd.makeInaccessible(PAGE, PAGE);
    assertThat(errno(() -> map.madvise(PAGE, PAGE, Advice.POPULATE_READ))).isEqualTo(Errno.EFAULT);
    assertThat(errno(() -> map.madvise(2 * PAGE, PAGE, Advice.POPULATE_READ)))
        .isEqualTo(Errno.EFAULT);
    map.madvise(0, PAGE, Advice.POPULATE_READ);
    assertThat(memfd.cachedPages()).isEqualTo(1);
  }

  /** Where a load gets a signal, a system call answers EFAULT; the exception says both. */
  @Test
  void whereATouchIsASigbusACallIsEfault() {
    GuestMemfd memfd = file(1, 1);
    HostMapping map = map(memfd);
    assertThat(errno(() -> map.getByte(0))).isEqualTo(Errno.EFAULT);
    assertThat(errno(() -> map.getUserPages(0, PAGE))).isEqualTo(Errno.EFAULT);
    assertThat(errno(() -> map.pin(0, PAGE))).isEqualTo(Errno.EFAULT);
  }

  /** As read and write of a kernel are short there. */
  @Test
  void aCopyStopsWhereTheFileEnds() {
    GuestMemfd memfd = file(2, SHARED_AT_FIRST);
    HostMapping map = closing(memfd.mmap(0, 3 * PAGE, READ, WRITE));
    ByteBuffer bytes = ByteBuffer.allocate((int) PAGE);
    assertSigbus(() -> map.put(PAGE + 100, bytes), 2 * PAGE);
    assertThat(bytes.position()).isEqualTo(3996);
    bytes.clear();
    assertSigbus(() -> map.get(PAGE + 100, bytes), 2 * PAGE);
    assertThat(bytes.position()).isEqualTo(3996);
    assertSigbus(() -> map.put(2 * PAGE, bytes), 2 * PAGE);
    assertThat(bytes.position()).isEqualTo(3996);
  }

  // ---- signals ----

  /** An allocation looks for a signal before each page; what touches pages does not. */
  @Test
  void aPendingInterruptStopsAnAllocationAndNoTouch() {
    GuestMemfd memfd = file(8, SHARED_AT_FIRST);
    HostMapping map = map(memfd);
    Thread.currentThread().interrupt();
    try {
      assertThat(errno(() -> memfd.allocate(0, 8 * PAGE))).isEqualTo(Errno.EINTR);
      map.madvise(0, 2 * PAGE, Advice.POPULATE_WRITE);
      map.madvise(2 * PAGE, 2 * PAGE, Advice.POPULATE_READ);
      assertThat(map.getByte(4 * PAGE)).isZero();
      map.putByte(5 * PAGE, (byte) 1);
      map.getUserPages(6 * PAGE, PAGE).close();
      map.pin(7 * PAGE, PAGE).close();
    } finally {
      assertThat(Thread.interrupted()).as("the status stays").isTrue();
    }
    assertThat(memfd.cachedPages()).isEqualTo(8);
  }

  /**
   * The kernel waits for nothing here that a signal could end; the library's waits can be ended.
   */
  @Test
  void aPendingInterruptStopsWhatWouldWait() {
    GuestMemfd memfd = file(2, SHARED_AT_FIRST);
    HostMapping map = map(memfd);
    fill(map, 0, 2, 7);
    Thread.currentThread().interrupt();
    try {
      assertThat(errno(() -> memfd.punchHole(0, PAGE))).isEqualTo(Errno.EINTR);
      assertThat(errno(() -> map.madvise(0, PAGE, Advice.REMOVE))).isEqualTo(Errno.EINTR);
      assertThat(errno(() -> map.madvise(0, PAGE, Advice.DONTNEED))).isEqualTo(Errno.EINTR);
    } finally {
      assertThat(Thread.interrupted()).isTrue();
    }
    assertFilled(map, 0, 2, 7);
    memfd.punchHole(0, PAGE);
    assertFilled(map, 0, 1, 0);
  }

  // ---- who holds what ----

  @Test
  void pageCacheEntriesAndCallersHoldOneReferenceEach() throws Exception {
    GuestMemfd memfd = file(1, SHARED_AT_FIRST);
    memfd.allocate(0, PAGE);
    int pfn = pfn(memfd, 0);
    assertThat(refs(pfn)).isEqualTo(1); // the page cache's: an allocation keeps none
    HostMapping one = memfd.mmap(0, PAGE, READ);
    HostMapping two = memfd.mmap(0, PAGE, READ);
    one.getByte(0);
    assertThat(refs(pfn)).isEqualTo(2); // a fault hands its reference to the entry
    two.getByte(0);
    assertThat(refs(pfn)).isEqualTo(3);
    try (Folio folio = memfd.grab(0);
        HostReference plain = two.getUserPages(0, PAGE)) {
      assertThat(folio.pfn()).isEqualTo(plain.pfn(0));
      assertThat(refs(pfn)).isEqualTo(5);
    }
    one.madvise(0, PAGE, Advice.DONTNEED);
    assertThat(refs(pfn)).isEqualTo(2);
    one.close();
    two.close();
    assertThat(refs(pfn)).isEqualTo(1);
    vm.bind(0, 0, PAGE, memfd, 0);
    vm.preFault(0, PAGE);
    assertThat(refs(pfn)).isEqualTo(1); // the guest's entry holds none
    memfd.punchHole(0, PAGE);
    assertThat(host.used()).isZero();
  }

  @Test
  void aPunchTruncatesBetweenBeginAndEndAndLooksAtNoReference() {
    List<String> told = new ArrayList<>();
    GuestMemfdOps ops =
        new GuestMemfdOps() {
          @Override
          public Errno invalidateBegin(long offset, long length) {
            told.add("begin " + offset + " " + length);
            return Errno.OK;
          }

          @Override
          public void freeFolio(Folio folio) {
            told.add("free");
          }

          @Override
          public void invalidateEnd(long offset, long length) {
            told.add("end " + offset + " " + length);
          }
        };
    GuestMemfd memfd = closing(describe(4 * PAGE, SHARED_AT_FIRST).ops(ops).build());
    HostMapping map = map(memfd);
    memfd.allocate(0, 2 * PAGE);
    map.getByte(0);
    try (HostReference held = map.pin(PAGE, PAGE)) {
      memfd.punchHole(0, 3 * PAGE);
      assertThat(told).containsExactly("begin 0 12288", "free", "end 0 12288");
      assertThat(held.isOpen()).isTrue();
      assertThat(memfd.cachedPages()).isZero();
    }
    assertThat(told).hasSize(4).last().isEqualTo("free"); // the orphan, with its last holder
  }

  // ---- conversion ----

  static List<ConversionProtocol> soundProtocols() {
    return InPlaceConversionCasesTest.soundProtocols();
  }

  /** All but the one whose holders keep the folio lock, which every conversion waits for. */
  static List<ConversionProtocol> protocolsThatDoNotHoldTheLock() {
    return soundProtocols().stream()
        .filter(p -> !p.guestTakes().equals(List.of(Step.LOCK)))
        .toList();
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("protocolsThatDoNotHoldTheLock")
  void toSharedLooksAtNoReference(ConversionProtocol protocol) {
    GuestMemfd memfd = closing(describe(2 * PAGE, 1).protocol(protocol).build());
    try (Folio held = memfd.grab(0)) {
      assertThat(memfd.tryMakeAccessible(0, 2 * PAGE)).isEqualTo(Errno.OK);
      assertThat(held.pfn()).isPositive();
    }
    assertThat(memfd.isAccessible(0)).isTrue();
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("soundProtocols")
  void aRefusedRangeKeepsItsAttributesAndStaysUnmapped(ConversionProtocol protocol) {
    GuestMemfd memfd = closing(describe(4 * PAGE, SHARED_AT_FIRST).protocol(protocol).build());
    HostMapping map = map(memfd);
    fill(map, 0, 4, 5);
    long faults = memfd.metrics().faults();
    BusyFolio busy = new BusyFolio();
    try (HostReference held = map.getUserPages(2 * PAGE, 2 * PAGE)) {
      assertThat(memfd.tryMakeInaccessible(PAGE, 3 * PAGE, busy)).isEqualTo(Errno.EAGAIN);
      assertThat(busy.offset()).isEqualTo(2 * PAGE); // the first busy one
      assertThat(memfd.tryMakeInaccessible(3 * PAGE, PAGE, busy)).isEqualTo(Errno.EAGAIN);
      assertThat(busy.offset()).isEqualTo(3 * PAGE); // or where the range starts
      assertThat(held.pages()).isEqualTo(2);
    }
    for (int i = 0; i < 4; i++) {
      assertThat(memfd.isAccessible(i * PAGE)).isTrue();
    }
    assertFilled(map, 0, 4, 5);
    assertThat(memfd.metrics().faults()).isEqualTo(faults + 3); // not page 0
  }
}
