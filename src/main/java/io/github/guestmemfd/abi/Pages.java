package io.github.guestmemfd.abi;

/** The arithmetic of pages of 4096 bytes. */
public final class Pages {
  /** The binary logarithm of {@link #SIZE}; the kernel's {@code PAGE_SHIFT}. */
  public static final int SHIFT = 12;

  /** Bytes of a page; the kernel's {@code PAGE_SIZE}. */
  public static final int SIZE = 1 << SHIFT;

  /** The bits of an offset within its page: {@link #SIZE} - 1. */
  public static final int OFFSET_MASK = SIZE - 1;

  private Pages() {}

  /**
   * The page that an offset is in; the kernel's {@code PFN_DOWN}.
   *
   * @param offset bytes from the start of a file or mapping
   * @return the number of whole pages before the offset
   */
  public static long index(long offset) {
    return offset >> SHIFT;
  }

  /**
   * Where a page starts.
   *
   * @param index pages from the start of a file or mapping; also a number of pages
   * @return the offset, or the length, in bytes
   */
  public static long bytes(long index) {
    return index << SHIFT;
  }

  /**
   * Whether an offset, or a length, is a multiple of {@link #SIZE}.
   *
   * @param bytes the offset or length
   * @return the answer
   */
  public static boolean isAligned(long bytes) {
    return (bytes & OFFSET_MASK) == 0;
  }
}
