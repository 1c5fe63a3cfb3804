package io.github.guestmemfd;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** What a client may call, and what it is refused: nothing that is refused changes a slot. */
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
