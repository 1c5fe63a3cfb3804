package io.github.guestmemfd.abi;

import java.util.Objects;

/** How a guest_memfd is created. */
public enum CreateFlag {
  /** The host may map the file ({@code GUEST_MEMFD_FLAG_MMAP}). */
  MMAP(1),
  /** Every page starts accessible, not inaccessible ({@code GUEST_MEMFD_FLAG_INIT_SHARED}). */
  INIT_SHARED(2),
  /**
   * Folios are taken out of the host's direct map. Which ones is a matter of the kernel, and no
   * released one has it. By default those that are inaccessible: they come back when they become
   * accessible or are freed, as in the mail thread of 2024. With {@link
   * FileTrait#ZAP_BEFORE_MAPPING} all that have been used, until they are freed, as in the series
   * of 2026.
   */
  NO_DIRECT_MAP(1L << 32),
  /**
   * The file can be written ({@link io.github.guestmemfd.GuestMemfd#write}, {@code
   * GUEST_MEMFD_FLAG_WRITE}). It comes from a series of November 2025; no released kernel has it.
   */
  WRITE(1L << 33);

  /** The bits that a caller of the kernel may set: those of {@link #MMAP}, {@link #INIT_SHARED}. */
  public static final long KERNEL_BITS = 3;

  private static final BitNames NAMES = new BitNames();

  static {
    for (CreateFlag flag : values()) {
      NAMES.add(flag.bit, flag.name());
    }
  }

  private final long bit;

  CreateFlag(long bit) {
    this.bit = bit;
  }

  /**
   * The flag's bit in {@code kvm_create_guest_memfd.flags}.
   *
   * @return a power of two; above 2^31 for a flag that the kernel does not have
   */
  public long bit() {
    return bit;
  }

  /**
   * Whether the flag is among some bits.
   *
   * @param bits the bits of flags
   * @return the answer
   */
  public boolean isIn(long bits) {
    return (bits & bit) != 0;
  }

  /**
   * The bits of some flags.
   *
   * @param flags the flags
   * @return their bits
   */
  public static long bits(CreateFlag... flags) {
    long bits = 0;
    for (CreateFlag flag : Objects.requireNonNull(flags, "flags")) {
      bits |= Objects.requireNonNull(flag, "flags").bit;
    }
    return bits;
  }

  /**
   * Bits by name, for messages.
   *
   * @param bits any bits
   * @return such as {@code MMAP|INIT_SHARED|0x8}
   */
  public static String names(long bits) {
    return NAMES.of(bits);
  }
}
