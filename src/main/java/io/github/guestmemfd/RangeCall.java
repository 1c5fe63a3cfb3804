package io.github.guestmemfd;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.RangeRule;
import io.github.guestmemfd.file.FileOperations;
import io.github.guestmemfd.file.Refusals;
import org.jspecify.annotations.Nullable;

/** A call on a range of a file, by a descriptor that is closed or not. */
abstract class RangeCall {
  final FileOperations file;
  final boolean closed;
  final long offset;
  final long length;
  private final String call;

  RangeCall(FileOperations file, boolean closed, String call, long offset, long length) {
    this.file = file;
    this.closed = closed;
    this.call = call;
    this.offset = offset;
    this.length = length;
  }

  /** What is wrong with the range; null if it is one of whole pages in the file. */
  final @Nullable String wrong() {
    RangeRule broken = RangeRule.broken(offset, length, file.inode.size);
    return broken == null ? null : broken.text("offset", "length", offset, length, file.inode.size);
  }

  final GuestMemfdException refused(Errno errno, String why) {
    return Refusals.exception(errno, what() + ": " + why);
  }

  /** The exception for a refusal of which the file knows the reason. */
  final GuestMemfdException refusedByFile(Errno errno) {
    return refusedByFile(errno, null);
  }

  /** As {@link #refusedByFile(Errno)}, of an errno that may mean something to this call alone. */
  final GuestMemfdException refusedByFile(Errno errno, @Nullable String own) {
    return Refusals.refused(errno, what(), file.inode.host, own);
  }

  private String what() {
    return call + Hex.range(offset, length) + " of " + file.inode;
  }
}
