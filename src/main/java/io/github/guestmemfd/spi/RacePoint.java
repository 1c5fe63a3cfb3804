package io.github.guestmemfd.spi;

/**
 * Named steps inside the library at which a {@link RaceHook} is called, so that a test can stop a
 * thread between two steps of a race.
 */
public enum RacePoint {
  /** A lookup has loaded the slot of a present page and has no reference yet. */
  AFTER_SLOT_LOAD,
  /** A lookup holds a reference that it has not yet confirmed by reading the slot again. */
  BEFORE_SLOT_RELOAD,
  /** A lookup holds a confirmed reference. */
  AFTER_LOOKUP,
  /** A read without a reference has the bytes, and has not yet read the slot again. */
  BEFORE_READ_RELOAD,
  /**
   * A guest-side holder has a reference, and is about to raise the count of safe ones; only with
   * protocols that do one after the other.
   */
  BETWEEN_REF_AND_SAFE,
  /** A guest-side holder is about to wait for the folio lock, holding what it has taken so far. */
  BEFORE_GUEST_LOCK,
  /**
   * A guest-side holder has given back one of the things it holds and is about to give back the
   * next. The page index is -1 if the holder has only the frame number.
   */
  BETWEEN_DROPS,
  /** A frame has been allocated for a hole and is not yet in the page cache. */
  BEFORE_SLOT_FILL,
  /** A folio that is not up to date is about to be locked, zeroed and prepared. */
  BEFORE_FOLIO_LOCK,
  /**
   * A fork has seen what its child inherits, and is about to make one of the child's mappings. The
   * index is the first page of that.
   */
  BEFORE_INHERIT,
  /** A host fault holds its reference and is about to enter it into the page table. */
  BEFORE_PTE_INSTALL,
  /** A host fault has entered its page table entry and has not yet confirmed it by the slot. */
  AFTER_PTE_INSTALL,
  /**
   * A reference taken by way of a page table entry (GUP-fast) is not yet confirmed by reading the
   * entry again.
   */
  BEFORE_PTE_RELOAD,
  /**
   * A walker of page frame numbers holds a reference that it is about to drop. The index is the
   * frame's number.
   */
  WALKER_HOLDS_REFERENCE,
  /**
   * An access through a mapping is announced and under way. At the hook of a {@code
   * VirtualMachine}: an access of a vCPU; the index is the guest frame number.
   */
  ACCESS_IN_FLIGHT,
  /** A range operation holds its whole range: every slot in it is busy. */
  RANGE_BUSY,
  /** A range operation has removed every page table entry of its range. */
  AFTER_UNMAP,
  /** A conversion is about to freeze a folio. The page index is -1. */
  BEFORE_FREEZE,
  /**
   * A conversion or punch has found a folio with a holder it did not expect, and is about to look
   * again.
   */
  ON_MISMATCH,
  /** Every folio of the range has passed the check; nothing has changed yet. */
  BEFORE_COMMIT,
  /** The new attributes stand in the slots, which are still busy. */
  AFTER_COMMIT,
  /**
   * A close of a {@code HostMemory} has looked what is left in it, and is about to close it or to
   * refuse. The page index is -1.
   */
  BEFORE_HOST_CLOSE,
  /**
   * A fault of a virtual machine's vCPU has got its page, and is about to take {@code mmu_lock} and
   * see whether an invalidation came in between. The index is the guest frame number. Only at the
   * hook of a {@code VirtualMachine}.
   */
  BEFORE_MMU_LOCK
}
