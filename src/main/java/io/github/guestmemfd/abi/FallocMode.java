package io.github.guestmemfd.abi;

import java.util.Objects;

/** The modes of {@code fallocate}: the kernel's {@code FALLOC_FL_} bits. */
public enum FallocMode {
  /** The size stays. Alone it allocates. */
  KEEP_SIZE(0x01),
  /** Punches a hole, with {@link #KEEP_SIZE}. */
  PUNCH_HOLE(0x02),
  /** Refused. */
  NO_HIDE_STALE(0x04),
  /** Refused. */
  COLLAPSE_RANGE(0x08),
  /** Refused. */
  ZERO_RANGE(0x10),
  /** Refused. */
  INSERT_RANGE(0x20),
  /** Refused. */
  UNSHARE_RANGE(0x40),
  /** Refused. */
  WRITE_ZEROES(0x80);

  private static final BitNames NAMES = new BitNames();

  static {
    for (FallocMode mode : values()) {
      NAMES.add(mode.bit, mode.name());
    }
  }

  private final int bit;

  FallocMode(int bit) {
    this.bit = bit;
  }

  /**
   * The mode's bit.
   *
   * @return a power of two
   */
  public int bit() {
    return bit;
  }

  /**
   * Whether the mode is among some bits.
   *
   * @param bits the bits of modes
   * @return the answer
   */
  public boolean isIn(int bits) {
    return (bits & bit) != 0;
  }

  /**
   * The bits of some modes, as {@code fallocate} takes them.
   *
   * @param modes the modes
   * @return their bits
   */
  public static int bits(FallocMode... modes) {
    int bits = 0;
    for (FallocMode mode : Objects.requireNonNull(modes, "modes")) {
      bits |= Objects.requireNonNull(mode, "modes").bit;
    }
    return bits;
  }

  /**
   * Whether any file of Linux takes a mode; {@code vfs_fallocate} refuses every other one before it
   * asks the file.
   *
   * @param bits the bits of modes
   * @return the answer
   */
  public static boolean isKnown(int bits) {
    int operation = bits & ~KEEP_SIZE.bit;
    if (operation == 0) {
      return true;
    }
    for (FallocMode mode : values()) {
      if (mode.bit == operation) {
        return mode.isKnown(KEEP_SIZE.isIn(bits));
      }
    }
    return false;
  }

  /** Whether any file takes this mode alone, or with {@link #KEEP_SIZE}. */
  private boolean isKnown(boolean withKeepSize) {
    return switch (this) {
      case KEEP_SIZE, UNSHARE_RANGE, ZERO_RANGE -> true;
      case PUNCH_HOLE -> withKeepSize;
      case COLLAPSE_RANGE, INSERT_RANGE, WRITE_ZEROES -> !withKeepSize;
      case NO_HIDE_STALE -> false;
    };
  }

  /**
   * Bits by name, for messages.
   *
   * @param bits any bits
   * @return such as {@code KEEP_SIZE|PUNCH_HOLE|0x100}
   */
  public static String names(int bits) {
    return NAMES.of(Integer.toUnsignedLong(bits));
  }
}
