package io.github.guestmemfd.abi;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Objects;

/**
 * The argument of {@code KVM_SET_MEMORY_ATTRIBUTES2}: {@code struct kvm_memory_attributes2}, over
 * its bytes.
 *
 * <pre>
 *  0        8      16           24      32             40             128
 * +--------+------+------------+-------+--------------+----------------+
 * | offset | size | attributes | flags | error_offset | reserved[11]   |
 * +--------+------+------------+-------+--------------+----------------+
 * </pre>
 *
 * <p>All are unsigned 64-bit numbers, little-endian. Of a call on a file the first is an offset in
 * it; the kernel has it in a union with {@code address}. Not safe for use by several threads.
 */
public final class MemoryAttributes2 {
  /** Bytes of the structure. */
  public static final int SIZE = 128;

  /** How many numbers are reserved. */
  public static final int RESERVED = 11;

  /** The pages are the guest's alone: {@code KVM_MEMORY_ATTRIBUTE_PRIVATE}. */
  public static final long PRIVATE = 1L << 3;

  private static final int OFFSET_AT = 0;
  private static final int SIZE_AT = 8;
  private static final int ATTRIBUTES_AT = 16;
  private static final int FLAGS_AT = 24;
  private static final int ERROR_OFFSET_AT = 32;
  private static final int RESERVED_AT = 40;

  private final ByteBuffer bytes;

  private MemoryAttributes2(ByteBuffer bytes) {
    this.bytes = bytes.order(ByteOrder.LITTLE_ENDIAN);
  }

  /** Makes a structure of zeroes. */
  public MemoryAttributes2() {
    this(ByteBuffer.allocate(SIZE));
  }

  /**
   * Makes a structure for a range.
   *
   * @param offset where it starts in the file, in bytes
   * @param size its length in bytes
   * @param attributes {@link #PRIVATE}, or 0 for shared
   */
  public MemoryAttributes2(long offset, long size, long attributes) {
    this();
    offset(offset).size(size).attributes(attributes);
  }

  /**
   * Shows bytes as a structure, which follows them. If they cannot be written, the call fails with
   * EFAULT where it would write.
   *
   * @param bytes {@link #SIZE} bytes from their position on; the buffer itself is not changed
   * @return the structure
   * @throws IllegalArgumentException if there are fewer bytes
   */
  public static MemoryAttributes2 of(ByteBuffer bytes) {
    if (Objects.requireNonNull(bytes, "bytes").remaining() < SIZE) {
      throw new IllegalArgumentException(
          "struct kvm_memory_attributes2: expected "
              + SIZE
              + " bytes, actual "
              + bytes.remaining());
    }
    return new MemoryAttributes2(bytes.slice(bytes.position(), SIZE));
  }

  /**
   * A structure with the same numbers, and bytes of its own that can be written: what the kernel
   * has of it during a call.
   *
   * @return the copy
   */
  public MemoryAttributes2 copy() {
    ByteBuffer copied = ByteBuffer.allocate(SIZE);
    copied.put(0, bytes, 0, SIZE);
    return new MemoryAttributes2(copied);
  }

  /**
   * Takes all numbers of another.
   *
   * @param other the other
   * @return this
   */
  public MemoryAttributes2 assign(MemoryAttributes2 other) {
    bytes.put(0, Objects.requireNonNull(other, "other").bytes, 0, SIZE);
    return this;
  }

  /**
   * Whether the call can write to it.
   *
   * @return false for bytes of a read-only buffer
   */
  public boolean isWritable() {
    return !bytes.isReadOnly();
  }

  /**
   * Where the range starts.
   *
   * @return bytes from the start of the file, unsigned
   */
  public long offset() {
    return bytes.getLong(OFFSET_AT);
  }

  /**
   * Sets where the range starts.
   *
   * @param offset bytes from the start of the file, unsigned
   * @return this
   */
  public MemoryAttributes2 offset(long offset) {
    return set(OFFSET_AT, offset);
  }

  /**
   * How long the range is.
   *
   * @return bytes, unsigned
   */
  public long size() {
    return bytes.getLong(SIZE_AT);
  }

  /**
   * Sets how long the range is.
   *
   * @param size bytes, unsigned
   * @return this
   */
  public MemoryAttributes2 size(long size) {
    return set(SIZE_AT, size);
  }

  /**
   * The attributes that the pages are to have.
   *
   * @return {@link #PRIVATE}, or 0 for shared; other bits are refused
   */
  public long attributes() {
    return bytes.getLong(ATTRIBUTES_AT);
  }

  /**
   * Sets the attributes that the pages are to have.
   *
   * @param attributes {@link #PRIVATE}, or 0 for shared
   * @return this
   */
  public MemoryAttributes2 attributes(long attributes) {
    return set(ATTRIBUTES_AT, attributes);
  }

  /**
   * The flags.
   *
   * @return 0; anything else is refused
   */
  public long flags() {
    return bytes.getLong(FLAGS_AT);
  }

  /**
   * Sets the flags.
   *
   * @param flags 0; anything else is refused
   * @return this
   */
  public MemoryAttributes2 flags(long flags) {
    return set(FLAGS_AT, flags);
  }

  /**
   * Where the conversion failed; written by the call, and only if the conversion itself fails.
   *
   * @return the offset of the first page in the way, in bytes; the start of the range if it failed
   *     for another reason
   */
  public long errorOffset() {
    return bytes.getLong(ERROR_OFFSET_AT);
  }

  /**
   * Sets what stands there before the call.
   *
   * @param errorOffset any number
   * @return this
   */
  public MemoryAttributes2 errorOffset(long errorOffset) {
    return set(ERROR_OFFSET_AT, errorOffset);
  }

  /**
   * A reserved number.
   *
   * @param index 0 to {@link #RESERVED} - 1
   * @return 0; anything else is refused
   * @throws IndexOutOfBoundsException if there is no such number
   */
  public long reserved(int index) {
    return bytes.getLong(reservedAt(index));
  }

  /**
   * Sets a reserved number.
   *
   * @param index 0 to {@link #RESERVED} - 1
   * @param value 0; anything else is refused
   * @return this
   * @throws IndexOutOfBoundsException if there is no such number
   */
  public MemoryAttributes2 reserved(int index, long value) {
    return set(reservedAt(index), value);
  }

  private static int reservedAt(int index) {
    return RESERVED_AT + Long.BYTES * Objects.checkIndex(index, RESERVED);
  }

  private MemoryAttributes2 set(int at, long number) {
    bytes.putLong(at, number);
    return this;
  }

  /** The numbers, without the reserved ones. */
  @Override
  public String toString() {
    return "MemoryAttributes2[offset="
        + Hex.of(offset())
        + ", size="
        + Long.toUnsignedString(size())
        + ", attributes="
        + Hex.of(attributes())
        + ", flags="
        + Hex.of(flags())
        + ", errorOffset="
        + Hex.of(errorOffset())
        + "]";
  }
}
