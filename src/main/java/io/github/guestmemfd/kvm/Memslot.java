package io.github.guestmemfd.kvm;

import io.github.guestmemfd.GuestMemfd;
import java.util.Objects;

/**
 * A range of guest addresses backed by a range of a guest_memfd.
 *
 * @param slot its number
 * @param gpa the first guest physical address, a multiple of 4096
 * @param size the size in bytes, a multiple of 4096
 * @param memfd a descriptor of the file, which may be closed by now: the slot holds its file
 *     weakly, and gets at it by {@link GuestMemfd#reopen}
 * @param offset where the range starts in the file, in bytes
 */
public record Memslot(int slot, long gpa, long size, GuestMemfd memfd, long offset) {
  /**
   * Takes the values as they are.
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

  boolean overlapsGuest(long otherGpa, long otherSize) {
    return overlap(gpa, size, otherGpa, otherSize);
  }

  boolean overlapsFile(GuestMemfd other, long otherOffset, long otherSize) {
    return memfd.sameFile(other) && overlap(offset, size, otherOffset, otherSize);
  }

  /** Whether two ranges of unsigned numbers meet; neither wraps. */
  private static boolean overlap(long a, long sizeA, long b, long sizeB) {
    return Long.compareUnsigned(a, b + sizeB) < 0 && Long.compareUnsigned(b, a + sizeA) < 0;
  }
}
