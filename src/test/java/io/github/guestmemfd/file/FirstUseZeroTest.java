package io.github.guestmemfd.file;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.Insides;
import io.github.guestmemfd.memory.FrameTable;
import java.nio.ByteBuffer;
import java.util.Arrays;
import org.junit.jupiter.api.Test;

/** A page is zero at its first use, though a frame that was never written is not zeroed for it. */
class FirstUseZeroTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;

  private static ByteBuffer ones() {
    byte[] ones = new byte[PAGE];
    Arrays.fill(ones, (byte) 1);
    return ByteBuffer.wrap(ones);
  }

  private static void assertZero(GuestMemfd memfd) {
    try (Folio folio = memfd.grab(0)) {
      assertThat(folio.buffer()).isEqualTo(ByteBuffer.allocate(PAGE));
    }
  }

  private static void closeAll(GuestMemfd memfd, HostMemory host) {
    memfd.close();
    host.close();
  }

  @Test
  void aFrameIsMarkedByItsFirstUseAndStaysSo() {
    HostMemory host = HostMemory.ofBytes(PAGE);
    GuestMemfd memfd = GuestMemfd.builder(host).size(PAGE).build();
    FrameTable frames = Insides.frames(host);
    memfd.allocate(0, PAGE);
    assertThat(frames.isMarked(1)).isFalse();
    assertZero(memfd);
    assertThat(frames.isMarked(1)).isTrue();
    memfd.punchHole(0, PAGE);
    assertThat(frames.isMarked(1)).isTrue();
    closeAll(memfd, host);
  }

  @Test
  void whatWasWrittenThroughTheDirectMapBefore() {
    HostMemory host = HostMemory.ofBytes(PAGE);
    GuestMemfd memfd = GuestMemfd.builder(host).size(PAGE).build();
    memfd.allocate(0, PAGE);
    host.directMap().write(1, 0, ones());
    assertZero(memfd);
    closeAll(memfd, host);
  }

  @Test
  void whatAnEarlierLifeThatWasNeverUsedHadWrittenThroughTheDirectMap() {
    HostMemory host = HostMemory.ofBytes(PAGE);
    GuestMemfd memfd = GuestMemfd.builder(host).size(PAGE).build();
    memfd.allocate(0, PAGE);
    host.directMap().write(1, 0, ones());
    memfd.punchHole(0, PAGE);
    assertZero(memfd);
    closeAll(memfd, host);
  }

  @Test
  void thePoisonOfViewsOfAFrameThatWasNeverUsed() {
    HostMemory host = HostMemory.builder(PAGE).poisonViews().build();
    GuestMemfd memfd = GuestMemfd.builder(host).size(PAGE).build();
    memfd.allocate(0, PAGE);
    memfd.punchHole(0, PAGE);
    assertZero(memfd);
    closeAll(memfd, host);
  }

  @Test
  void whatFreeFolioHasWrittenToAFrameThatWasNeverUsed() {
    HostMemory host = HostMemory.ofBytes(PAGE);
    GuestMemfdOps scribbles =
        new GuestMemfdOps() {
          @Override
          public void freeFolio(Folio folio) {
            folio.buffer().put(ones());
          }
        };
    GuestMemfd memfd = GuestMemfd.builder(host).size(PAGE).ops(scribbles).build();
    memfd.allocate(0, PAGE);
    memfd.punchHole(0, PAGE);
    assertZero(memfd);
    closeAll(memfd, host);
  }

  /** A client that writes to a frame it does not have, by its number. */
  @Test
  void whatWasWrittenByNumberBefore() {
    HostMemory host = HostMemory.ofBytes(2 * PAGE);
    GuestMemfd memfd = GuestMemfd.builder(host).size(2 * PAGE).build();
    memfd.grab(PAGE).close();
    memfd.buffer(2).put(ones());
    assertZero(memfd);
    closeAll(memfd, host);
  }
}
