package io.github.guestmemfd.memory;

import io.github.guestmemfd.spi.Announce;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * The words of the frames of a host: a counts word ({@link Counts}) and a state word ({@link
 * FrameState}) for each.
 *
 * <p>Counts and states are arrays of their own: a lookup of a ready folio needs the counts only.
 * The arrays are made in chunks of 4096 frames, as frames come into use. Frames that are neighbours
 * are used by different vCPUs, so inside each group of 512 they are placed 128 bytes apart.
 */
class FrameWords {

  /** Bits of a page frame number. */
  public static final int PFN_BITS = 30;

  /** The most frames a host can have: just under 4 TiB. */
  public static final int MAX_FRAMES = (1 << PFN_BITS) - 2;

  static final long PFN_MASK = (1L << PFN_BITS) - 1;

  private static final int CHUNK_SHIFT = 12;
  private static final int CHUNK_FRAMES = 1 << CHUNK_SHIFT;
  private static final int CHUNK_MASK = CHUNK_FRAMES - 1;

  private static final VarHandle CHUNKS = MethodHandles.arrayElementVarHandle(long[][].class);

  private final int limit;
  private final long[] @Nullable [] countChunks;
  private final long[] @Nullable [] stateChunks;

  /**
   * Makes the words of frames that have never been in use.
   *
   * @param limit how many frames there are, 1 to {@link #MAX_FRAMES}
   */
  FrameWords(int limit) {
    if (limit < 1 || limit > MAX_FRAMES) {
      throw new IllegalArgumentException(
          "number of frames: expected 1 to " + MAX_FRAMES + ", actual " + limit);
    }
    this.limit = limit;
    this.countChunks = new long[(limit >>> CHUNK_SHIFT) + 1][];
    this.stateChunks = new long[(limit >>> CHUNK_SHIFT) + 1][];
  }

  /**
   * All frames.
   *
   * @return how many
   */
  public final int limit() {
    return limit;
  }

  // ---- where they are ----

  /**
   * The chunk of a frame that has been handed out. A plain read is enough: the pfn reached the
   * caller through an atomic word that was written after the chunk was made.
   */
  private static long[] chunk(long[] @Nullable [] chunks, int pfn) {
    long[] chunk = chunks[pfn >>> CHUNK_SHIFT];
    if (chunk == null) {
      throw new IllegalStateException("frame " + pfn + " was never in use");
    }
    return chunk;
  }

  /** The chunk with the counts word of a frame. */
  final long[] counters(int pfn) {
    return chunk(countChunks, pfn);
  }

  /** The chunk with the state word of a frame. */
  final long[] states(int pfn) {
    return chunk(stateChunks, pfn);
  }

  /** Where the word of a frame stands in its chunk: 128 bytes between neighbours. */
  static int position(int pfn) {
    int line = ((pfn << 1) | ((pfn >>> 5) & 1)) & 63;
    return (pfn & CHUNK_MASK & ~511) | (line << 3) | ((pfn >>> 6) & 7);
  }

  /** Makes the words of a frame, with those of its neighbours, if they have not been made. */
  final void makeChunk(int pfn) {
    int i = pfn >>> CHUNK_SHIFT;
    if (!isMade(pfn)) {
      long[] made = new long[CHUNK_FRAMES];
      Arrays.fill(made, Counts.FREE);
      Announce.write(countChunks, i);
      CHUNKS.compareAndSet(countChunks, i, null, made);
      Announce.write(stateChunks, i);
      CHUNKS.compareAndSet(stateChunks, i, null, new long[CHUNK_FRAMES]); // after its counts
    }
  }

  /** Whether the words of a frame have been made: then its counts have too. */
  final boolean isMade(int pfn) {
    int i = pfn >>> CHUNK_SHIFT;
    Announce.read(stateChunks, i);
    return CHUNKS.getAcquire(stateChunks, i) != null;
  }

  // ---- words ----

  /**
   * The counts word of a frame, read with volatile semantics.
   *
   * @param pfn the frame
   * @return a word for {@link Counts}
   */
  public final long counts(int pfn) {
    return SharedLongs.getVolatile(counters(pfn), position(pfn));
  }

  /** The state word of a frame, read with volatile semantics. */
  final long state(int pfn) {
    return SharedLongs.getVolatile(states(pfn), position(pfn));
  }

  /** Replaces a state word; false if it has changed. */
  final boolean casState(int pfn, long expected, long word) {
    return SharedLongs.compareAndSet(states(pfn), position(pfn), expected, word);
  }

  /** Sets bits of a state word. */
  final void setState(int pfn, long bits) {
    SharedLongs.getAndBitwiseOr(states(pfn), position(pfn), bits);
  }

  /** Clears bits; returns the word as it was. */
  final long clearState(int pfn, long bits) {
    return SharedLongs.getAndBitwiseAnd(states(pfn), position(pfn), ~bits);
  }
}
