package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;

/** The callbacks of the client of a file, by offset and frame number. */
public interface FileClient {
  /**
   * The pages of a range are about to change.
   *
   * @param offset the start in bytes
   * @param length the length in bytes
   * @return OK, or why not
   */
  Errno invalidateBegin(long offset, long length);

  /**
   * The change is over.
   *
   * @param offset the start in bytes
   * @param length the length in bytes
   */
  void invalidateEnd(long offset, long length);

  /**
   * A folio is to be made ready for its use.
   *
   * @param index its page
   * @param pfn its frame
   * @param inaccessible whether the guest alone is to use it
   * @return OK, or why not
   */
  Errno prepare(long index, int pfn, boolean inaccessible);

  /**
   * A folio has no holder left.
   *
   * @param pfn its frame
   */
  void freeFolio(int pfn);

  /** The file ends. */
  void release();
}
