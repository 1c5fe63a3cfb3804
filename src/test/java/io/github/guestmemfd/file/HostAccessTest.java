package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.Insides;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.MemoryPolicy;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.abi.SigSegvException;
import io.github.guestmemfd.fixtures.Announced;
import io.github.guestmemfd.fixtures.Meanwhile;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.memory.FrameContents;
import io.github.guestmemfd.spi.PlaysOtherThreads;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Accesses through a mapping that are under way: what takes the page away waits for them. */
class HostAccessTest extends RaceFixture {
  /** Whether the hook throws where an access has been announced. */
  private boolean throwing;

  @Override
  protected void passes(RacePoint point, long index) {
    if (throwing && point == RacePoint.ACCESS_IN_FLIGHT) {
      throw new IllegalStateException("planned");
    }
    super.passes(point, index);
  }

  /** The ways to write that announce themselves. */
  enum Kind {
    LONG {
      @Override
      void write(HostMapping window) {
        window.putLong(0, 7);
      }
    },
    BULK {
      @Override
      void write(HostMapping window) {
        window.put(0, new byte[] {7, 0, 0, 0, 0, 0, 0, 0}, 0, 8);
      }
    },
    BUFFER {
      @Override
      void write(HostMapping window) {
        window.put(0, ByteBuffer.wrap(new byte[] {7, 0, 0, 0, 0, 0, 0, 0}));
      }
    },
    ADD {
      @Override
      void write(HostMapping window) {
        window.getAndAddLong(0, 7);
      }
    },
    CAS {
      @Override
      void write(HostMapping window) {
        assertTrue(window.compareAndSetLong(0, 0, 7));
      }
    },
    ACROSS {
      @Override
      void write(HostMapping window) {
        window.putLong(0, 7);
        window.putLong(PAGE - 4, 0x0102030405060708L);
      }
    };

    abstract void write(HostMapping window);
  }

  private Worker<?> write(HostMapping window, Kind kind) {
    return Worker.start(
        () -> {
          kind.write(window);
          return null;
        });
  }

  @ParameterizedTest
  @EnumSource(Kind.class)
  void isWaitedForByAConversion(Kind kind) throws Exception {
    GuestMemfd memfd = file(2, AT_ONCE);
    HostMapping window = map(memfd);
    if (kind == Kind.ACROSS) {
      races.at(RacePoint.ACCESS_IN_FLIGHT, () -> {}); // the first write is not the one
    }
    RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT);
    Worker<?> access = write(window, kind);
    gate.awaitReached();
    Worker<Errno> conversion = Worker.start(() -> memfd.tryMakeInaccessible(0, PAGE));
    probe.awaitWaiting(conversion);
    assertFalse(conversion.isDone(), "the write is still to come");
    gate.release();
    assertEquals(Errno.OK, conversion.result());
    if (kind == Kind.ACROSS) {
      // It faults on its second page with nothing announced, and then finds the first one gone.
      assertThrows(SigBusException.class, access::result);
      assertEquals(0, guestSees(memfd, PAGE - 8) & ~0xffffffffL, "all or nothing");
    } else {
      access.result();
    }
    assertEquals(7, guestSees(memfd, 0), "the write came before the conversion");
    assertQuiet(memfd);
  }

  @Test
  void isWaitedForByAPunch() throws Exception {
    GuestMemfd memfd = file(2, AT_ONCE);
    HostMapping window = map(memfd);
    RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT);
    Worker<?> access = write(window, Kind.LONG);
    gate.awaitReached();
    Worker<?> punch =
        Worker.start(
            () -> {
              memfd.punchHole(0, PAGE);
              return null;
            });
    probe.awaitWaiting(punch);
    assertFalse(punch.isDone());
    gate.release();
    punch.result();
    access.result();
    assertEquals(0, window.getLong(0), "punched after the write");
    assertQuiet(memfd);
  }

  @Test
  void letsTheConverterBeInterruptedAndTryAgain() throws Exception {
    GuestMemfd memfd = file(1, AT_ONCE);
    HostMapping window = map(memfd);
    RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT);
    Worker<?> access = write(window, Kind.LONG);
    gate.awaitReached();
    interruptWhileWaiting(
        interruptible(
            () -> {
              memfd.makeInaccessible(0, PAGE);
              return null;
            }));
    assertTrue(memfd.isAccessible(0));
    assertEquals(0, window.getLong(0), "the page is mapped as before");
    gate.release();
    access.result();
    assertEquals(7, window.getLong(0));
    assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE));
    assertEquals(7, guestSees(memfd, 0));
    assertQuiet(memfd);
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void letsAPunchOrAnUnmapBeInterruptedAndTryAgain(boolean punching) throws Exception {
    GuestMemfd memfd = file(1, AT_ONCE);
    HostMapping window = map(memfd);
    RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT);
    Worker<?> access = write(window, Kind.LONG);
    gate.awaitReached();
    interruptWhileWaiting(
        interruptible(
            () -> {
              if (punching) {
                memfd.punchHole(0, PAGE);
              } else {
                window.madvise(0, PAGE, Advice.DONTNEED);
              }
              return null;
            }));
    gate.release();
    access.result();
    assertEquals(7, window.getLong(0));
    memfd.punchHole(0, PAGE);
    assertEquals(0, window.getLong(0));
    assertQuiet(memfd);
  }

  /**
   * The converter has taken the entry out and waits; the mapping goes, and finds no entry; then the
   * converter is interrupted. It must not put the entry back into a mapping that is gone.
   */
  @Test
  void leavesNoEntryInAMappingThatIsClosedWhenTheConverterIsInterrupted() throws Exception {
    GuestMemfd memfd = file(1, AT_ONCE);
    HostMapping window = map(memfd);
    RacePoints.Gate gate = races.hold(RacePoint.ACCESS_IN_FLIGHT);
    Worker<?> access = write(window, Kind.LONG);
    gate.awaitReached();
    Worker<Boolean> conversion =
        interruptible(
            () -> {
              memfd.makeInaccessible(0, PAGE);
              return null;
            });
    probe.awaitWaiting(conversion);
    Worker<?> unmap =
        Worker.start(
            () -> {
              window.close();
              return null;
            });
    while (!window.isClosed()) {
      Thread.onSpinWait();
    }
    // A munmap that finds nothing to wait for ends here; one that waits for the access does not.
    for (int i = 0; i < 1000 && !unmap.isDone(); i++) {
      unmap.thread().join(1);
    }
    conversion.interruptAndAwait();
    gate.release(); // with nowhere to put the entry back, the converter waits for the access
    assertTrue(conversion.result());
    access.result();
    unmap.result();
    assertQuiet(memfd);
  }

  // ---- numbers ----

  private static final long NUMBER = 0x8192a3b4c5d6e7f8L;

  /** Byte by byte: half of it is in the next page. */
  @ParameterizedTest
  @ValueSource(ints = {1, 3, 4, 7, 8, 9})
  void aNumberMayReachOverTheEndOfAPage(int before) {
    GuestMemfd memfd = file(2, AT_ONCE);
    HostMapping window = map(memfd);
    window.putLong(PAGE - 16, -1);
    window.putLong(PAGE - 8, -1);
    window.putLong(PAGE, -1);
    window.putLong(PAGE - before, NUMBER);
    assertEquals(NUMBER, window.getLong(PAGE - before));
    byte[] bytes = new byte[8];
    window.get(PAGE - before, bytes, 0, 8);
    for (int i = 0; i < 8; i++) {
      assertEquals((byte) (NUMBER >>> (8 * i)), bytes[i], "byte " + i);
    }
    assertEquals(-1, window.getByte(PAGE - before - 1), "beside it");
    assertEquals(-1, window.getByte(PAGE - before + 8), "behind it");
    window.putInt(PAGE - 3, (int) NUMBER);
    assertEquals((int) NUMBER, window.getInt(PAGE - 3));
    window.putShort(PAGE - 1, (short) NUMBER);
    assertEquals((short) NUMBER, window.getShort(PAGE - 1));
    assertEquals(before == 1, HostAccess.isAcross(PAGE - before, 2));
    assertEquals(before < 8, HostAccess.isAcross(PAGE - before, 8));
  }

  @Test
  void aNumberAcrossNeedsBothPages() {
    GuestMemfd memfd = file(2, AT_ONCE);
    HostMapping window = map(memfd);
    memfd.makeInaccessible(PAGE, PAGE);
    SigBusException e = assertThrows(SigBusException.class, () -> window.putLong(PAGE - 4, NUMBER));
    assertEquals(PAGE, e.offset());
    assertEquals(0, window.getInt(PAGE - 4), "in none of them");
    e = assertThrows(SigBusException.class, () -> window.getLong(PAGE - 4));
    assertEquals(PAGE, e.offset(), "the first byte that faults");
    assertNull(frames().accesses.underWay());
  }

  @Test
  void tryingAnswersWhereAnAccessWouldThrow() throws Exception {
    GuestMemfd memfd = file(2, AT_ONCE);
    HostMapping window = map(memfd);
    assertTrue(window.tryPutLong(PAGE - 8, NUMBER));
    assertEquals(NUMBER, window.tryGetLong(PAGE - 8, 7));
    assertEquals(0, window.tryGetLong(0, 7));
    for (long offset : new long[] {-8, 4, 2L * PAGE}) {
      assertFalse(window.tryPutLong(offset, 1), "at " + offset);
      assertEquals(7, window.tryGetLong(offset, 7), "at " + offset);
    }
    memfd.makeInaccessible(0, PAGE);
    assertFalse(window.tryPutLong(0, 1));
    assertEquals(7, window.tryGetLong(0, 7));
    try (HostMapping first = memfd.mmap(0, PAGE, Protection.READ, Protection.WRITE)) {
      assertFalse(first.tryPutLong(PAGE, 1), "the page is not in this mapping");
      assertEquals(7, first.tryGetLong(PAGE, 7));
    }
    try (HostMapping readable = memfd.mmap(PAGE, PAGE, Protection.READ);
        HostMapping writable = memfd.mmap(PAGE, PAGE, Protection.WRITE);
        HostMapping none = memfd.mmap(PAGE, PAGE)) {
      assertFalse(readable.tryPutLong(0, 1));
      assertEquals(0, readable.tryGetLong(0, 7));
      assertTrue(writable.tryPutLong(0, 5));
      assertEquals(5, writable.tryGetLong(0, 7), "what can be written can be read");
      assertEquals(7, none.tryGetLong(0, 7));
      assertFalse(none.tryPutLong(0, 1));
    }
    window.close();
    assertFalse(window.tryPutLong(PAGE, 1));
    assertEquals(7, window.tryGetLong(PAGE, 7));
    assertNull(frames().accesses.underWay());
  }

  @Test
  void boundsAndProtectionAreChecked() {
    GuestMemfd memfd = file(1, AT_ONCE);
    HostMapping window = map(memfd);
    window.putByte(PAGE - 1, (byte) 3);
    assertEquals(3, window.getByte(PAGE - 1));
    window.putLong(PAGE - 8, 1);
    IndexOutOfBoundsException e =
        assertThrows(IndexOutOfBoundsException.class, () -> window.getLong(PAGE - 7));
    assertTrue(e.getMessage().contains("an end up to 0x1000, actual 8 bytes at 0xff9"));
    assertThrows(IndexOutOfBoundsException.class, () -> window.putLong(-1, 1));
    assertThrows(IllegalArgumentException.class, () -> window.getIntVolatile(2));
    assertThrows(IllegalArgumentException.class, () -> window.putLongVolatile(4, 1));
    assertThrows(IllegalArgumentException.class, () -> window.compareAndSetInt(2, 0, 1));
    assertThrows(IllegalArgumentException.class, () -> window.getAndAddLong(4, 1));
    assertEquals(1, window.getIntVolatile(PAGE - 8));
    try (HostMapping readable = memfd.mmap(0, PAGE, Protection.READ);
        HostMapping writable = memfd.mmap(0, PAGE, Protection.WRITE);
        HostMapping none = memfd.mmap(0, PAGE)) {
      SigSegvException segv = assertThrows(SigSegvException.class, () -> readable.putLong(8, 1));
      assertTrue(segv.getMessage().contains("write forbidden"), segv::getMessage);
      assertEquals(0, writable.getLong(8), "what can be written can be read");
      segv = assertThrows(SigSegvException.class, () -> none.getLong(8));
      assertTrue(segv.getMessage().contains("read forbidden"), segv::getMessage);
    }
  }

  /** The page is punched after its entry was read: what was read in between does not count. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aReadOfAPageThatGoesMeanwhileIsDoneAgain(boolean trying) {
    GuestMemfd memfd = file(1, AT_ONCE);
    HostMapping window = map(memfd);
    window.putLong(0, NUMBER);
    AtomicLong read = new AtomicLong();
    Meanwhile.beforeAccess(
        FrameContents.class,
        1,
        () -> memfd.punchHole(0, PAGE),
        () -> read.set(trying ? window.tryGetLong(0, 7) : window.getLong(0)));
    assertEquals(0, read.get(), "the page that is there now");
  }

  /** What was announced before the areas changed is ended, and tried again. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void aWriteOfAPageWhoseAreasChangeMeanwhileIsDoneAgain(boolean trying) {
    HostMapping window = map(file(1, AT_ONCE));
    window.putLong(0, 1);
    MemoryPolicy policy = new MemoryPolicy(MemoryPolicy.Mode.BIND, 1);
    Meanwhile.beforeAccess(
        Mapping.class,
        2, // after it is announced
        () -> PlaysOtherThreads.playing(() -> window.mbind(0, PAGE, policy)),
        () -> {
          if (trying) {
            assertTrue(window.tryPutLong(0, NUMBER));
          } else {
            window.putLong(0, NUMBER);
          }
        });
    assertEquals(NUMBER, window.getLong(0));
    assertNull(frames().accesses.underWay());
  }

  /** Without race points as many pages as follow one another are moved at once. */
  @Test
  void manyPagesAreMovedAtOnce() {
    try (HostMemory plain = HostMemory.ofBytes(80L * PAGE);
        GuestMemfd memfd =
            GuestMemfd.builder(plain)
                .size(80L * PAGE)
                .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
                .build();
        HostMapping window = memfd.mmap(0, 80L * PAGE, Protection.READ, Protection.WRITE)) {
      window.madvise(0, 80L * PAGE, Advice.POPULATE_WRITE);
      byte[] bytes = new byte[70 * PAGE];
      new SplittableRandom(1).nextBytes(bytes);
      int last = bytes.length - 200;
      List<Announced.Access> made = Announced.by(() -> window.put(PAGE - 100, bytes, 100, last));
      assertEquals(2 * 2, slots(made), "64 pages, and the others");
      assertEquals(2 * 71, entries(made));
      byte[] read = new byte[bytes.length];
      window.get(PAGE - 100, read, 100, last);
      assertArrayEquals(
          Arrays.copyOfRange(bytes, 100, 100 + last), Arrays.copyOfRange(read, 100, 100 + last));
      assertEquals(0, window.getByte(PAGE - 101));
      assertEquals(0, window.getByte(PAGE - 100 + last));
      assertEquals(0, read[99]);
      assertEquals(0, read[100 + last]);
    }
  }

  @Test
  void numbersAreReplacedAndAddedToWhereTheyStand() {
    HostMapping window = map(file(1, AT_ONCE));
    window.putLong(40, 5);
    assertEquals(5, window.getAndAddLong(40, -7));
    assertFalse(window.compareAndSetLong(40, 5, 1), "it is -2");
    assertEquals(-2, window.getLong(40));
    assertTrue(window.compareAndSetLong(40, -2, NUMBER));
    assertEquals(NUMBER, window.getLong(40));
    assertFalse(window.compareAndSetInt(36, 1, 2));
    assertTrue(window.compareAndSetInt(36, 0, -1));
    assertEquals(-1, window.getInt(36));
    assertEquals(0, window.getLong(48));
    assertThrows(IllegalArgumentException.class, () -> window.compareAndSetLong(44, 0, 1));
  }

  /** Each frame that is touched is a step, and no page beyond is looked at. */
  @Test
  void bytesAreMovedByFrames() {
    try (HostMemory plain = HostMemory.ofBytes(16L * PAGE);
        GuestMemfd memfd =
            GuestMemfd.builder(plain)
                .size(16L * PAGE)
                .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
                .build();
        HostMapping window = memfd.mmap(0, 16L * PAGE, Protection.READ, Protection.WRITE)) {
      window.madvise(0, 16L * PAGE, Advice.POPULATE_WRITE);
      FrameContents contents = Insides.contents(plain);
      int first = memfd.holders(0).pfn();
      for (int from : new int[] {0, 1, PAGE - 1, PAGE, PAGE + 100}) {
        for (int length : new int[] {1, 100, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE}) {
          List<Announced.Access> made =
              Announced.by(() -> window.put(from, new byte[length], 0, length));
          int page = from / PAGE;
          int pages = (from + length - 1) / PAGE + 1 - page;
          Set<Long> frames = new HashSet<>();
          for (Announced.Access access : made) {
            if (access.owner() == contents) {
              assertTrue(frames.add(access.index()), "once each");
            }
          }
          Set<Long> expected = new HashSet<>();
          for (int i = 0; i < pages; i++) {
            expected.add((long) first + page + i);
          }
          assertEquals(expected, frames, length + " bytes at " + from);
          assertEquals(2, slots(made), "one announcement, and its end");
          assertEquals(2L * pages, entries(made), "each entry, before the announcement and after");
        }
      }
    }
  }

  /** How often entries of a page table are read: the first array of longs that is read. */
  private static long entries(List<Announced.Access> made) {
    Object leaf =
        made.stream()
            .map(Announced.Access::owner)
            .filter(long[].class::isInstance)
            .findFirst()
            .orElseThrow();
    return made.stream().filter(a -> a.owner() == leaf).count();
  }

  /** How often slots of accesses are written: the arrays of longs that are. */
  private static long slots(List<Announced.Access> made) {
    return made.stream().filter(a -> a.write() && a.owner() instanceof long[]).count();
  }

  /** Frames that do not follow one another are moved by their own. */
  @Test
  void bytesOfScatteredFramesAreMoved() {
    try (HostMemory plain = HostMemory.ofBytes(16L * PAGE);
        GuestMemfd memfd =
            GuestMemfd.builder(plain)
                .size(16L * PAGE)
                .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
                .build();
        HostMapping window = memfd.mmap(0, 16L * PAGE, Protection.READ, Protection.WRITE)) {
      for (int page : new int[] {3, 0, 1, 7, 5, 2, 4, 6, 8}) {
        window.putByte((long) page * PAGE, (byte) 0);
      }
      byte[] bytes = new byte[8 * PAGE];
      new SplittableRandom(2).nextBytes(bytes);
      for (int from : new int[] {0, 100, PAGE - 1}) {
        window.put(from, bytes, 0, bytes.length);
        byte[] read = new byte[bytes.length];
        window.get(from, read, 0, read.length);
        assertArrayEquals(bytes, read);
        for (int i = 0; i < bytes.length; i += 1000) {
          assertEquals(bytes[i], window.getByte(from + i), "byte " + i);
        }
      }
    }
  }

  // ---- what an access is told ----

  @Test
  void refusalsNameThePageOfTheFileAndAreCounted() {
    GuestMemfd memfd = file(4, AT_ONCE);
    HostMapping window = memfd.mmap(PAGE, 3L * PAGE, Protection.READ, Protection.WRITE);
    window.putLong(2L * PAGE, 1);
    long sigbus = memfd.metrics().sigbus();
    memfd.makeInaccessible(2L * PAGE, PAGE);
    SigBusException e = assertThrows(SigBusException.class, () -> window.getLong(PAGE));
    assertEquals(SigBusException.Code.BUS_ADRERR, e.code());
    assertTrue(e.getMessage().contains("the page at offset 0x2000 of "), e::getMessage);
    assertTrue(e.getMessage().contains("is inaccessible"), e::getMessage);
    assertEquals(sigbus + 1, memfd.metrics().sigbus());
    assertEquals(Errno.OK, host.pfnWalker().memoryFailure(memfd.holders(3L * PAGE).pfn()));
    e = assertThrows(SigBusException.class, () -> window.getLong(2L * PAGE));
    assertEquals(SigBusException.Code.BUS_MCEERR_AR, e.code());
    assertTrue(e.getMessage().contains("the page at offset 0x3000 of "), e::getMessage);
    assertEquals(sigbus + 2, memfd.metrics().sigbus());
    window.close();
  }

  @Test
  void pastTheEndOfTheFileIsSaidToBe() {
    GuestMemfd memfd = file(1, AT_ONCE);
    try (HostMapping window = memfd.mmap(0, 2L * PAGE, Protection.READ)) {
      assertEquals(0, window.getLong(0));
      SigBusException e = assertThrows(SigBusException.class, () -> window.getLong(PAGE));
      assertTrue(e.getMessage().contains("past the end of "), e::getMessage);
    }
  }

  @Test
  void noMemoryIsNoSigbus() {
    GuestMemfd memfd = file(80, AT_ONCE);
    HostMapping window = map(memfd);
    memfd.allocate(0, host.size());
    long sigbus = memfd.metrics().sigbus();
    refused(Errno.ENOMEM, () -> window.getLong(host.size()));
    assertEquals(sigbus, memfd.metrics().sigbus());
  }

  @Test
  void metadataHasNoBytesToAccess() {
    try (HostMemory metadata = HostMemory.builder(4L * PAGE).metadataOnly().build();
        GuestMemfd memfd =
            GuestMemfd.builder(metadata)
                .size(PAGE)
                .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
                .build();
        HostMapping window = memfd.mmap(0, PAGE, Protection.READ, Protection.WRITE)) {
      assertThrows(UnsupportedOperationException.class, () -> window.getLong(0));
      assertThrows(UnsupportedOperationException.class, () -> window.putLong(0, 1));
      assertNull(Insides.frames(metadata).accesses.underWay());
    }
  }

  /** A race point is told the page of the file. */
  @Test
  void theRacePointOfAnAccessNamesItsPage() throws Exception {
    GuestMemfd memfd = file(3, AT_ONCE);
    HostMapping window = memfd.mmap(PAGE, 2L * PAGE, Protection.READ, Protection.WRITE);
    AtomicInteger passed = new AtomicInteger();
    races.at(RacePoint.ACCESS_IN_FLIGHT, 2L * PAGE, passed::incrementAndGet);
    window.putLong(0, 1);
    assertEquals(0, passed.get());
    window.putLong(PAGE, 1);
    assertEquals(1, passed.get());
    window.close();
  }

  /** Whatever comes between, no access stays announced. */
  @Test
  void accessesThatAreGivenUpHaveEnded() {
    HostMapping window = map(file(2));
    throwing = true;
    assertThrows(IllegalStateException.class, () -> window.putLong(0, 1));
    throwing = false;
    assertNull(frames().accesses.underWay());
    window.putLong(0, 2);
    assertEquals(2, window.getLong(0));
    assertNull(frames().accesses.underWay());
  }

  @Test
  void accessesWithoutBytesHaveEnded() {
    try (HostMemory none = HostMemory.builder(2L * PAGE).metadataOnly().build();
        GuestMemfd memfd =
            GuestMemfd.builder(none)
                .size(PAGE)
                .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
                .build();
        HostMapping window = memfd.mmap(0, PAGE, Protection.READ, Protection.WRITE)) {
      for (Executable access :
          List.<Executable>of(
              () -> window.getAndAddLong(0, 1),
              () -> window.compareAndSetLong(0, 0, 1),
              () -> window.putLong(0, 1),
              () -> window.getLong(0))) {
        assertThrows(UnsupportedOperationException.class, access);
        assertNull(Insides.frames(none).accesses.underWay());
      }
    }
  }
}
