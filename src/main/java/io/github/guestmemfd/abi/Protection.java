package io.github.guestmemfd.abi;

/** What a mapping may be used for: the kernel's PROT_ bits. */
public enum Protection {
  /** Its bytes may be read. */
  READ,
  /** Its bytes may be written. */
  WRITE,
  /** Its bytes may be executed; never granted. */
  EXEC
}
