package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Numbers of every width in a buffer: little-endian, and nothing beside them. */
class BytesTest {
  private static final long NUMBER = 0x8192a3b4c5d6e7f8L;
  private static final int[] MODES = {Bytes.PLAIN, Bytes.ORDERED, Bytes.VOLATILE};

  private final ByteBuffer buffer = ByteBuffer.allocateDirect(32).order(ByteOrder.LITTLE_ENDIAN);

  private void fill(int value) {
    for (int i = 0; i < buffer.capacity(); i++) {
      buffer.put(i, (byte) value);
    }
  }

  /** The low bytes of a number stand at 8, and the others are as they were. */
  private void assertWritten(int size, int beside) {
    for (int i = 0; i < buffer.capacity(); i++) {
      int in = i - 8;
      byte expected = in >= 0 && in < size ? (byte) (NUMBER >>> (8 * in)) : (byte) beside;
      assertEquals(expected, buffer.get(i), "byte " + in + " of " + size);
    }
  }

  private static long signed(int width) {
    return NUMBER << (64 - 8 * width) >> (64 - 8 * width);
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 4, 8})
  void numbersAreReadAndWrittenInEveryMode(int width) {
    for (int mode : MODES) {
      fill(0x11);
      Bytes.put(buffer, 8, width, mode, NUMBER);
      assertWritten(width, 0x11);
      assertEquals(signed(width), Bytes.get(buffer, 8, width, mode), "mode " + mode);
    }
  }

  @Test
  void plainNumbersNeedNotBeAligned() {
    for (int width : new int[] {2, 4, 8}) {
      Bytes.put(buffer, 13, width, Bytes.PLAIN, NUMBER);
      assertEquals(signed(width), Bytes.get(buffer, 13, width, Bytes.PLAIN));
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 4, 5, 6, 7, 8})
  void lowBytesOfANumber(int size) {
    fill(0xee);
    Bytes.putLow(buffer, 8, size, NUMBER);
    assertWritten(size, 0xee);
    long low = size == 8 ? NUMBER : NUMBER & ((1L << (8 * size)) - 1);
    assertEquals(low, Bytes.low(NUMBER, size));
    assertEquals(low, Bytes.getUnsigned(buffer, 8, size));
    int last = buffer.capacity() - size; // there is nothing behind
    Bytes.putLow(buffer, last, size, NUMBER);
    assertEquals(low, Bytes.getUnsigned(buffer, last, size));
  }

  @ParameterizedTest
  @ValueSource(ints = {4, 8})
  void numbersAreReplacedAndAddedTo(int width) {
    fill(0);
    assertEquals(0, Bytes.compareAndExchange(buffer, 8, width, 1, 2), "not as expected");
    assertEquals(0, Bytes.get(buffer, 8, width, Bytes.PLAIN));
    assertEquals(0, Bytes.compareAndExchange(buffer, 8, width, 0, -2));
    assertEquals(-2, Bytes.getAndAdd(buffer, 8, width, 5));
    assertEquals(3, Bytes.compareAndExchange(buffer, 8, width, 3, 7));
    assertEquals(7, Bytes.compareAndExchange(buffer, 8, width, 7, 3));
    assertEquals(3, Bytes.get(buffer, 8, 8, Bytes.PLAIN) & (-1L >>> (64 - 8 * width)));
    assertEquals(0, buffer.getLong(16));
  }
}
