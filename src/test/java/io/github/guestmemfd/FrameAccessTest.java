package io.github.guestmemfd;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.github.guestmemfd.spi.PlaysOtherThreads;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

/** What a client may call, and what it is refused: nothing that is refused changes a slot. */
@ExtendWith(PlaysOtherThreads.class) // waits for its own access
class FrameAccessTest {
  private final HostMemory host = HostMemory.ofBytes(4 * 4096);
  private final GuestMemfd memfd = GuestMemfd.builder(host).size(4 * 4096).build();
  private final FrameAccess accesses = memfd.frameAccess();

  @AfterEach
  void close() {
    memfd.close();
    host.close();
  }

  @Test
  void anAccessMovesBytesAndEndsOnce() throws InterruptedException {
    memfd.allocate(0, 4096);
    int pfn;
    try (Folio folio = memfd.grab(0)) {
      pfn = folio.pfn();
    }
    long access = accesses.begin(pfn);
    accesses.buffer(FrameAccess.pfn(access)).putLong(FrameAccess.base(pfn) + 8, 42);
    accesses.end(access);
    try (Folio folio = memfd.grab(0)) {
      assertThat(folio.buffer().getLong(8)).isEqualTo(42);
    }
    assertThatThrownBy(() -> accesses.end(access))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("expected an access that has begun and not ended");
    accesses.await(new int[] {pfn}, 1);
  }

  /** Nothing is announced: a caller that has another page in its place sees that by its entry. */
  @Test
  void aPeekReadsWithoutAnAccess() throws InterruptedException {
    long access = access();
    int pfn = FrameAccess.pfn(access);
    accesses.write(access, 1025, 8, 0xf8f7_f6f5_f4f3_f2f1L);
    accesses.end(access);
    for (int size = 1; size <= 8; size++) {
      long low = 0xf8f7_f6f5_f4f3_f2f1L & (-1L >>> (64 - 8 * size));
      assertThat(accesses.peek(pfn, 1025, size)).isEqualTo(low);
    }
    accesses.await(new int[] {pfn}, 1);
  }

  @Test
  void aPeekIsChecked() {
    long access = access();
    int pfn = FrameAccess.pfn(access);
    accesses.end(access);
    for (int size : new int[] {0, 9}) {
      assertThatThrownBy(() -> accesses.peek(pfn, 0, size))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("expected 1 to 8 bytes");
    }
    for (int at : new int[] {-1, 4089}) {
      assertThatThrownBy(() -> accesses.peek(pfn, at, 8))
          .isInstanceOf(IndexOutOfBoundsException.class);
    }
    for (int none : new int[] {0, 5}) {
      assertThatThrownBy(() -> accesses.peek(none, 0, 8))
          .isInstanceOf(IndexOutOfBoundsException.class)
          .hasMessageContaining("expected 1 to 4");
    }
  }

  private long access() {
    memfd.allocate(0, 4096);
    try (Folio folio = memfd.grab(0)) {
      return accesses.begin(folio.pfn());
    }
  }

  @Test
  void numbersOfEverySizeAreLittleEndianAndUnsigned() {
    long access = access();
    long number = 0xf8f7_f6f5_f4f3_f2f1L;
    for (int size = 1; size <= 8; size++) {
      for (int at : new int[] {0, 8, 1025, 4096 - size}) {
        accesses.write(access, at, size, number);
        long low = size == 8 ? number : number & ((1L << (8 * size)) - 1);
        assertThat(accesses.read(access, at, size)).as("%s bytes at %s", size, at).isEqualTo(low);
        for (int i = 0; i < size; i++) {
          assertThat(accesses.read(access, at + i, 1)).isEqualTo(0xf1 + i);
        }
      }
    }
    accesses.end(access);
  }

  @Test
  void aNumberIsWrittenInItsBytesAlone() {
    long access = access();
    for (int size = 1; size <= 8; size++) {
      accesses.write(access, 64, 8, 0);
      accesses.write(access, 72, 8, 0);
      accesses.write(access, 64, size, -1);
      accesses.write(access, 64, size, 0);
      accesses.write(access, 64 + size, 1, 0xaa);
      accesses.write(access, 64, size, -1);
      assertThat(accesses.read(access, 64 + size, 1)).isEqualTo(0xaa);
    }
    accesses.end(access);
  }

  @Test
  void atomicUpdatesAnswerWhatWasThere() {
    long access = access();
    for (int size : new int[] {4, 8}) {
      long max = size == 4 ? 0xffff_ffffL : -1;
      accesses.write(access, 16, 8, 0);
      assertThat(accesses.compareAndExchange(access, 16, size, 1, 2)).isZero();
      assertThat(accesses.compareAndExchange(access, 16, size, 0, -1)).isZero();
      assertThat(accesses.compareAndExchange(access, 16, size, 0, 5)).isEqualTo(max);
      assertThat(accesses.compareAndExchange(access, 16, size, max, -2)).isEqualTo(max);
      assertThat(accesses.getAndAdd(access, 16, size, 3)).isEqualTo(max - 1);
      assertThat(accesses.read(access, 16, 8)).as("the neighbour stays").isEqualTo(1);
    }
    accesses.end(access);
  }

  @Test
  void aNumberLiesInItsFrame() {
    long access = access();
    for (int size : new int[] {0, -1, 9, Integer.MIN_VALUE, Integer.MAX_VALUE}) {
      assertThatThrownBy(() -> accesses.read(access, 0, size))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage("expected 1 to 8 bytes, actual " + size);
      assertThatThrownBy(() -> accesses.write(access, 0, size, 0))
          .isInstanceOf(IllegalArgumentException.class);
    }
    for (int at : new int[] {-8, -1, 4089, 4096, Integer.MIN_VALUE, Integer.MAX_VALUE}) {
      assertThatThrownBy(() -> accesses.read(access, at, 8))
          .isInstanceOf(IndexOutOfBoundsException.class);
      assertThatThrownBy(() -> accesses.write(access, at, 8, 0))
          .isInstanceOf(IndexOutOfBoundsException.class);
    }
    for (int at : new int[] {-8, 4096, Integer.MIN_VALUE}) {
      assertThatThrownBy(() -> accesses.getAndAdd(access, at, 8, 0))
          .isInstanceOf(IndexOutOfBoundsException.class);
      assertThatThrownBy(() -> accesses.compareAndExchange(access, at, 8, 0, 0))
          .isInstanceOf(IndexOutOfBoundsException.class);
    }
    accesses.end(access);
  }

  @Test
  void anAtomicUpdateIsAligned() {
    long access = access();
    int[][] wrong = {{2, 0}, {1, 0}, {16, 0}, {0, 0}, {8, 4}, {4, 2}, {4, 4094}};
    for (int[] sizeAndPlace : wrong) {
      int size = sizeAndPlace[0];
      int at = sizeAndPlace[1];
      assertThatThrownBy(() -> accesses.getAndAdd(access, at, size, 1))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("expected 4 or 8 bytes at a multiple of that, actual " + size);
      assertThatThrownBy(() -> accesses.compareAndExchange(access, at, size, 0, 1))
          .isInstanceOf(IllegalArgumentException.class);
    }
    accesses.end(access);
  }

  @Test
  void onlyFramesOfTheHost() {
    for (int pfn : new int[] {0, -1, 5, Integer.MIN_VALUE, Integer.MAX_VALUE, 1 << 30}) {
      assertThatThrownBy(() -> accesses.begin(pfn)).isInstanceOf(IndexOutOfBoundsException.class);
      assertThatThrownBy(() -> accesses.buffer(pfn)).isInstanceOf(IndexOutOfBoundsException.class);
    }
  }

  /** The end of what has not begun touches no other access, wherever its number points. */
  @Test
  void whatHasNotBegunCannotEnd() throws InterruptedException {
    long access = accesses.begin(2);
    for (int bit = 0; bit < 64; bit++) {
      long other = access ^ (1L << bit);
      assertThatThrownBy(() -> accesses.end(other)).isInstanceOf(IllegalStateException.class);
    }
    assertThatThrownBy(() -> accesses.end(0)).isInstanceOf(IllegalStateException.class);
    Thread.currentThread().interrupt();
    assertThatThrownBy(() -> accesses.await(new int[] {2}, 1))
        .as("the access is under way")
        .isInstanceOf(InterruptedException.class);
    accesses.end(access);
    accesses.await(new int[] {2}, 1);
  }

  @Test
  void asManyFramesAsThereAre() {
    int[] two = {1, 2};
    assertThatThrownBy(() -> accesses.await(two, 3)).isInstanceOf(IndexOutOfBoundsException.class);
    assertThatThrownBy(() -> accesses.awaitUninterruptibly(two, -1))
        .isInstanceOf(IndexOutOfBoundsException.class);
  }
}
