package io.github.guestmemfd;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.FallocMode;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.abi.RangeRule;
import io.github.guestmemfd.file.FileOperations;
import io.github.guestmemfd.file.Mismatch;
import io.github.guestmemfd.file.Refusals;
import java.util.Arrays;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** A call of {@code fallocate}: what it does by its mode, and its errors in order. */
final class Fallocate {
  /** What a guest_memfd does, by the bits of {@link FallocMode} that ask for it. */
  enum Operation {
    /** Allocates the folios of a range. */
    ALLOCATE(FallocMode.KEEP_SIZE),
    /** Takes the folios of a range out of the file. */
    PUNCH(FallocMode.KEEP_SIZE, FallocMode.PUNCH_HOLE);

    /** The bits, all of them. */
    final int mode;

    Operation(FallocMode... modes) {
      this.mode = FallocMode.bits(modes);
    }

    /** The operation that a mode asks for; null if this file has none. */
    static @Nullable Operation of(int mode) {
      for (Operation operation : values()) {
        if (operation.mode == mode) {
          return operation;
        }
      }
      return null;
    }
  }

  private final FileOperations file;
  private final int mode;
  private final long offset;
  private final long length;

  Fallocate(FileOperations file, int mode, long offset, long length) {
    this.file = file;
    this.mode = mode;
    this.offset = offset;
    this.length = length;
  }

  /** See {@link GuestMemfd#fallocate}. */
  void run() {
    Operation operation = check();
    Mismatch busy = new Mismatch();
    long from = offset >> Pages.SHIFT;
    long to = from + (length >> Pages.SHIFT);
    Errno errno =
        switch (operation) {
          case ALLOCATE -> file.allocation.allocate(from, to);
          case PUNCH -> file.truncation.punch(from, to, busy);
        };
    if (errno != Errno.OK) {
      throw busy.isAny()
          ? refused(errno, "busy folio at " + busy)
          : file.inode.refused(errno, toString());
    }
  }

  private Operation check() {
    if (offset < 0 || length <= 0) {
      RangeRule broken = offset < 0 ? RangeRule.START : RangeRule.LENGTH;
      throw broken(Errno.EINVAL, broken, Long.MAX_VALUE);
    }
    if (!FallocMode.isKnown(mode)) {
      throw noSuchMode();
    }
    if (offset + length < 0) {
      throw broken(Errno.EFBIG, RangeRule.END, Long.MAX_VALUE);
    }
    Operation operation = Operation.of(mode);
    if (operation == null) {
      throw noSuchMode();
    }
    long limit = limit(operation);
    RangeRule broken = RangeRule.broken(offset, length, limit);
    if (broken != null) {
      throw broken(Errno.EINVAL, broken, limit);
    }
    return operation;
  }

  /** Where the range of an operation must end, in bytes. */
  private long limit(Operation operation) {
    return switch (operation) {
      case ALLOCATE -> file.inode.size;
      case PUNCH -> Long.MAX_VALUE; // what is past the end of the file is cut off
    };
  }

  private GuestMemfdException broken(Errno errno, RangeRule rule, long limit) {
    return refused(errno, rule.text("offset", "length", offset, length, limit));
  }

  private GuestMemfdException noSuchMode() {
    String expected =
        Arrays.stream(Operation.values())
            .map(operation -> FallocMode.names(operation.mode))
            .collect(Collectors.joining(" or "));
    return refused(Errno.EOPNOTSUPP, "expected " + expected + ", actual " + FallocMode.names(mode));
  }

  private GuestMemfdException refused(Errno errno, String why) {
    return Refusals.exception(errno, this + ": " + why);
  }

  @Override
  public String toString() {
    return "fallocate " + FallocMode.names(mode) + Hex.range(offset, length) + " of " + file.inode;
  }
}
