package io.github.guestmemfd.kvm;

import io.github.guestmemfd.abi.Hex;
import java.util.Objects;
import java.util.StringJoiner;

/** How a memslot is to be used: the {@code KVM_MEM_} flags. */
public enum MemslotFlag {
  /**
   * The pages that the guest writes are recorded ({@code KVM_MEM_LOG_DIRTY_PAGES}); see {@link
   * VirtualMachine#getDirtyLog}. Refused together with {@link #GUEST_MEMFD}.
   */
  LOG_DIRTY_PAGES(1),
  /**
   * The guest may read the memory; a write exits for MMIO ({@code KVM_MEM_READONLY}). Refused
   * together with {@link #GUEST_MEMFD}, and by machines whose {@linkplain VmType type} hides the
   * state of its vCPUs.
   */
  READONLY(2),
  /** A range of a guest_memfd is bound to the memslot ({@code KVM_MEM_GUEST_MEMFD}). */
  GUEST_MEMFD(4),
  /**
   * Accesses exit where user space has said so ({@code KVM_MEM_USERFAULT}). No released kernel has
   * it, and so it is always refused.
   */
  USERFAULT(8);

  private final int bit;

  MemslotFlag(int bit) {
    this.bit = bit;
  }

  /**
   * The flag's bit in {@code kvm_userspace_memory_region2.flags}.
   *
   * @return a power of two
   */
  public int bit() {
    return bit;
  }

  /**
   * Whether the flag is among some bits.
   *
   * @param bits the bits of flags
   * @return the answer
   */
  public boolean isIn(int bits) {
    return (bits & bit) != 0;
  }

  /**
   * The bits of some flags.
   *
   * @param flags the flags
   * @return their bits
   */
  public static int bits(MemslotFlag... flags) {
    int bits = 0;
    for (MemslotFlag flag : Objects.requireNonNull(flags, "flags")) {
      bits |= Objects.requireNonNull(flag, "flags").bit;
    }
    return bits;
  }

  /**
   * Bits by name, for messages.
   *
   * @param bits any bits
   * @return such as {@code READONLY|0x10}; "none" if no bit is set
   */
  public static String names(int bits) {
    StringJoiner text = new StringJoiner("|").setEmptyValue("none");
    int rest = bits;
    for (MemslotFlag flag : values()) {
      if (flag.isIn(bits)) {
        text.add(flag.name());
        rest &= ~flag.bit;
      }
    }
    if (rest != 0) {
      text.add(Hex.of(rest & 0xffff_ffffL));
    }
    return text.toString();
  }
}
