package io.github.guestmemfd.memory;

import static io.github.guestmemfd.fixtures.Announced.read;
import static io.github.guestmemfd.fixtures.Announced.write;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.fixtures.Announced;
import java.nio.ByteBuffer;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The bytes of frames, and where they lie. */
@Timeout(300)
class FrameContentsTest {
  private final FrameContents contents = new FrameContents(600);

  /** A frame whose bytes are all the same. */
  private int filled(int pfn, int value) {
    contents.populate(pfn);
    ByteBuffer view = contents.view(pfn);
    while (view.hasRemaining()) {
      view.put((byte) value);
    }
    return pfn;
  }

  private void assertFilled(int value, int pfn) {
    ByteBuffer view = contents.view(pfn);
    assertEquals(Pages.SIZE, view.remaining());
    while (view.hasRemaining()) {
      assertEquals((byte) value, view.get(), "byte " + view.position() + " of frame " + pfn);
    }
  }

  /** Frames are numbered from 1; the last buffer has room for what is left. */
  @ParameterizedTest
  @CsvSource({
    "3, 1, 4",
    "511, 511, 512",
    "512, 511, 512",
    "512, 512, 1",
    "600, 1, 512",
    "600, 600, 89"
  })
  void aBufferHasRoomForItsFrames(int frames, int pfn, int pages) {
    FrameContents some = new FrameContents(frames);
    some.populate(pfn);
    assertEquals(pages * Pages.SIZE, some.chunk(pfn).capacity());
  }

  @Test
  void theLargestHostCostsNothingYet() {
    FrameContents large = new FrameContents(FrameTable.MAX_FRAMES);
    assertThrows(IllegalStateException.class, () -> large.chunk(FrameTable.MAX_FRAMES));
  }

  @Test
  void bytesAreMadeOnceAndWhereTheyAreUsed() {
    contents.populate(1);
    ByteBuffer made = contents.chunk(1);
    contents.populate(2);
    assertSame(made, contents.chunk(1));
    assertSame(made, contents.chunk(511));
    assertSame(made, contents.chunkToRead(511));
    IllegalStateException e = assertThrows(IllegalStateException.class, () -> contents.chunk(512));
    assertTrue(e.getMessage().contains("512"), e.getMessage());
  }

  @Test
  void knowsWhereAFrameLies() {
    assertEquals(0, FrameContents.base(0));
    assertEquals(3 * Pages.SIZE, FrameContents.base(3));
    assertEquals(511 * Pages.SIZE, FrameContents.base(511));
    assertEquals(Pages.SIZE, FrameContents.base(513));
    assertEquals(3 * Pages.SIZE, FrameContents.bytes(1, 3));
    assertEquals(2 * Pages.SIZE, FrameContents.bytes(510, 5), "up to the end of the buffer");
    assertEquals(5 * Pages.SIZE, FrameContents.bytes(512, 5));
  }

  @Test
  void aFrameIsFilledCopiedAndZeroedAlone() {
    filled(1, 1);
    filled(2, 2);
    filled(3, 3);
    filled(512, 4);
    contents.copy(2, 512);
    contents.poison(2);
    assertFilled(2, 512);
    assertFilled(0xAA, 2);
    contents.zero(2);
    assertFilled(0, 2);
    assertFilled(1, 1);
    assertFilled(3, 3);
    contents.view(1).putLong(0, 0x0102030405060708L);
    assertEquals(8, contents.view(1).get(0), "little-endian");
    assertEquals(0x0102030405060708L, contents.chunk(1).getLong(FrameContents.base(1)));
  }

  /** Each use of a frame is a step, and so is the making of its buffer. */
  @Test
  void usesAreAnnounced() {
    List<Announced.Access> first = Announced.by(() -> contents.populate(513));
    Object chunks = first.get(0).owner();
    assertEquals(List.of(read(chunks, 1), write(chunks, 1)), first);
    assertEquals(List.of(read(chunks, 1)), Announced.by(() -> contents.populate(513)));
    assertEquals(List.of(write(contents, 513)), Announced.by(() -> contents.chunk(513)));
    assertEquals(List.of(read(contents, 513)), Announced.by(() -> contents.chunkToRead(513)));
    assertEquals(List.of(write(contents, 513)), Announced.by(() -> contents.chunk(513, 1)));
    assertEquals(
        List.of(write(contents, 514), write(contents, 515), write(contents, 513)),
        Announced.by(() -> contents.chunk(513, 3)));
  }
}
