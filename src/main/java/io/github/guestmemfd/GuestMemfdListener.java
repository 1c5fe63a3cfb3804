package io.github.guestmemfd;

import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FileCall;
import io.github.guestmemfd.abi.FileStat;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.MapType;
import io.github.guestmemfd.abi.MemoryPolicy;
import io.github.guestmemfd.abi.Protection;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A listener that is told the calls of a program on a file, and their results, to record them.
 * Given at creation ({@link GuestMemfd.Builder#listener}); a file without one pays nothing for
 * this. Every method does nothing unless it is implemented.
 *
 * <p>The listener is called on the thread that made the call, which then holds nothing of the
 * library's, unless it is inside a callback of {@link GuestMemfdOps}. A call that gives something
 * back (close, munmap, release) is told before it takes effect, so that what other threads do
 * because of that is told later; every other call when it is over. So a program of one thread is
 * told in order; calls of several threads that overlap come in the order in which they ended.
 *
 * <p>{@code failure} is what is thrown to the caller, or null. An implementation must be safe for
 * use by many threads, must not throw, and must not call what it is told of, but for questions that
 * are not told: {@link GuestMemfd#isOpen}, {@link HostReference#buffer(int)}.
 */
public interface GuestMemfdListener {

  /**
   * A file was created, or was not.
   *
   * @param memfd its first descriptor, if it was
   * @param size the size asked for
   * @param flags the flag bits asked for, also unknown ones
   * @param failure why not
   */
  default void created(
      @Nullable GuestMemfd memfd, long size, long flags, @Nullable RuntimeException failure) {}

  /**
   * {@link GuestMemfd#stat}.
   *
   * @param memfd the descriptor
   * @param stat the answer, if there was one
   * @param failure why not
   */
  default void stat(
      GuestMemfd memfd, @Nullable FileStat stat, @Nullable RuntimeException failure) {}

  /**
   * {@link GuestMemfd#dup}, or a {@link GuestMemfd#reopen} that answered.
   *
   * @param memfd the descriptor, perhaps closed
   * @param dup the new one, if there is one
   * @param failure why not
   */
  default void dup(
      GuestMemfd memfd, @Nullable GuestMemfd dup, @Nullable RuntimeException failure) {}

  /**
   * {@link GuestMemfd#fallocate}, and the methods that are short for it.
   *
   * @param memfd the descriptor
   * @param mode what to do
   * @param offset the start in bytes
   * @param length the length in bytes
   * @param failure why it was not done
   */
  default void fallocate(
      GuestMemfd memfd, int mode, long offset, long length, @Nullable RuntimeException failure) {}

  /**
   * {@link GuestMemfd#ftruncate}, which always fails.
   *
   * @param memfd the descriptor
   * @param length the size asked for
   * @param failure why it was not done
   */
  default void ftruncate(GuestMemfd memfd, long length, RuntimeException failure) {}

  /**
   * {@link GuestMemfd#cachedPages}.
   *
   * @param memfd the descriptor
   * @param pages the answer, if there was one
   * @param failure why not
   */
  default void cachedPages(GuestMemfd memfd, long pages, @Nullable RuntimeException failure) {}

  /**
   * {@link GuestMemfd#isAccessible}.
   *
   * @param memfd the descriptor
   * @param offset any byte of the page
   * @param accessible the answer, if there was one
   * @param failure why not
   */
  default void isAccessible(
      GuestMemfd memfd, long offset, boolean accessible, @Nullable RuntimeException failure) {}

  /**
   * A conversion, in any form; one that was left pending is told when it is completed, not when it
   * is undone.
   *
   * @param memfd the descriptor
   * @param inaccessible to what
   * @param offset the start in bytes
   * @param length the length in bytes
   * @param errno how it ended; null if a callback threw
   * @param busyOffset the folio in the way, or -1
   */
  default void convert(
      GuestMemfd memfd,
      boolean inaccessible,
      long offset,
      long length,
      @Nullable Errno errno,
      long busyOffset) {}

  /**
   * A conversion was left pending.
   *
   * @param memfd the descriptor
   * @param offset the start in bytes
   * @param length the length in bytes
   */
  default void pending(GuestMemfd memfd, long offset, long length) {}

  /**
   * {@link GuestMemfd#grab} or {@link GuestMemfd#tryGrab}.
   *
   * @param memfd the descriptor
   * @param offset any byte of the page
   * @param kind the kind of the reference
   * @param errno OK, or why not
   */
  default void grab(GuestMemfd memfd, long offset, HolderKind kind, Errno errno) {}

  /**
   * {@link GuestMemfd#call}.
   *
   * @param memfd the descriptor
   * @param call the call
   * @param answer what it answered
   */
  default void call(GuestMemfd memfd, FileCall call, Errno answer) {}

  /**
   * {@link GuestMemfd#close} of an open descriptor, about to begin.
   *
   * @param memfd the descriptor
   */
  default void close(GuestMemfd memfd) {}

  /**
   * {@link GuestMemfd#mmap}.
   *
   * @param memfd the descriptor
   * @param mapping the mapping, if there is one
   * @param offset the start in bytes
   * @param length the length in bytes
   * @param type shared or private
   * @param protection what for
   * @param failure why not
   */
  default void mmap(
      GuestMemfd memfd,
      @Nullable HostMapping mapping,
      long offset,
      long length,
      MapType type,
      List<Protection> protection,
      @Nullable RuntimeException failure) {}

  /**
   * Bytes were read through a mapping, by any method.
   *
   * @param mapping the mapping
   * @param offset the first byte
   * @param bytes what was read, at least one byte
   */
  default void load(HostMapping mapping, long offset, byte[] bytes) {}

  /**
   * Bytes were written through a mapping, by any method.
   *
   * @param mapping the mapping
   * @param offset the first byte
   * @param bytes what was written, at least one byte
   */
  default void store(HostMapping mapping, long offset, byte[] bytes) {}

  /**
   * A page was mapped for writing, and nothing written: a compare-and-set that met another number,
   * or a number over two pages of which the second one failed.
   *
   * @param mapping the mapping
   * @param offset any byte of the page
   */
  default void touch(HostMapping mapping, long offset) {}

  /**
   * An access through a mapping failed.
   *
   * @param mapping the mapping
   * @param write whether it was a write
   * @param offset the byte at which it failed
   * @param failure what was thrown
   */
  default void fault(HostMapping mapping, boolean write, long offset, RuntimeException failure) {}

  /**
   * {@link HostMapping#madvise}.
   *
   * @param mapping the mapping
   * @param offset the start in bytes
   * @param length the length in bytes
   * @param advice what to do
   * @param failure why it was not done
   */
  default void madvise(
      HostMapping mapping,
      long offset,
      long length,
      Advice advice,
      @Nullable RuntimeException failure) {}

  /**
   * {@link HostMapping#munmap} of a part.
   *
   * @param mapping the mapping
   * @param offset the start in bytes
   * @param length the length in bytes
   * @param failure why it was not done
   */
  default void munmap(
      HostMapping mapping, long offset, long length, @Nullable RuntimeException failure) {}

  /**
   * {@link HostMapping#mprotect}.
   *
   * @param mapping the mapping
   * @param offset the start in bytes
   * @param length the length in bytes
   * @param protection what for
   * @param failure why it was not done
   */
  default void mprotect(
      HostMapping mapping,
      long offset,
      long length,
      List<Protection> protection,
      @Nullable RuntimeException failure) {}

  /**
   * {@link HostMapping#mbind}.
   *
   * @param mapping the mapping
   * @param offset the start in bytes
   * @param length the length in bytes
   * @param policy the policy
   * @param failure why it was not set
   */
  default void mbind(
      HostMapping mapping,
      long offset,
      long length,
      MemoryPolicy policy,
      @Nullable RuntimeException failure) {}

  /**
   * {@link HostMapping#getMempolicy}.
   *
   * @param mapping the mapping
   * @param offset a byte of the page
   * @param policy the policy
   * @param failure why there is none
   */
  default void getMempolicy(
      HostMapping mapping,
      long offset,
      @Nullable MemoryPolicy policy,
      @Nullable RuntimeException failure) {}

  /**
   * {@link HostMapping#mremap}.
   *
   * @param mapping the mapping
   * @param moved the moved part, if it was moved
   * @param offset the start in bytes
   * @param oldLength the old length in bytes
   * @param newLength the new length in bytes
   * @param failure why not
   */
  default void mremap(
      HostMapping mapping,
      @Nullable HostMapping moved,
      long offset,
      long oldLength,
      long newLength,
      @Nullable RuntimeException failure) {}

  /**
   * {@link HostMapping#close} of a mapping that is mapped, about to begin.
   *
   * @param mapping the mapping
   */
  default void munmap(HostMapping mapping) {}

  /**
   * {@link AddressSpace#fork} of a process in which the file is mapped.
   *
   * @param parent the process
   * @param child the new process
   */
  default void fork(AddressSpace parent, AddressSpace child) {}

  /**
   * {@link AddressSpace#close} of a process in which the file is mapped, about to begin.
   *
   * @param process the process
   */
  default void exit(AddressSpace process) {}

  /**
   * {@link HostMapping#getUserPages} or {@link HostMapping#pin}.
   *
   * @param mapping the mapping
   * @param reference the reference, if there is one
   * @param offset the start in bytes
   * @param length the length in bytes
   * @param pinned whether it was to be pinned
   * @param failure why not
   */
  default void reference(
      HostMapping mapping,
      @Nullable HostReference reference,
      long offset,
      long length,
      boolean pinned,
      @Nullable RuntimeException failure) {}

  /**
   * {@link HostReference#close}, about to begin: the bytes can still be read.
   *
   * @param reference the reference
   */
  default void release(HostReference reference) {}
}
