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

/** A call of {@code fallocate}: its modes, and its errors in order. */
final class Fallocate {
  static final int ALLOCATE = FallocMode.bits(FallocMode.KEEP_SIZE);

  static final int PUNCH = FallocMode.bits(FallocMode.KEEP_SIZE, FallocMode.PUNCH_HOLE);

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
    check();
    Mismatch busy = new Mismatch();
    long from = offset >> Pages.SHIFT;
    long to = from + (length >> Pages.SHIFT);
    Errno errno =
        FallocMode.PUNCH_HOLE.isIn(mode)
            ? file.truncation.punch(from, to, busy)
            : file.allocation.allocate(from, to);
    if (errno != Errno.OK) {
      throw busy.isAny()
          ? refused(errno, "busy folio at " + busy)
          : file.inode.refused(errno, toString());
    }
  }

  private void check() {
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
    boolean punch = FallocMode.PUNCH_HOLE.isIn(mode);
    if (mode != ALLOCATE && !punch) {
      throw noSuchMode();
    }
    long limit = punch ? Long.MAX_VALUE : file.inode.size;
    RangeRule broken = RangeRule.broken(offset, length, limit);
    if (broken != null) {
      throw broken(Errno.EINVAL, broken, limit);
    }
  }

  private GuestMemfdException broken(Errno errno, RangeRule rule, long limit) {
    return refused(errno, rule.text("offset", "length", offset, length, limit));
  }

  private GuestMemfdException noSuchMode() {
    return refused(
        Errno.EOPNOTSUPP,
        "expected "
            + FallocMode.names(ALLOCATE)
            + " or "
            + FallocMode.names(PUNCH)
            + ", actual "
            + FallocMode.names(mode));
  }

  private GuestMemfdException refused(Errno errno, String why) {
    return Refusals.exception(errno, this + ": " + why);
  }

  @Override
  public String toString() {
    return "fallocate " + FallocMode.names(mode) + Hex.range(offset, length) + " of " + file.inode;
  }
}
