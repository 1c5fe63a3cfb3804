package io.github.guestmemfd.abi;

/**
 * Which of the guest's mappings of a range an invalidation takes away: the kernel's {@code
 * kvm_gfn_range_filter}.
 */
public enum InvalidationFilter {
  /** Those of shared pages: they turn private. */
  SHARED,
  /** Those of private pages: they turn shared. */
  PRIVATE,
  /** All: the pages leave the file, or their memory has failed. */
  BOTH;

  /**
   * The filter of a conversion: a page that changes is mapped as what it was, if at all.
   *
   * @param inaccessible whether pages turn private, not shared
   * @return what they have been
   */
  public static InvalidationFilter ofConversion(boolean inaccessible) {
    return inaccessible ? SHARED : PRIVATE;
  }
}
