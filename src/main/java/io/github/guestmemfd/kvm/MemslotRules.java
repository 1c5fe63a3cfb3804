package io.github.guestmemfd.kvm;

import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.abi.Pages;
import org.jspecify.annotations.Nullable;

/**
 * What a memslot may be asked for, whatever memslots there are: the first checks of {@code
 * kvm_set_memory_region}, all of which answer EINVAL, and those of a change of a memslot.
 */
final class MemslotRules {
  private static final long MAX_SLOT_BYTES = 1L << 43;

  /** One past the largest user address of a process: page tables of four levels, less a page. */
  static final long USER_LIMIT = (1L << 47) - Pages.SIZE;

  private MemslotRules() {}

  /**
   * What is wrong with a request by itself.
   *
   * @param type the type of the machine; null for one that converts in place
   * @return the text; null if nothing is
   */
  static @Nullable String problem(Memslot wanted, @Nullable VmType type) {
    int unsupported = wanted.flags() & ~supportedFlags(wanted.flags(), type);
    if (unsupported != 0) {
      return "flags "
          + MemslotFlag.names(wanted.flags())
          + ": "
          + MemslotFlag.names(unsupported)
          + " is not supported"
          + (type == null ? "" : " by a machine of type " + type)
          + (wanted.has(MemslotFlag.GUEST_MEMFD) ? " with a guest_memfd" : "");
    }
    long gpa = wanted.gpa();
    long size = wanted.size();
    boolean hasFile = wanted.has(MemslotFlag.GUEST_MEMFD);
    long offset = hasFile ? wanted.offset() : 0;
    if (!Pages.isAligned(gpa | size | offset)) {
      return "expected multiples of 4096, actual gpa "
          + Hex.of(gpa)
          + " size "
          + Long.toUnsignedString(size)
          + " offset "
          + Hex.of(offset);
    }
    if (!isUserRange(wanted.userAddress(), size)) {
      return "expected a multiple of 4096 as user address, and an end of at most "
          + Hex.of(USER_LIMIT)
          + ", actual "
          + Hex.of(wanted.userAddress());
    }
    if (Long.compareUnsigned(offset + size, offset) < 0) {
      return wraps("offset", offset, size);
    }
    if (wanted.slot() < 0 || wanted.slot() >= VirtualMachine.USER_SLOTS) {
      return "expected a number of 0 to "
          + (VirtualMachine.USER_SLOTS - 1)
          + ", actual "
          + wanted.slot();
    }
    if (Long.compareUnsigned(gpa + size, gpa) < 0) {
      return wraps("gpa", gpa, size);
    }
    if (Long.compareUnsigned(size, MAX_SLOT_BYTES) >= 0) {
      return "expected a size below " + MAX_SLOT_BYTES + ", actual " + Long.toUnsignedString(size);
    }
    return null;
  }

  /** With a guest_memfd a memslot is neither logged nor read-only. */
  private static int supportedFlags(int wanted, @Nullable VmType type) {
    if (MemslotFlag.GUEST_MEMFD.isIn(wanted)) {
      return MemslotFlag.bits(MemslotFlag.GUEST_MEMFD);
    }
    return type == null || type.canHaveReadOnlyMemslots()
        ? MemslotFlag.bits(MemslotFlag.LOG_DIRTY_PAGES, MemslotFlag.READONLY)
        : MemslotFlag.bits(MemslotFlag.LOG_DIRTY_PAGES);
  }

  private static boolean isUserRange(long address, long size) {
    return Pages.isAligned(address)
        && Long.compareUnsigned(address + size, address) >= 0
        && Long.compareUnsigned(address + size, USER_LIMIT) <= 0;
  }

  private static String wraps(String what, long start, long size) {
    return "expected an end below 2^64, actual %s %s and size %s"
        .formatted(what, Hex.of(start), Long.toUnsignedString(size));
  }

  /** Why a memslot that exists cannot be made into what is wanted; null if it can. */
  static @Nullable String immutable(Memslot old, Memslot wanted) {
    boolean mayChange =
        !wanted.has(MemslotFlag.GUEST_MEMFD)
            && !old.has(MemslotFlag.GUEST_MEMFD)
            && old.userAddress() == wanted.userAddress()
            && old.size() == wanted.size()
            && old.has(MemslotFlag.READONLY) == wanted.has(MemslotFlag.READONLY);
    return mayChange
        ? null
        : "exists, and cannot be changed"
            + (old.has(MemslotFlag.GUEST_MEMFD)
                ? ""
                : " but for its guest address and LOG_DIRTY_PAGES")
            + ": "
            + old;
  }
}
