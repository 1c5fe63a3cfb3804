package io.github.guestmemfd.memory;

import io.github.guestmemfd.spi.Announce;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;

/**
 * Elements of arrays of longs that threads share. Each access is announced as a {@link Announce
 * step}; the names and the memory ordering are those of {@link VarHandle}.
 */
public final class SharedLongs {
  private static final VarHandle ELEMENTS = MethodHandles.arrayElementVarHandle(long[].class);

  private SharedLongs() {}

  /**
   * Reads with volatile semantics.
   *
   * @param words the array
   * @param at the element
   * @return its value
   */
  public static long getVolatile(long[] words, int at) {
    Announce.read(words, at);
    return (long) ELEMENTS.getVolatile(words, at);
  }

  /** Reads with opaque semantics. */
  static long getOpaque(long[] words, int at) {
    Announce.read(words, at);
    return (long) ELEMENTS.getOpaque(words, at);
  }

  /**
   * Writes with release semantics.
   *
   * @param words the array
   * @param at the element
   * @param word its new value
   */
  public static void setRelease(long[] words, int at, long word) {
    Announce.write(words, at);
    ELEMENTS.setRelease(words, at, word);
  }

  /** Writes with volatile semantics. */
  static void setVolatile(long[] words, int at, long word) {
    Announce.write(words, at);
    ELEMENTS.setVolatile(words, at, word);
  }

  /**
   * Replaces a value, with volatile semantics.
   *
   * @param words the array
   * @param at the element
   * @param expected the value to replace
   * @param word the new one
   * @return false if the value was another
   */
  public static boolean compareAndSet(long[] words, int at, long expected, long word) {
    Announce.write(words, at);
    return ELEMENTS.compareAndSet(words, at, expected, word);
  }

  /** Adds, with volatile semantics; returns the value before. */
  static long getAndAdd(long[] words, int at, long delta) {
    Announce.write(words, at);
    return (long) ELEMENTS.getAndAdd(words, at, delta);
  }

  /** Sets bits, with volatile semantics; returns the value before. */
  static long getAndBitwiseOr(long[] words, int at, long bits) {
    Announce.write(words, at);
    return (long) ELEMENTS.getAndBitwiseOr(words, at, bits);
  }

  /** Clears the bits that a mask lacks, with volatile semantics; returns the value before. */
  static long getAndBitwiseAnd(long[] words, int at, long mask) {
    Announce.write(words, at);
    return (long) ELEMENTS.getAndBitwiseAnd(words, at, mask);
  }
}
