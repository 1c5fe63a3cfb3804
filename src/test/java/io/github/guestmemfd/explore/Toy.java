package io.github.guestmemfd.explore;

import io.github.guestmemfd.spi.Announce;
import java.util.Arrays;

/** Words of a toy program; each access is announced. */
final class Toy {
  private final long[] words;

  Toy(int words) {
    this.words = new long[words];
  }

  long read(int i) {
    Announce.read(words, i);
    return words[i];
  }

  void write(int i, long value) {
    Announce.write(words, i);
    words[i] = value;
  }

  boolean compareAndSet(int i, long expected, long value) {
    Announce.write(words, i);
    if (words[i] != expected) {
      return false;
    }
    words[i] = value;
    return true;
  }

  /** Adds in one step. */
  void add(int i, long delta) {
    Announce.write(words, i);
    words[i] += delta;
  }

  /** All words, unannounced. */
  String state() {
    return Arrays.toString(words);
  }
}
