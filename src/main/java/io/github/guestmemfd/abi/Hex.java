package io.github.guestmemfd.abi;

/**
 * How the library's messages write numbers.
 *
 * <ul>
 *   <li>Addresses, offsets and bits are hexadecimal, by {@link #of}.
 *   <li>Sizes and lengths in bytes, counts, and the numbers of frames, files, memslots and vCPUs
 *       are decimal.
 *   <li>Flags and modes are written by name.
 * </ul>
 */
public final class Hex {
  private Hex() {}

  /**
   * An address, an offset, or bits.
   *
   * @param number the number, unsigned
   * @return as {@code 0x1000}
   */
  public static String of(long number) {
    return "0x" + Long.toHexString(number);
  }

  /**
   * A range.
   *
   * @param offset where it starts
   * @param length its length in bytes
   * @return as {@code [offset=0x1000, length=4096]}, with a space before it
   */
  public static String range(long offset, long length) {
    return " [offset=" + of(offset) + ", length=" + length + "]";
  }
}
