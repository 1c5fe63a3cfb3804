package io.github.guestmemfd;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.file.Host;
import io.github.guestmemfd.memory.FrameContents;
import java.nio.ByteBuffer;

/**
 * The direct map of the host kernel: every frame by its number, whatever file it belongs to, unless
 * it has been taken out ({@link CreateFlag#NO_DIRECT_MAP}).
 *
 * <p>An access happens wholly before the frame is taken out, or fails. In the kernel it would be an
 * oops; here it is EFAULT.
 */
public final class DirectMap {
  private final Host host;

  DirectMap(Host host) {
    this.host = host;
  }

  /**
   * Whether a frame can be reached.
   *
   * @param pfn the frame, as {@link Folio#pfn} names it
   * @return false if it is free or has been taken out
   * @throws IndexOutOfBoundsException if the host has no such frame
   */
  public boolean contains(int pfn) {
    return host.frames.isDirectMapped(host.checked(pfn));
  }

  /**
   * Reads bytes of a frame.
   *
   * @param pfn the frame
   * @param at the first byte, from the start of the frame
   * @param into takes as many bytes as it has remaining
   * @throws GuestMemfdException EFAULT if the frame is not in the direct map
   * @throws IndexOutOfBoundsException if the bytes are not all in the frame
   */
  public void read(int pfn, int at, ByteBuffer into) {
    FrameContents contents = host.bytes();
    requireInFrame(pfn, at, into.remaining());
    long access = begin(pfn);
    try {
      into.put(contents.view(pfn).position(at).limit(at + into.remaining()));
    } finally {
      host.frames.accesses.end(access);
    }
  }

  /**
   * Writes bytes of a frame.
   *
   * @param pfn the frame
   * @param at the first byte, from the start of the frame
   * @param from gives as many bytes as it has remaining
   * @throws GuestMemfdException EFAULT if the frame is not in the direct map
   * @throws IndexOutOfBoundsException if the bytes are not all in the frame
   */
  public void write(int pfn, int at, ByteBuffer from) {
    FrameContents contents = host.bytes();
    requireInFrame(pfn, at, from.remaining());
    long access = begin(pfn);
    try {
      contents.view(pfn).position(at).put(from);
    } finally {
      host.frames.accesses.end(access);
    }
  }

  private long begin(int pfn) {
    long access = host.frames.beginDirectAccess(host.checked(pfn));
    if (access == 0) {
      throw new GuestMemfdException(
          Errno.EFAULT,
          "frame " + pfn + ": expected one in the direct map, actual taken out of it");
    }
    return access;
  }

  private static void requireInFrame(int pfn, int at, int bytes) {
    if (at < 0 || at > Pages.SIZE - bytes) {
      throw new IndexOutOfBoundsException(
          "frame "
              + pfn
              + ": expected offset 0x0 or more, and an end up to 0x1000, actual "
              + bytes
              + " bytes at "
              + Hex.of(at));
    }
  }
}
