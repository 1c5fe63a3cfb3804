package io.github.guestmemfd.spi;

/**
 * Called at every {@link RacePoint} that a thread of an instrumented host memory passes.
 *
 * <p>The hook runs on the thread that passes the point, which holds whatever the point says; it may
 * block there, be interrupted, or run other operations. If it throws, the operation that passes the
 * point fails with that, and leaves nothing behind, as if its step had failed; one that cannot be
 * given up, to close a file for instance, is carried to its end first. A host memory without a hook
 * pays one predictable branch for each point.
 */
@FunctionalInterface
public interface RaceHook {

  /**
   * A thread passes a point.
   *
   * @param point which step
   * @param index the page index concerned, in pages from the start of the file; the first one for a
   *     range; the page frame number where the point says so
   */
  void at(RacePoint point, long index);

  /**
   * The hook for the points of one file. The library asks once for each file, when it is created,
   * and a virtual machine once for each memslot, when it is bound. The hook that it gets is called
   * at the points that are passed on behalf of that file; this hook itself only at points without a
   * file. So a hook that is to tell files apart need not be told the file at each point.
   *
   * <p>Must not call the library.
   *
   * @param file an object that stands for the file, {@code GuestMemfd.fileKey()} of each of its
   *     descriptors
   * @return by default this: files are not told apart
   */
  default RaceHook ofFile(Object file) {
    return this;
  }
}
