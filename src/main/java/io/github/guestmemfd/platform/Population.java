package io.github.guestmemfd.platform;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.RangeRule;
import java.nio.ByteBuffer;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * The loop of a population, {@code kvm_gmem_populate}: page by page, until all is done, a page is
 * refused, or the thread is interrupted. What is done stays done.
 */
final class Population {
  private static final int PAGE = HostMemory.PAGE_SIZE;

  /** What a platform does with one page. */
  @FunctionalInterface
  interface Step {
    /**
     * Populates a page.
     *
     * @param offset where the page is
     * @param source its content, one page; null if there is none
     * @return OK, or why not
     */
    Errno populate(long offset, @Nullable ByteBuffer source);
  }

  private Population() {}

  /** What is wrong with the arguments; OK if nothing. */
  static Errno check(GuestMemfd memfd, long offset, long length, @Nullable ByteBuffer source) {
    Objects.requireNonNull(memfd, "memfd");
    if (GuestMemfd.isInsideCallback()) {
      return Errno.EDEADLK;
    }
    if (!memfd.isOpen()) {
      return Errno.EBADF;
    }
    boolean whole = RangeRule.broken(offset, length, memfd.size()) == null;
    return whole && (source == null || source.remaining() >= length) ? Errno.OK : Errno.EINVAL;
  }

  /** Populates a range that has been checked. The source is moved by what has been done. */
  static Populated run(long offset, long length, @Nullable ByteBuffer source, Step step) {
    long done = 0;
    Errno cause = Errno.OK;
    while (done < length && cause == Errno.OK) {
      ByteBuffer content = source == null ? null : source.slice(source.position(), PAGE);
      cause =
          Thread.currentThread().isInterrupted()
              ? Errno.EINTR
              : step.populate(offset + done, content);
      if (cause == Errno.OK) {
        done += PAGE;
        if (source != null) {
          source.position(source.position() + PAGE);
        }
      }
    }
    return new Populated(done, done > 0 ? Errno.OK : cause, cause);
  }
}
