package io.github.guestmemfd;

import io.github.guestmemfd.abi.AttributeRange;
import java.util.ArrayList;
import java.util.List;

/** The attributes of a range of a file, as parts of one attribute each. */
final class AttributeParts {
  private AttributeParts() {}

  /** See {@link GuestMemfd#attributes}. */
  static List<AttributeRange> of(GuestMemfd memfd, long offset, long length) {
    List<AttributeRange> parts = new ArrayList<>();
    long end = offset + length;
    boolean accessible = memfd.firstAccessible(offset, length) == offset;
    for (long from = offset, to; from < end; from = to, accessible = !accessible) {
      to =
          accessible
              ? memfd.firstInaccessible(from, end - from)
              : memfd.firstAccessible(from, end - from);
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
