package io.github.guestmemfd.abi;

/** Whether a mapping shows the file itself or a copy of it. */
public enum MapType {
  /** The file itself; the only kind a guest_memfd has. */
  SHARED,
  /** A private copy, made on write; never granted. */
  PRIVATE
}
