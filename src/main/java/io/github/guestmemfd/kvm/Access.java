package io.github.guestmemfd.kvm;

/** What a vCPU does with memory. */
public enum Access {
  /** Reads data. */
  READ,
  /** Writes data. */
  WRITE,
  /** Fetches instructions. */
  EXEC
}
