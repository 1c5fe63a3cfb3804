package io.github.guestmemfd.testing;

import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Pages;

/**
 * Where a file's pages are in the guest: a memslot, as {@link GuestMemfdOpsContract} asks a client
 * to have it.
 *
 * @param guestAddress the guest physical address of its first byte, a multiple of 4096
 * @param offset where its first byte is in the file, a multiple of 4096
 * @param length its length in bytes, a positive multiple of 4096
 */
public record GuestSlot(long guestAddress, long offset, long length) {

  /**
   * Checks the numbers.
   *
   * @param guestAddress the guest physical address of its first byte
   * @param offset where its first byte is in the file
   * @param length its length in bytes
   * @throws IllegalArgumentException if one is negative or no multiple of 4096, the length is 0, or
   *     an end is past 2^63 - 1
   */
  public GuestSlot {
    boolean whole = ((guestAddress | offset | length) & (Pages.SIZE - 1)) == 0;
    long room = Long.MAX_VALUE - length;
    boolean fits = length > 0 && guestAddress >= 0 && offset >= 0;
    if (!whole || !fits || guestAddress > room || offset > room) {
      throw new IllegalArgumentException(
          "expected pages at addresses and offsets below 2^63, actual guest address "
              + Hex.of(guestAddress)
              + ", offset "
              + Hex.of(offset)
              + " and length "
              + length);
    }
  }

  /**
   * The guest physical address of a byte of the file.
   *
   * @param fileOffset where it is in the file
   * @return its address
   * @throws IllegalArgumentException if it is not in this slot
   */
  public long addressOf(long fileOffset) {
    long at = fileOffset - offset;
    if (at < 0 || at >= length) {
      throw new IllegalArgumentException(
          "expected an offset of " + this + ", actual " + Hex.of(fileOffset));
    }
    return guestAddress + at;
  }

  /** The slot in words. */
  @Override
  public String toString() {
    return "GuestSlot[guestAddress="
        + Hex.of(guestAddress)
        + ", offset="
        + Hex.of(offset)
        + ", length="
        + length
        + "]";
  }
}
