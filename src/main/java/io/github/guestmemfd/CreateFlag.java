package io.github.guestmemfd;

/** How a guest_memfd is created. */
public enum CreateFlag {
  /** The host may map the file ({@code GUEST_MEMFD_FLAG_MMAP}). */
  MMAP(1),
  /** Every page starts accessible, not inaccessible ({@code GUEST_MEMFD_FLAG_INIT_SHARED}). */
  INIT_SHARED(2),
  /**
   * Inaccessible folios are taken out of the host's direct map, and come back when they become
   * accessible or are freed. It comes from the mail thread; no released kernel has it.
   */
  NO_DIRECT_MAP(1L << 32);

  /** The flags that the kernel knows. */
  static final long KERNEL_MASK = 3;

  /** The bit of {@code kvm_create_guest_memfd.flags}; above 31 for a flag the kernel has not. */
  final long bit;

  CreateFlag(long bit) {
    this.bit = bit;
  }
}
