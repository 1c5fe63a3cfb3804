package io.github.guestmemfd;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.file.Bytes;
import io.github.guestmemfd.file.Host;
import io.github.guestmemfd.file.Refusals;
import io.github.guestmemfd.memory.Accesses;
import io.github.guestmemfd.memory.FrameContents;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.util.Objects;

/**
 * Accesses of a client to frames that it has mapped: how a guest page table uses them without a
 * reference, and never after {@link GuestMemfdOps#invalidateBegin} has taken them away.
 *
 * <p>An access takes four steps: read the client's own entry for the page; {@linkplain #begin
 * announce} the frame; read the entry again, with volatile semantics, and give up ({@link #end}) if
 * it no longer leads there; move the bytes, and end. A client that takes entries away writes them
 * first and then {@linkplain #await waits} for the accesses that are under way. Of the two at least
 * one sees the other. Between {@code begin} and {@code end} a thread may only move bytes: it must
 * not call anything that waits.
 *
 * <p>The file looks at the announcements too: a page is converted, or its frame freed, only when no
 * access to it is under way that began before {@code invalidateBegin} returned, whichever thread
 * has taken the entry away. So a client that is interrupted in its wait may refuse, and is sound.
 *
 * <p>Safe for use by any number of threads. Neither {@code begin} nor {@code end} waits or makes
 * objects.
 */
public final class FrameAccess {
  private final Host host;
  private final Accesses accesses;

  FrameAccess(Host host) {
    this.host = host;
    this.accesses = host.frames.accesses;
  }

  /**
   * Announces an access to a frame. A read-modify-write with volatile semantics: the next read of
   * the client's entry does not come before it.
   *
   * @param pfn the page frame number, from 1 to that of the host's last frame
   * @return the access, to be {@linkplain #end ended} by the same thread; never 0
   * @throws IndexOutOfBoundsException if the host has no such frame
   */
  public long begin(int pfn) {
    return accesses.begin(host.checked(pfn), 1);
  }

  /**
   * Ends an access: a release store.
   *
   * @param access what {@link #begin} returned, once
   * @throws IllegalStateException if no such access is under way; nothing is changed
   */
  public void end(long access) {
    if (!accesses.isUnderWay(access)) {
      throw new IllegalStateException(
          "expected an access that has begun and not ended, actual " + Hex.of(access));
    }
    accesses.end(access);
  }

  /**
   * The frame of an access.
   *
   * @param access what {@link #begin} returned
   * @return the page frame number
   */
  public static int pfn(long access) {
    return Accesses.pfn(access);
  }

  /**
   * The buffer that a frame lies in, little-endian, for absolute access between {@link #begin} and
   * {@link #end}.
   *
   * @param pfn a frame that has been in use
   * @return the buffer, shared: its position, limit and order must not be changed
   * @throws UnsupportedOperationException if the host is metadata only
   * @throws IndexOutOfBoundsException if the host has no such frame
   * @throws IllegalStateException if the frame has never been in use
   */
  public ByteBuffer buffer(int pfn) {
    return host.bytes().chunk(host.checked(pfn));
  }

  /**
   * Where a frame begins in its {@link #buffer}.
   *
   * @param pfn the frame
   * @return the index of its first byte
   */
  public static int base(int pfn) {
    return FrameContents.base(pfn);
  }

  // ---- numbers, little-endian ----

  /**
   * Reads a number with no access announced: cheaper than {@link #begin}, {@link #read} and {@link
   * #end}, of which the first is an atomic change. What is read may be another page's by then. So
   * the caller looks at the entry that led it to the frame, with volatile semantics, before and
   * again after this, and uses the number only if the entry is the same: not one that was removed
   * and made anew. The read is ordered before that second look. As {@link GuestMemfd#tryRead} does
   * for a page.
   *
   * @param pfn a frame that has been in use
   * @param at where in the frame
   * @param size 1 to 8 bytes
   * @return the number, its bytes above the size 0
   * @throws IllegalArgumentException if the size is not 1 to 8
   * @throws IndexOutOfBoundsException if the number is not in the frame, or the host has no such
   *     frame
   * @throws UnsupportedOperationException if the host is metadata only
   * @throws IllegalStateException if the frame has never been in use
   */
  public long peek(int pfn, int at, int size) {
    requireSize(size);
    ByteBuffer chunk = host.bytes().chunkToRead(host.checked(pfn));
    int index = base(pfn) + Objects.checkFromIndexSize(at, size, Pages.SIZE);
    long number = Bytes.getUnsigned(chunk, index, size);
    VarHandle.acquireFence(); // the bytes before the caller's second look
    return number;
  }

  // ---- numbers, between begin and end: little-endian ----

  /**
   * Reads a number. One of 2, 4 or 8 bytes at a multiple of its size is read at once, others byte
   * by byte.
   *
   * @param access what {@link #begin} returned
   * @param at where in the frame
   * @param size 1 to 8 bytes
   * @return the number, its bytes above the size 0
   * @throws IllegalArgumentException if the size is not 1 to 8
   * @throws IndexOutOfBoundsException if the number is not in the frame
   * @throws UnsupportedOperationException if the host is metadata only
   */
  public long read(long access, int at, int size) {
    requireSize(size);
    return Bytes.getUnsigned(buffer(pfn(access)), index(access, at, size), size);
  }

  /**
   * Writes a number. One of 2, 4 or 8 bytes at a multiple of its size is written at once, others
   * byte by byte.
   *
   * @param access what {@link #begin} returned
   * @param at where in the frame
   * @param size 1 to 8 bytes
   * @param number what to write, of which the low bytes count
   * @throws IllegalArgumentException if the size is not 1 to 8
   * @throws IndexOutOfBoundsException if the number is not in the frame
   * @throws UnsupportedOperationException if the host is metadata only
   */
  public void write(long access, int at, int size, long number) {
    requireSize(size);
    Bytes.putLow(buffer(pfn(access)), index(access, at, size), size, number);
  }

  /**
   * Replaces a number if it is as expected, with volatile semantics. Atomic with respect to other
   * atomic operations, of clients and of mappings, and to aligned accesses of its size.
   *
   * @param access what {@link #begin} returned
   * @param at where in the frame, a multiple of the size
   * @param size 4 or 8 bytes
   * @param expected what must be there, of which the low bytes count
   * @param number what to write, of which the low bytes count
   * @return what was there, its bytes above the size 0: as expected exactly if it was replaced
   * @throws IllegalArgumentException if the size is not 4 or 8, or the place not a multiple of it
   * @throws IndexOutOfBoundsException if the number is not in the frame
   * @throws UnsupportedOperationException if the host is metadata only
   */
  public long compareAndExchange(long access, int at, int size, long expected, long number) {
    requireAtomic(at, size);
    return Bytes.low(
        Bytes.compareAndExchange(
            buffer(pfn(access)), index(access, at, size), size, expected, number),
        size);
  }

  /**
   * Adds to a number, with volatile semantics. Atomic as {@link #compareAndExchange} is.
   *
   * @param access what {@link #begin} returned
   * @param at where in the frame, a multiple of the size
   * @param size 4 or 8 bytes
   * @param delta what to add, of which the low bytes count
   * @return what was there before, its bytes above the size 0
   * @throws IllegalArgumentException if the size is not 4 or 8, or the place not a multiple of it
   * @throws IndexOutOfBoundsException if the number is not in the frame
   * @throws UnsupportedOperationException if the host is metadata only
   */
  public long getAndAdd(long access, int at, int size, long delta) {
    requireAtomic(at, size);
    return Bytes.low(
        Bytes.getAndAdd(buffer(pfn(access)), index(access, at, size), size, delta), size);
  }

  private static int index(long access, int at, int size) {
    return base(pfn(access)) + Objects.checkFromIndexSize(at, size, Pages.SIZE);
  }

  private static void requireSize(int size) {
    if (size < 1 || size > Long.BYTES) {
      throw new IllegalArgumentException("expected 1 to 8 bytes, actual " + size);
    }
  }

  private static void requireAtomic(int at, int size) {
    if ((size != Integer.BYTES && size != Long.BYTES) || (at & (size - 1)) != 0) {
      throw new IllegalArgumentException(
          "atomic access: expected 4 or 8 bytes at a multiple of that, actual "
              + size
              + " at "
              + Hex.of(at));
    }
  }

  // ---- waiting ----

  /**
   * Waits for the accesses to some frames that are under way now; not for later ones. Idles by the
   * strategy of the host. Allowed inside callbacks.
   *
   * @param pfns the frames, of which entries have been taken away
   * @param count how many of them count, from the first on
   * @throws IndexOutOfBoundsException if there are not so many
   * @throws InterruptedException if the thread is interrupted, or must not wait, before they have
   *     ended; they stay announced. For a callback {@link #interrupted} has the answer
   */
  public void await(int[] pfns, int count) throws InterruptedException {
    Objects.checkFromIndexSize(0, count, pfns.length);
    Accesses.UnderWay underWay = accesses.underWay();
    if (underWay != null) {
      concern(underWay, pfns, count);
      underWay.await(host.idle);
    }
  }

  /**
   * What a callback answers when {@link #await} has thrown. If the thread was interrupted, sets its
   * interrupt status again. If it only must not wait, since it tries a pending conversion, leaves
   * the status as it is; the conversion is tried again later.
   *
   * @param e what was thrown
   * @return {@link Errno#EINTR}
   */
  public static Errno interrupted(InterruptedException e) {
    return Refusals.ended(Objects.requireNonNull(e, "e"));
  }

  /**
   * As {@link #await}, for callers that cannot give up. An interrupt is kept for later.
   *
   * @param pfns the frames
   * @param count how many of them count
   * @throws IndexOutOfBoundsException if there are not so many
   */
  public void awaitUninterruptibly(int[] pfns, int count) {
    Objects.checkFromIndexSize(0, count, pfns.length);
    Accesses.UnderWay underWay = accesses.underWay();
    if (underWay != null) {
      concern(underWay, pfns, count);
      underWay.awaitUninterruptibly(host.idle);
    }
  }

  private static void concern(Accesses.UnderWay underWay, int[] pfns, int count) {
    for (int i = 0; i < count; i++) {
      underWay.include(pfns[i]);
    }
  }
}
