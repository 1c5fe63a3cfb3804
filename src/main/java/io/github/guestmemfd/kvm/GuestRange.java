package io.github.guestmemfd.kvm;

import io.github.guestmemfd.abi.RangeRule;
import org.jspecify.annotations.Nullable;

/** The rule for a range of guest addresses: whole pages, below 2^52. */
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
}
