package io.github.guestmemfd.kvm;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Hex;
import java.util.Objects;

/**
 * A range of guest addresses backed by a range of a guest_memfd.
 *
 * @param slot its number
 * @param gpa the first guest physical address, a multiple of 4096
 * @param size the size in bytes, a multiple of 4096
 * @param memfd a descriptor of the file, which may be closed by now: the slot holds its file
 *     weakly, and reaches it by {@link GuestMemfd#reopen}
 * @param offset where the range starts in the file, in bytes
 */
public record Memslot(int slot, long gpa, long size, GuestMemfd memfd, long offset) {
  /**
   * Creates the description of a memslot.
   *
   * @param slot as above
   * @param gpa as above
   * @param size as above
   * @param memfd as above
   * @param offset as above
   */
  public Memslot {
    Objects.requireNonNull(memfd, "memfd");
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
    return "Memslot[slot=%d, gpa=%s, size=%d, offset=%s of %s]"
        .formatted(slot, Hex.of(gpa), size, Hex.of(offset), memfd);
  }

  private IllegalArgumentException outside(String what, long from, long actual) {
    return new IllegalArgumentException(
        "memslot %d: expected %s %s to %s, actual %s"
            .formatted(slot, what, Hex.of(from), Hex.of(from + size - 1), Hex.of(actual)));
  }

  boolean overlapsGuest(long otherGpa, long otherSize) {
    return overlap(gpa, size, otherGpa, otherSize);
  }

  boolean overlapsFile(GuestMemfd other, long otherOffset, long otherSize) {
    return memfd.sameFile(other) && overlap(offset, size, otherOffset, otherSize);
  }

  /** Whether two ranges of unsigned numbers overlap; neither wraps. */
  private static boolean overlap(long a, long sizeA, long b, long sizeB) {
    return Long.compareUnsigned(a, b + sizeB) < 0 && Long.compareUnsigned(b, a + sizeA) < 0;
  }
}
