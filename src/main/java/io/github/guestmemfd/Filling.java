package io.github.guestmemfd;

import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.file.FileOperations;
import java.nio.ByteBuffer;
import java.util.Objects;
import java.util.function.Function;
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
    return (int)
        done(
            file.fill.write(checkedPage(), length >> Pages.SHIFT, from),
            errno -> errno == Errno.EEXIST ? "the page is out of the direct map" : null);
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
            }),
        Filling::whyNotPopulated);
  }

  private static @Nullable String whyNotPopulated(Errno errno) {
    return switch (errno) {
      case EEXIST -> "the page has been used";
      case EINVAL -> "the page is accessible";
      case EOPNOTSUPP -> "its folios are out of the direct map from their first use on";
      default -> null;
    };
  }

  /** The first page of a range that is in the file. */
  private long checkedPage() {
    String wrong = wrong();
    if (wrong != null) {
      throw refused(Errno.EINVAL, wrong);
    }
    return offset >> Pages.SHIFT;
  }

  private long done(long result, Function<Errno, @Nullable String> why) {
    if (result < 0) {
      Errno errno = Errno.ofResult((int) result);
      throw refusedByFile(errno, why.apply(errno));
    }
    return result << Pages.SHIFT;
  }
}
