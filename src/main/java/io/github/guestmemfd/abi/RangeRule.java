package io.github.guestmemfd.abi;

import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * The rules for a range of whole pages. Where a range is refused, the first rule that it breaks
 * says why; checking makes no text.
 */
public enum RangeRule {
  /** Start and length are multiples of 4096. */
  ALIGNED,
  /** The start is not negative. */
  START,
  /** The length is positive. */
  LENGTH,
  /** The end is not past the limit. */
  END;

  /**
   * The first rule that a range breaks.
   *
   * @param start where it starts
   * @param length how long it is
   * @param limit where it must end at the latest, 0 or more
   * @return the rule, or null if the range keeps all of them
   */
  public static @Nullable RangeRule broken(long start, long length, long limit) {
    if (!Pages.isAligned(start | length)) {
      return ALIGNED;
    }
    if (start < 0) {
      return START;
    }
    if (length <= 0) {
      return LENGTH;
    }
    return start > limit - length ? END : null;
  }

  /**
   * What was expected of a range that breaks this rule, and what it is.
   *
   * @param startName what its start is called
   * @param lengthName what its length is called
   * @param start where it starts
   * @param length how long it is
   * @param limit where it must end at the latest
   * @return the text
   */
  public String text(String startName, String lengthName, long start, long length, long limit) {
    Objects.requireNonNull(startName, "startName");
    Objects.requireNonNull(lengthName, "lengthName");
    return switch (this) {
      case ALIGNED ->
          "expected multiples of 4096, actual %s %s and %s %d"
              .formatted(startName, Hex.of(start), lengthName, length);
      case START ->
          "expected %s 0x0 to %s, actual %s"
              .formatted(startName, Hex.of(Long.MAX_VALUE), Hex.of(start));
      case LENGTH -> "expected a %s above 0, actual %d".formatted(lengthName, length);
      case END ->
          "expected an end up to %s, actual %s".formatted(Hex.of(limit), Hex.of(start + length));
    };
  }
}
