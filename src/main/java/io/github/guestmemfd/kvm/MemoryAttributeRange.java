package io.github.guestmemfd.kvm;

import io.github.guestmemfd.abi.Hex;
import java.util.Objects;

/**
 * A range of guest addresses whose pages have one attribute.
 *
 * @param gpa the first guest physical address, a multiple of 4096
 * @param size the size in bytes, a positive multiple of 4096
 * @param attribute the attribute of the pages; {@code PRIVATE} while a conversion to that is
 *     pending
 */
public record MemoryAttributeRange(long gpa, long size, MemoryAttribute attribute) {
  /**
   * Creates a range.
   *
   * @param gpa as above
   * @param size as above
   * @param attribute as above
   */
  public MemoryAttributeRange {
    Objects.requireNonNull(attribute, "attribute");
  }

  @Override
  public String toString() {
    return "MemoryAttributeRange[gpa=%s, size=%d, attribute=%s]"
        .formatted(Hex.of(gpa), size, attribute);
  }
}
