package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.Interleavings;
import io.github.guestmemfd.testing.RacePoints;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.ReadOnlyBufferException;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** Reads without a reference ({@link GuestMemfd#tryRead}): what they answer, and what they meet. */
class OptimisticReadTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final int AGAIN = -Errno.EAGAIN.code();

  private final RacePoints races = new RacePoints();
  private final HostMemory host = HostMemory.builder(8L * PAGE).raceHook(races).build();
  private final GuestMemfd memfd = file();
  private final ByteBuffer into = ByteBuffer.allocate(PAGE).order(ByteOrder.LITTLE_ENDIAN);

  private GuestMemfd file() {
    return GuestMemfd.builder(host).size(4L * PAGE).flags(MMAP, INIT_SHARED).build();
  }

  @AfterEach
  void close() {
    memfd.close();
    host.close();
    races.close();
  }

  private static void write(GuestMemfd file, long offset, long number) {
    try (Folio folio = file.grab(offset)) {
      folio.buffer().putLong((int) offset & (PAGE - 1), number);
    }
  }

  private int read(long offset, int length) {
    into.clear().limit(length);
    return memfd.tryRead(offset, into);
  }

  @Test
  void readsWhatTheGuestWroteWhateverTheAttribute() {
    write(memfd, PAGE + 8, 42);
    assertThat(read(PAGE + 8, 8)).isEqualTo(8);
    assertThat(into.position()).isEqualTo(8);
    assertThat(into.getLong(0)).isEqualTo(42);
    memfd.makeInaccessible(0, 4L * PAGE);
    assertThat(read(PAGE, PAGE)).isEqualTo(PAGE);
    assertThat(into.getLong(8)).isEqualTo(42);
    assertThat(read(2L * PAGE - 1, 1)).isEqualTo(1);
    assertThat(memfd.holders(PAGE).safe()).as("holders").isZero();
  }

  @Test
  void fillsFromThePositionOn() {
    write(memfd, 0, 42);
    into.position(16).limit(24);
    assertThat(memfd.tryRead(0, into)).isEqualTo(8);
    assertThat(into.position()).isEqualTo(24);
    assertThat(into.getLong(16)).isEqualTo(42);
    assertThat(into.getLong(8)).isZero();
  }

  @Test
  void wantsAReferenceWhereThereIsNoReadyFolio() {
    assertThat(read(0, 8)).as("a hole").isEqualTo(AGAIN);
    memfd.allocate(0, PAGE);
    assertThat(read(0, 8)).as("a folio not used yet").isEqualTo(AGAIN);
    write(memfd, 0, 1);
    assertThat(read(0, 8)).isEqualTo(8);
    memfd.punchHole(0, PAGE);
    assertThat(read(0, 8)).as("a punched page").isEqualTo(AGAIN);
  }

  @ParameterizedTest
  @CsvSource({"-1, 1", "16384, 1", "16383, 2", "4095, 2", "0, 0", "1, 4096"})
  void bytesOfOnePageOnly(long offset, int length) {
    assertThat(read(offset, length)).isEqualTo(-Errno.EINVAL.code());
    assertThat(into.position()).isZero();
  }

  @Test
  void badBuffersAndHostsAreRefused() {
    write(memfd, 0, 1);
    assertThatThrownBy(() -> memfd.tryRead(0, into.asReadOnlyBuffer()))
        .isInstanceOf(ReadOnlyBufferException.class);
    try (HostMemory empty = HostMemory.metadataOnly(PAGE);
        GuestMemfd file = GuestMemfd.builder(empty).size(PAGE).build()) {
      assertThatThrownBy(() -> file.tryRead(0, into))
          .isInstanceOf(UnsupportedOperationException.class);
    }
    GuestMemfd second = memfd.dup();
    second.close();
    into.clear();
    assertThat(second.tryRead(0, into)).isEqualTo(-Errno.EBADF.code());
  }

  /** While a page is neither side's, and while an operation has it, a read is not valid. */
  @Test
  void aPageInBetweenIsNotRead() {
    write(memfd, 0, 1);
    races.at(RacePoint.BEFORE_COMMIT, () -> assertThat(read(0, 8)).isEqualTo(AGAIN));
    memfd.makeInaccessible(0, PAGE);
    races.check();
    try (GuestMemfd later =
        GuestMemfd.builder(host)
            .size(PAGE)
            .flags(MMAP, INIT_SHARED)
            .protocol(ConversionProtocol.lastPut())
            .retryPolicy(RetryPolicy.completeLater())
            .build()) {
      write(later, 0, 1);
      try (var window = later.mmap(0, PAGE, Protection.READ)) {
        HostReference reference = window.getUserPages(0, 8);
        var pending = later.makeInaccessibleLater(0, PAGE);
        into.clear().limit(8);
        assertThat(later.tryRead(0, into)).isEqualTo(AGAIN);
        reference.close();
        pending.join();
        assertThat(later.tryRead(0, into)).isEqualTo(8);
      }
    }
  }

  /** What happens to the page between the look at the slot and the bytes, or after them. */
  enum Meanwhile {
    PUNCH_AND_REUSE {
      @Override
      void run(OptimisticReadTest test) {
        test.memfd.punchHole(0, PAGE);
        test.other = test.file();
        for (int i = 0; i < 4; i++) { // one of them on the same frame
          write(test.other, (long) i * PAGE, 0x5ec2e7);
        }
      }
    },
    CONVERSION {
      @Override
      void run(OptimisticReadTest test) {
        test.memfd.makeInaccessible(0, PAGE);
      }
    },
    CONVERSION_THERE_AND_BACK {
      @Override
      void run(OptimisticReadTest test) {
        test.memfd.makeInaccessible(0, PAGE);
        test.memfd.makeAccessible(0, PAGE);
      }
    },
    END_OF_FILE {
      @Override
      void run(OptimisticReadTest test) {
        test.memfd.close();
      }
    };

    abstract void run(OptimisticReadTest test);
  }

  private GuestMemfd other;

  @ParameterizedTest
  @EnumSource
  void aChangeBeforeTheBytesAreReadIsSeen(Meanwhile meanwhile) {
    meets(meanwhile, RacePoint.AFTER_SLOT_LOAD);
  }

  @ParameterizedTest
  @EnumSource
  void aChangeBeforeTheSlotIsReadAgainIsSeen(Meanwhile meanwhile) {
    meets(meanwhile, RacePoint.BEFORE_READ_RELOAD);
  }

  private void meets(Meanwhile meanwhile, RacePoint point) {
    write(memfd, 0, 42);
    races.at(point, () -> meanwhile.run(this));
    assertThat(read(0, 8)).isEqualTo(AGAIN);
    races.check();
    assertThat(into.position()).isZero();
    assertThat(into.getLong(0)).as("no byte of another file").isZero();
    if (other != null) {
      other.close();
    }
  }

  @Test
  void aHookThatThrowsLeavesNoByteThatIsNotValid() {
    AtomicBoolean throwing = new AtomicBoolean();
    RaceHook hook =
        (point, index) -> {
          if (point == RacePoint.BEFORE_READ_RELOAD && throwing.get()) {
            throw new IllegalStateException("from the hook");
          }
        };
    try (HostMemory own = HostMemory.builder(PAGE).raceHook(hook).build();
        GuestMemfd file = GuestMemfd.builder(own).size(PAGE).build()) {
      write(file, 0, 42);
      into.clear().limit(8);
      throwing.set(true);
      assertThatThrownBy(() -> file.tryRead(0, into)).isInstanceOf(IllegalStateException.class);
      assertThat(into.position()).isZero();
      assertThat(into.getLong(0)).isZero();
      throwing.set(false);
      assertThat(file.tryRead(0, into)).isEqualTo(8);
    }
  }

  // ---- every order ----

  /** A file with a page, one that wants its frame, and what a read has found. */
  private static final class World {
    final HostMemory host = HostMemory.ofBytes(PAGE);
    final GuestMemfd file = file();
    final GuestMemfd other = file();
    final ByteBuffer into = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
    int read;

    World() {
      write(file, 0, 1);
    }

    private GuestMemfd file() {
      return GuestMemfd.builder(host).size(PAGE).flags(MMAP, INIT_SHARED).build();
    }

    void reuse() {
      file.punchHole(0, PAGE);
      int pfn = other.tryGrab(0, HolderKind.SAFE);
      other.buffer(pfn).putLong(0, 2);
      other.put(pfn, HolderKind.SAFE);
    }

    boolean isRight() {
      return read == 8 ? into.getLong(0) == 1 : read == AGAIN && into.getLong(0) == 0;
    }
  }

  @Test
  void inEveryOrderOfARead_APunchAndTheReuse() {
    Interleavings.Report report =
        Interleavings.of(World::new)
            .thread("guest", w -> w.read = w.file.tryRead(0, w.into))
            .thread("vmm", World::reuse)
            .atEnd(w -> assertThat(w.isRight()).isTrue())
            .explore();
    assertThat(report.complete()).isTrue();
    assertThat(report.orders()).isGreaterThan(3);
  }
}
