package io.github.guestmemfd;

/** What {@link HostMapping#madvise} is asked for: the kernel's MADV_ values. */
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
  FREE
}
