package io.github.guestmemfd.file;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Reads and writes a little-endian number of 1, 2, 4 or 8 bytes in a buffer, in a given mode. */
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

  static boolean compareAndSet(ByteBuffer buffer, int at, int width, long expected, long value) {
    return width == 4
        ? INT.compareAndSet(buffer, at, (int) expected, (int) value)
        : LONG.compareAndSet(buffer, at, expected, value);
  }

  static long getAndAdd(ByteBuffer buffer, int at, long delta) {
    return (long) LONG.getAndAdd(buffer, at, delta);
  }
}
