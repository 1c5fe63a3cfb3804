package io.github.guestmemfd.abi;

/** What {@code madvise} is asked for: the kernel's MADV_ values. */
public enum Advice {
  /** Drops the page table entries; the folios and their content stay. */
  DONTNEED,
  /** Punches a hole into the file. */
  REMOVE,
  /** Maps every page as if it had been read. */
  POPULATE_READ,
  /** Maps every page as if it had been written. */
  POPULATE_WRITE,
  /** Lazy freeing; never granted on a file. */
  FREE,
  /**
   * Says that the range will not be used soon. Granted; nothing happens that a caller could see.
   */
  COLD,
  /**
   * Asks for the range to be written to swap. Granted; guest memory is not swapped, and it stays.
   */
  PAGEOUT,
  /** Says that huge pages are welcome. Granted; the folios stay as they are, a page each. */
  HUGEPAGE,
  /** Asks for huge pages at once; never granted on a guest_memfd. */
  COLLAPSE,
  /** A child does not inherit the range: in it nothing is mapped there. */
  DONTFORK,
  /** A child inherits the range again. */
  DOFORK,
  /** Asks for the range to be empty in a child; never granted on a file. */
  WIPEONFORK,
  /** Takes {@link #WIPEONFORK} back. Granted; there is nothing to take back. */
  KEEPONFORK
}
