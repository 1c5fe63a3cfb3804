package io.github.guestmemfd.file;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * Little-endian numbers in a buffer: of 1, 2, 4 or 8 bytes in a given mode, of 1 to 8 bytes without
 * one.
 */
public final class Bytes {
  private static final VarHandle SHORT =
      MethodHandles.byteBufferViewVarHandle(short[].class, ByteOrder.LITTLE_ENDIAN);
  private static final VarHandle INT =
      MethodHandles.byteBufferViewVarHandle(int[].class, ByteOrder.LITTLE_ENDIAN);
  private static final VarHandle LONG =
      MethodHandles.byteBufferViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);

  /** Plain, at any address. */
  public static final int PLAIN = 0;

  /** Acquire for a read, release for a write; aligned. */
  public static final int ORDERED = 1;

  /** Volatile; aligned. */
  public static final int VOLATILE = 2;

  private Bytes() {}

  static long get(ByteBuffer buffer, int at, int width, int mode) {
    return switch (width) {
      case 1 -> buffer.get(at);
      case 2 ->
          mode == PLAIN
              ? (short) SHORT.get(buffer, at)
              : mode == ORDERED
                  ? (short) SHORT.getAcquire(buffer, at)
                  : (short) SHORT.getVolatile(buffer, at);
      case 4 ->
          mode == PLAIN
              ? (int) INT.get(buffer, at)
              : mode == ORDERED
                  ? (int) INT.getAcquire(buffer, at)
                  : (int) INT.getVolatile(buffer, at);
      default ->
          mode == PLAIN
              ? (long) LONG.get(buffer, at)
              : mode == ORDERED
                  ? (long) LONG.getAcquire(buffer, at)
                  : (long) LONG.getVolatile(buffer, at);
    };
  }

  static void put(ByteBuffer buffer, int at, int width, int mode, long value) {
    switch (width) {
      case 1 -> buffer.put(at, (byte) value);
      case 2 -> {
        if (mode == PLAIN) {
          SHORT.set(buffer, at, (short) value);
        } else if (mode == ORDERED) {
          SHORT.setRelease(buffer, at, (short) value);
        } else {
          SHORT.setVolatile(buffer, at, (short) value);
        }
      }
      case 4 -> {
        if (mode == PLAIN) {
          INT.set(buffer, at, (int) value);
        } else if (mode == ORDERED) {
          INT.setRelease(buffer, at, (int) value);
        } else {
          INT.setVolatile(buffer, at, (int) value);
        }
      }
      default -> {
        if (mode == PLAIN) {
          LONG.set(buffer, at, value);
        } else if (mode == ORDERED) {
          LONG.setRelease(buffer, at, value);
        } else {
          LONG.setVolatile(buffer, at, value);
        }
      }
    }
  }

  /**
   * Replaces a number if it is as expected, with volatile semantics; aligned.
   *
   * @param buffer the buffer
   * @param at where in the buffer
   * @param width 4 or 8
   * @param expected the old number, of which the low bytes count
   * @param value the new number, of which the low bytes count
   * @return the number that was there, sign-extended
   */
  public static long compareAndExchange(
      ByteBuffer buffer, int at, int width, long expected, long value) {
    return width == 4
        ? (int) INT.compareAndExchange(buffer, at, (int) expected, (int) value)
        : (long) LONG.compareAndExchange(buffer, at, expected, value);
  }

  /**
   * Adds to a number, with volatile semantics; aligned.
   *
   * @param buffer the buffer
   * @param at where in the buffer
   * @param width 4 or 8
   * @param delta what to add, of which the low bytes count
   * @return the number that was there, sign-extended
   */
  public static long getAndAdd(ByteBuffer buffer, int at, int width, long delta) {
    return width == 4
        ? (int) INT.getAndAdd(buffer, at, (int) delta)
        : (long) LONG.getAndAdd(buffer, at, delta);
  }

  /**
   * Reads a number of any size, plain.
   *
   * @param buffer the buffer
   * @param at where in the buffer
   * @param size 1 to 8
   * @return the number, its bytes above the size 0
   */
  public static long getUnsigned(ByteBuffer buffer, int at, int size) {
    if (Integer.bitCount(size) == 1) {
      return low(get(buffer, at, size, PLAIN), size);
    }
    long number = 0;
    for (int i = size - 1; i >= 0; i--) {
      number = number << Byte.SIZE | (buffer.get(at + i) & 0xffL);
    }
    return number;
  }

  /**
   * Writes a number of any size, plain.
   *
   * @param buffer the buffer
   * @param at where in the buffer
   * @param size 1 to 8
   * @param number the number, of which the low bytes count
   */
  public static void putLow(ByteBuffer buffer, int at, int size, long number) {
    if (Integer.bitCount(size) == 1) {
      put(buffer, at, size, PLAIN, number);
      return;
    }
    for (int i = 0; i < size; i++) {
      buffer.put(at + i, (byte) (number >>> (Byte.SIZE * i)));
    }
  }

  /**
   * The low bytes of a number.
   *
   * @param number the number
   * @param size 1 to 8
   * @return the number, its bytes above the size 0
   */
  public static long low(long number, int size) {
    return number & (-1L >>> (Long.SIZE - Byte.SIZE * size));
  }
}
