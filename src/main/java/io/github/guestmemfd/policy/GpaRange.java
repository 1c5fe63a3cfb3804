package io.github.guestmemfd.policy;

import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.RangeRule;

/**
 * A range of guest physical addresses, of whole pages.
 *
 * @param gpa the first address, a multiple of 4096
 * @param size the size in bytes, a positive multiple of 4096
 */
public record GpaRange(long gpa, long size) {

  /**
   * Creates a range.
   *
   * @param gpa the first address
   * @param size the size in bytes
   * @throws IllegalArgumentException if it is not one of whole pages from 0 to 2^63 - 1
   */
  public GpaRange {
    RangeRule broken = RangeRule.broken(gpa, size, Long.MAX_VALUE);
    if (broken != null) {
      throw new IllegalArgumentException(broken.text("gpa", "size", gpa, size, Long.MAX_VALUE));
    }
  }

  /**
   * Returns the end of this range.
   *
   * @return the address after the last
   */
  public long end() {
    return gpa + size;
  }

  /**
   * Returns whether this range contains all of another.
   *
   * @param other the other range
   * @return the answer
   */
  public boolean contains(GpaRange other) {
    return gpa <= other.gpa && other.end() <= end();
  }

  /**
   * Returns whether this and another range have a page in common.
   *
   * @param other the other range
   * @return the answer
   */
  public boolean overlaps(GpaRange other) {
    return gpa < other.end() && other.gpa < end();
  }

  @Override
  public String toString() {
    return "gpa " + Hex.of(gpa) + " size " + size;
  }
}
