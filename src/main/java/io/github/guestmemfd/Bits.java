package io.github.guestmemfd;

import io.github.guestmemfd.spi.Hex;
import java.util.SortedMap;
import java.util.StringJoiner;
import java.util.TreeMap;

/** Flags and modes by name, for messages. */
final class Bits {
  private static final SortedMap<Long, String> FLAGS = new TreeMap<>();

  private static final SortedMap<Long, String> MODES = new TreeMap<>();

  static {
    for (CreateFlag flag : CreateFlag.values()) {
      FLAGS.put(flag.bit, flag.name());
    }
    MODES.put((long) GuestMemfd.FALLOC_FL_KEEP_SIZE, "KEEP_SIZE");
    MODES.put((long) GuestMemfd.FALLOC_FL_PUNCH_HOLE, "PUNCH_HOLE");
    MODES.put((long) GuestMemfd.FALLOC_FL_NO_HIDE_STALE, "NO_HIDE_STALE");
    MODES.put((long) GuestMemfd.FALLOC_FL_COLLAPSE_RANGE, "COLLAPSE_RANGE");
    MODES.put((long) GuestMemfd.FALLOC_FL_ZERO_RANGE, "ZERO_RANGE");
    MODES.put((long) GuestMemfd.FALLOC_FL_INSERT_RANGE, "INSERT_RANGE");
    MODES.put((long) GuestMemfd.FALLOC_FL_UNSHARE_RANGE, "UNSHARE_RANGE");
    MODES.put((long) GuestMemfd.FALLOC_FL_WRITE_ZEROES, "WRITE_ZEROES");
  }

  private Bits() {}

  /** Flags of a file. */
  static String flags(long bits) {
    return names(bits, FLAGS);
  }

  /** A mode of fallocate. */
  static String mode(int bits) {
    return names(Integer.toUnsignedLong(bits), MODES);
  }

  private static String names(long bits, SortedMap<Long, String> known) {
    StringJoiner text = new StringJoiner("|").setEmptyValue("none");
    long rest = bits;
    for (var bit : known.entrySet()) {
      if ((bits & bit.getKey()) != 0) {
        text.add(bit.getValue());
        rest &= ~bit.getKey();
      }
    }
    if (rest != 0) {
      text.add(Hex.of(rest));
    }
    return text.toString();
  }
}
