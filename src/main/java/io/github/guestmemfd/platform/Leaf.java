package io.github.guestmemfd.platform;

import io.github.guestmemfd.GuestMemfd;
import org.jspecify.annotations.Nullable;

/**
 * An entry of a guest's page table for private memory. Immutable, and compared by identity: an
 * entry that has been replaced is another, though it may lead to the same frame.
 */
final class Leaf {
  final int pfn;

  /** Whether the guest has accepted the page: before that it may not touch it. */
  final boolean accepted;

  /**
   * Whether no access begins by it any more. It stays until the accesses under way have been waited
   * for: the record of what is still to be flushed.
   */
  final boolean blocked;

  /** By which the reference of the entry is put; null if it holds none. */
  final @Nullable GuestMemfd reference;

  Leaf(int pfn, boolean accepted, boolean blocked, @Nullable GuestMemfd reference) {
    this.pfn = pfn;
    this.accepted = accepted;
    this.blocked = blocked;
    this.reference = reference;
  }

  Leaf withAccepted(boolean now) {
    return new Leaf(pfn, now, blocked, reference);
  }

  Leaf withBlocked(boolean now) {
    return new Leaf(pfn, accepted, now, reference);
  }
}
