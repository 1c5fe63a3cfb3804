package io.github.guestmemfd.file;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.InvalidationFilter;

/** The callbacks of the client of a file, by offset and frame number. */
public interface FileClient {
  /**
   * Whether it is to be called for single folios: {@link #prepare}, {@link #makePrivate}, {@link
   * #makeShared} and {@link #freeFolio}.
   *
   * @return the answer, always the same
   */
  default boolean takesFolios() {
    return true;
  }

  /**
   * The pages of a range are about to change.
   *
   * @param offset the start in bytes
   * @param length the length in bytes
   * @param filter what they are mapped as, if they are
   * @return OK, or why not
   */
  Errno invalidateBegin(long offset, long length, InvalidationFilter filter);

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
   * A folio that is inaccessible is to be mapped for the guest.
   *
   * @param index its page
   * @param pfn its frame
   * @return OK, or why not
   */
  Errno makePrivate(long index, int pfn);

  /**
   * A folio turns accessible.
   *
   * @param index its page
   * @param pfn its frame
   */
  void makeShared(long index, int pfn);

  /**
   * A folio has no holder left.
   *
   * @param pfn its frame
   */
  void freeFolio(int pfn);

  /** The file ends. */
  void release();
}
