package io.github.guestmemfd.testing;

import io.github.guestmemfd.abi.Hex;

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
        + Hex.of(length)
        + "]";
  }
}
