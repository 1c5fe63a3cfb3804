package io.github.guestmemfd.memory;

import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.spi.Announce;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * The contents of the frames: direct buffers of 2 MiB, the last one of what is left, each made when
 * the first of its frames is used.
 *
 * <p>The bytes themselves have no lock. Page table entries, references and the direct map decide
 * which thread may touch them, before this class is called.
 */
public final class FrameContents {

  private static final int CHUNK_SHIFT = 9;
  private static final int CHUNK_FRAMES = 1 << CHUNK_SHIFT;
  private static final byte[] ZEROES = new byte[Pages.SIZE];

  private static final byte[] POISON = new byte[Pages.SIZE];

  static {
    Arrays.fill(POISON, (byte) 0xAA);
  }

  private static final VarHandle CHUNKS = MethodHandles.arrayElementVarHandle(ByteBuffer[].class);

  private final @Nullable ByteBuffer[] chunks;
  private final int frames;

  /**
   * Makes contents that occupy nothing yet.
   *
   * @param frames how many frames there are
   */
  public FrameContents(int frames) {
    this.chunks = new @Nullable ByteBuffer[(frames >>> CHUNK_SHIFT) + 1];
    this.frames = frames;
  }

  /**
   * Makes sure that a frame has bytes.
   *
   * @param pfn the frame
   * @throws OutOfMemoryError if the JVM has no more direct memory
   */
  public void populate(int pfn) {
    int i = pfn >>> CHUNK_SHIFT;
    Announce.read(chunks, i);
    if (CHUNKS.getAcquire(chunks, i) == null) {
      ByteBuffer made;
      int bytes = Math.min(CHUNK_FRAMES, frames + 1 - (i << CHUNK_SHIFT)) * Pages.SIZE;
      try {
        made = ByteBuffer.allocateDirect(bytes);
      } catch (OutOfMemoryError e) {
        OutOfMemoryError error =
            new OutOfMemoryError(
                "no direct memory for " + bytes + " bytes more, see -XX:MaxDirectMemorySize");
        error.initCause(e);
        throw error;
      }
      Announce.write(chunks, i);
      CHUNKS.compareAndSet(chunks, i, null, made.order(ByteOrder.LITTLE_ENDIAN));
    }
  }

  /**
   * The buffer a frame lies in, for absolute access in little-endian order. A plain read is enough:
   * the pfn reached the caller through an atomic word that was written after the buffer was made.
   * What the caller does with the frame next is one {@link Announce step}.
   *
   * @param pfn a populated frame
   * @return the buffer; its position and limit must not be changed
   */
  public ByteBuffer chunk(int pfn) {
    Announce.write(this, pfn);
    return chunkOf(pfn);
  }

  /**
   * As {@link #chunk}, to read the frame.
   *
   * @param pfn a populated frame
   * @return the buffer; its position and limit must not be changed
   */
  public ByteBuffer chunkToRead(int pfn) {
    Announce.read(this, pfn);
    return chunkOf(pfn);
  }

  /**
   * As {@link #chunk}, for frames that follow one another in it.
   *
   * @param pfn the first of them, populated
   * @param frames how many
   * @return the buffer; its position and limit must not be changed
   */
  public ByteBuffer chunk(int pfn, int frames) {
    for (int i = 1; i < frames; i++) {
      Announce.write(this, pfn + i);
    }
    return chunk(pfn);
  }

  private ByteBuffer chunkOf(int pfn) {
    ByteBuffer chunk = chunks[pfn >>> CHUNK_SHIFT];
    if (chunk == null) {
      throw new IllegalStateException("frame " + pfn + " was never in use");
    }
    return chunk;
  }

  /**
   * Where a frame begins in its buffer.
   *
   * @param pfn the frame
   * @return the index in bytes
   */
  public static int base(int pfn) {
    return (pfn & (CHUNK_FRAMES - 1)) << Pages.SHIFT;
  }

  /**
   * Where a byte of a frame is in its buffer.
   *
   * @param pfn the frame
   * @param offset the offset of the byte, in the frame or in what the frame is a page of
   * @return the index in bytes
   */
  public static int place(int pfn, long offset) {
    return base(pfn) | ((int) offset & Pages.OFFSET_MASK);
  }

  /**
   * How many bytes lie together in one buffer.
   *
   * @param pfn the first frame
   * @param frames how many frames follow one another, this one included
   * @return the bytes from the start of the first frame on
   */
  public static int bytes(int pfn, int frames) {
    return Math.min(frames, CHUNK_FRAMES - (pfn & (CHUNK_FRAMES - 1))) << Pages.SHIFT;
  }

  /**
   * A view of a frame's bytes. That it is made is a {@link Announce step}; what is done with it
   * later is not.
   *
   * @param pfn a populated frame
   * @return a new buffer of one page, little-endian
   */
  public ByteBuffer view(int pfn) {
    return chunk(pfn).slice(base(pfn), Pages.SIZE).order(ByteOrder.LITTLE_ENDIAN);
  }

  /**
   * Copies a frame.
   *
   * @param from a populated frame
   * @param to another one
   */
  public void copy(int from, int to) {
    VarHandle.releaseFence(); // as for zeroes
    chunk(to).put(base(to), chunkToRead(from), base(from), Pages.SIZE);
  }

  /**
   * Fills a frame with a byte that shows a read through a stale view.
   *
   * @param pfn a populated frame
   */
  public void poison(int pfn) {
    VarHandle.releaseFence(); // as for zeroes
    chunk(pfn).put(base(pfn), POISON);
  }

  /**
   * Fills a frame with zeroes.
   *
   * @param pfn a populated frame
   */
  public void zero(int pfn) {
    VarHandle.releaseFence(); // an optimistic reader of these zeroes must see its page unmapped
    chunk(pfn).put(base(pfn), ZEROES);
  }
}
