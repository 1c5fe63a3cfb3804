package io.github.guestmemfd.kvm;

/**
 * The side that a page belongs to, in the guest's terms: the attribute that the file has for it,
 * and the view that an access of the guest has of it (its C-bit).
 */
public enum MemoryAttribute {
  /** The host may touch the page too: accessible. */
  SHARED,
  /** The guest's alone ({@code KVM_MEMORY_ATTRIBUTE_PRIVATE}): inaccessible. */
  PRIVATE
}
