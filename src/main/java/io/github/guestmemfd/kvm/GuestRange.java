package io.github.guestmemfd.kvm;

import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.abi.RangeRule;
import org.jspecify.annotations.Nullable;

/** The rules for a range of guest addresses: whole pages, below 2^52 where memory can be. */
final class GuestRange {
  /** One past the largest guest physical address. */
  static final long LIMIT = 1L << 52;

  private GuestRange() {}

  static boolean isWrong(long gpa, long size) {
    return RangeRule.broken(gpa, size, LIMIT) != null;
  }

  /** What is wrong with a range, as text; null if nothing. */
  static @Nullable String wrong(long gpa, long size) {
    RangeRule broken = RangeRule.broken(gpa, size, LIMIT);
    return broken == null ? null : broken.text("gpa", "size", gpa, size, LIMIT);
  }

  /**
   * What is wrong with a range of unsigned numbers that need not be memory, in the kernel's order;
   * null if nothing.
   */
  static @Nullable String wrongUnsigned(long gpa, long size) {
    if (size == 0) {
      return "expected a size above 0, actual 0";
    }
    if (Long.compareUnsigned(gpa + size, gpa) < 0) {
      return "expected an end below 2^64, actual gpa "
          + Hex.of(gpa)
          + " and size "
          + Long.toUnsignedString(size);
    }
    return Pages.isAligned(gpa | size)
        ? null
        : "expected multiples of 4096, actual gpa "
            + Hex.of(gpa)
            + " and size "
            + Long.toUnsignedString(size);
  }
}
