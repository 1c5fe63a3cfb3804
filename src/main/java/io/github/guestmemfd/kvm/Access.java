package io.github.guestmemfd.kvm;

/** The kinds of memory access of a vCPU. */
public enum Access {
  /** Reads data. */
  READ,
  /** Writes data. */
  WRITE,
  /** Fetches instructions. */
  EXEC
}
