package io.github.guestmemfd.abi;

import java.util.SortedMap;
import java.util.StringJoiner;
import java.util.TreeMap;

/** The names of bits, for messages. */
final class BitNames {
  private final SortedMap<Long, String> names = new TreeMap<>();

  void add(long bit, String name) {
    names.put(bit, name);
  }

  /**
   * The bits of a number by name.
   *
   * @return the names in ascending order of their bits, and then the bits that have none; "none" if
   *     no bit is set
   */
  String of(long bits) {
    StringJoiner text = new StringJoiner("|").setEmptyValue("none");
    long rest = bits;
    for (var bit : names.entrySet()) {
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
