package io.github.guestmemfd;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.file.FileOperations;
import java.nio.ByteBuffer;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** Calls that put content into pages of a file: their arguments, and their errors in order. */
final class Filling extends RangeCall {
  Filling(FileOperations file, boolean closed, String call, long offset, long length) {
    super(file, closed, call, offset, length);
  }

  /** See {@link GuestMemfd#write}. */
  int write(ByteBuffer from) {
    if (closed) {
      throw refused(Errno.EBADF, "the descriptor is closed");
    }
    if (!CreateFlag.WRITE.isIn(file.inode.flags)) {
      throw refused(Errno.ENODEV, "expected a file created with WRITE");
    }
    if (length == 0) {
      return 0;
    }
    return (int) done(file.fill.write(checkedPage(), length >> Pages.SHIFT, from));
  }

  /** See {@link GuestMemfd#populate}. */
  long populate(@Nullable ByteBuffer source, PopulateHook hook) {
    Objects.requireNonNull(hook, "hook");
    if (closed) {
      throw refused(Errno.EBADF, "the descriptor is closed");
    }
    long first = checkedPage();
    if (source != null && source.remaining() < length) {
      throw new IllegalArgumentException(
          "populate: expected " + length + " bytes of content, actual " + source.remaining());
    }
    return done(
        file.fill.populate(
            first,
            length >> Pages.SHIFT,
            source,
            (index, pfn) -> {
              Folio folio = new Folio(file, index, pfn, null);
              try {
                return hook.populated(folio);
              } finally {
                folio.expire();
              }
            }));
  }

  /** The first page of a range that is in the file. */
  private long checkedPage() {
    String wrong = wrong();
    if (wrong != null) {
      throw refused(Errno.EINVAL, wrong);
    }
    return offset >> Pages.SHIFT;
  }

  private long done(long result) {
    if (result < 0) {
      throw refusedByFile(Errno.ofResult((int) result));
    }
    return result << Pages.SHIFT;
  }
}
