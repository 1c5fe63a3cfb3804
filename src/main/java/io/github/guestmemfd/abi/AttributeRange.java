package io.github.guestmemfd.abi;

/**
 * A part of a file whose pages are alike.
 *
 * @param offset where it starts, in bytes, a multiple of 4096
 * @param length its length in bytes, a positive multiple of 4096
 * @param accessible whether the host may touch it; not while a conversion of it is pending
 */
public record AttributeRange(long offset, long length, boolean accessible) {
  @Override
  public String toString() {
    return "AttributeRange[offset=%s, length=%d, accessible=%s]"
        .formatted(Hex.of(offset), length, accessible);
  }
}
