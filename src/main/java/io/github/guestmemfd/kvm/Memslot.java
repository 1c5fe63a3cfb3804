package io.github.guestmemfd.kvm;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Hex;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * A range of guest addresses and the memory behind it: a range of user addresses, a range of a
 * guest_memfd, or both. It is what {@link VirtualMachine#setUserMemoryRegion2(Memslot)} is asked
 * for ({@code struct kvm_userspace_memory_region2}), where its numbers may be any, and what a
 * virtual machine then has.
 *
 * @param slot its number
 * @param flags the {@linkplain MemslotFlag#bits bits} of its flags
 * @param gpa the first guest physical address, unsigned; a multiple of 4096
 * @param size the size in bytes, unsigned; a multiple of 4096. 0 asks for the memslot to be deleted
 * @param userAddress the user address of the first byte, for example that of a {@link HostRam}; a
 *     multiple of 4096. Nothing need be there. Pages that are not the file's are there
 * @param memfd a descriptor of the file, which may be closed by now: the slot holds its file
 *     weakly, and reaches it by {@link #openFile}. Null for a memslot without a file; ignored
 *     without {@link MemslotFlag#GUEST_MEMFD}
 * @param offset where the range starts in the file, in bytes; ignored without that flag
 */
public record Memslot(
    int slot,
    int flags,
    long gpa,
    long size,
    long userAddress,
    @Nullable GuestMemfd memfd,
    long offset) {

  /**
   * Describes a memslot that has a range of a file and no user address.
   *
   * @param slot as above
   * @param gpa as above
   * @param size as above
   * @param memfd as above
   * @param offset as above
   */
  public Memslot(int slot, long gpa, long size, GuestMemfd memfd, long offset) {
    this(
        slot,
        MemslotFlag.GUEST_MEMFD.bit(),
        gpa,
        size,
        0,
        Objects.requireNonNull(memfd, "memfd"),
        offset);
  }

  /**
   * Whether it has a flag.
   *
   * @param flag the flag
   * @return the answer
   */
  public boolean has(MemslotFlag flag) {
    return flag.isIn(flags);
  }

  /**
   * Opens the file behind the slot.
   *
   * @return a descriptor of the file, to be closed; nothing if the slot has no file, or the file is
   *     gone
   */
  public Optional<GuestMemfd> openFile() {
    return memfd == null ? Optional.empty() : memfd.reopen();
  }

  /**
   * Returns the offset in the file of a guest address.
   *
   * @param address a guest physical address in the slot
   * @return the offset in bytes
   * @throws IllegalArgumentException if the address is not in the slot
   */
  public long offsetOf(long address) {
    if (!contains(address)) {
      throw outside("guest address", gpa, address);
    }
    return offset + (address - gpa);
  }

  /**
   * Returns the guest address of an offset in the file.
   *
   * @param fileOffset an offset in bytes, in the slot's part of the file
   * @return the guest physical address
   * @throws IllegalArgumentException if the offset is not in that part
   */
  public long gpaOf(long fileOffset) {
    if (Long.compareUnsigned(fileOffset - offset, size) >= 0) {
      throw outside("offset", offset, fileOffset);
    }
    return gpa + (fileOffset - offset);
  }

  /**
   * Returns whether a guest address is in the slot.
   *
   * @param address a guest physical address
   * @return true if it is
   */
  public boolean contains(long address) {
    return Long.compareUnsigned(address - gpa, size) < 0;
  }

  @Override
  public String toString() {
    String text = "Memslot[slot=%d, gpa=%s, size=%d".formatted(slot, Hex.of(gpa), size);
    if ((flags & ~MemslotFlag.GUEST_MEMFD.bit()) != 0) {
      text += ", flags=" + MemslotFlag.names(flags);
    }
    if (userAddress != 0) {
      text += ", user address=" + Hex.of(userAddress);
    }
    return text + (memfd == null ? "]" : ", offset=" + Hex.of(offset) + " of " + memfd + "]");
  }

  private IllegalArgumentException outside(String what, long from, long actual) {
    return new IllegalArgumentException(
        "memslot %d: expected %s %s to %s, actual %s"
            .formatted(slot, what, Hex.of(from), Hex.of(from + size - 1), Hex.of(actual)));
  }

  /** The same without what is ignored. */
  Memslot withoutIgnored() {
    return has(MemslotFlag.GUEST_MEMFD)
        ? this
        : new Memslot(slot, flags, gpa, size, userAddress, null, 0);
  }

  /** Why {@link #openFile} has answered nothing. */
  String whyNoFile() {
    return memfd == null ? this + " has no file" : "the file of " + this + " is gone";
  }

  boolean overlapsGuest(long otherGpa, long otherSize) {
    return overlap(gpa, size, otherGpa, otherSize);
  }

  boolean overlapsFile(GuestMemfd other, long otherOffset, long otherSize) {
    return memfd != null
        && memfd.sameOpenFile(other)
        && overlap(offset, size, otherOffset, otherSize);
  }

  /** Whether a file is behind it. */
  boolean isOf(@Nullable GuestMemfd other) {
    return memfd != null && other != null && memfd.sameFile(other);
  }

  /** Whether two ranges of unsigned numbers overlap; neither wraps. */
  private static boolean overlap(long a, long sizeA, long b, long sizeB) {
    return Long.compareUnsigned(a, b + sizeB) < 0 && Long.compareUnsigned(b, a + sizeA) < 0;
  }
}
