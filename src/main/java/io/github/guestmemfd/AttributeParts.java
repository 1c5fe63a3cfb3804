package io.github.guestmemfd;

import io.github.guestmemfd.abi.AttributeRange;
import java.util.ArrayList;
import java.util.List;
import java.util.function.LongBinaryOperator;

/** The attributes of a range of a file, as parts of one attribute each. */
final class AttributeParts {
  private AttributeParts() {}

  /**
   * Finds the parts.
   *
   * @param accessibleFrom the first accessible page of a range, by its start and length; its end if
   *     there is none
   * @param inaccessibleFrom the same of inaccessible pages
   */
  static List<AttributeRange> of(
      long offset,
      long length,
      LongBinaryOperator accessibleFrom,
      LongBinaryOperator inaccessibleFrom) {
    List<AttributeRange> parts = new ArrayList<>();
    long end = offset + length;
    boolean accessible = accessibleFrom.applyAsLong(offset, length) == offset;
    for (long from = offset, to; from < end; from = to, accessible = !accessible) {
      to =
          accessible
              ? inaccessibleFrom.applyAsLong(from, end - from)
              : accessibleFrom.applyAsLong(from, end - from);
      int last = parts.size() - 1;
      if (to == from) { // a conversion came in between
        continue;
      }
      if (last >= 0 && parts.get(last).accessible() == accessible) {
        long start = parts.get(last).offset();
        parts.set(last, new AttributeRange(start, to - start, accessible));
      } else {
        parts.add(new AttributeRange(from, to - from, accessible));
      }
    }
    return List.copyOf(parts);
  }
}
