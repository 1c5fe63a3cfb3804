package io.github.guestmemfd.spi;

/**
 * The kinds of locks of the library, in the order in which a thread takes them: one that holds a
 * lock of a class waits only for locks of later classes. {@link LockOrder} checks that.
 */
public enum LockClass {
  /** Guest addresses that a conversion handler converts, with discarding. */
  CONVERTED_RANGE("range of a conversion handler", Rule.WAITS),

  /**
   * A folio lock that a user keeps beyond a call. What may wait for pages meanwhile answers
   * EDEADLK. A thread takes several of one file in ascending order of their pages.
   */
  KEPT_FOLIO_LOCK("kept folio lock", Rule.WAITS_ASCENDING),

  /** What changes a mapping: munmap, mprotect, mremap. Its holder waits for accesses alone. */
  MMAP_LOCK("mmap_lock", Rule.WAITS),

  /** Busy bits of a range of pages. */
  INVALIDATE_LOCK("invalidate lock", Rule.WAITS),

  /** A folio lock, within a call. */
  FOLIO_LOCK("folio lock", Rule.WAITS),

  /** What makes a memslot call and its line in a recording one step. Its holder waits for vCPUs. */
  RECORDER_LOCK("lock of a recorder", Rule.WAITS),

  /** An announced access that a user's task makes in place. It must be quick, and not wait. */
  WINDOW("window on a mapping", Rule.TAKES_LEAVES),

  /** What a process has mapped. */
  MM_LOCK("lock of an address space", Rule.LEAF),

  /** The lock of a lent page, of Gunyah. */
  PARCEL_LOCK("lock of a lent page", Rule.LEAF),

  /** The memslots of a virtual machine: the kernel's {@code slots_lock}. */
  SLOTS_LOCK("slots_lock", Rule.LEAF),

  /** The guest page tables of a virtual machine: the kernel's {@code mmu_lock}. */
  MMU_LOCK("mmu_lock", Rule.LEAF),

  /** What the batched policy knows of guest addresses. */
  POLICY_LOCK("lock of a policy", Rule.LEAF),

  /** A queue of threads that wait for a page, a folio lock or counts. */
  WAIT_QUEUE_LOCK("lock of a wait queue", Rule.LEAF),

  /** The files of a host that own frames. */
  OWNERS_LOCK("lock of the owner table", Rule.LEAF),

  /** An announced access to frames. No thread waits to begin one, so it may begin anywhere. */
  ACCESS("announced access", Rule.LEAF);

  /** What a thread may do while it holds a lock. */
  private enum Rule {
    /** It waits, also for locks of later classes. */
    WAITS,
    /**
     * As {@link #WAITS}, and takes more of the same class, those of one owner in ascending order. A
     * wait for the very lock that it has answers EDEADLK.
     */
    WAITS_ASCENDING,
    /** It waits for nothing but leaves. */
    TAKES_LEAVES,
    /** It waits for nothing, takes no lock and calls nothing. */
    LEAF
  }

  private final String text;
  private final Rule rule;

  LockClass(String text, Rule rule) {
    this.text = text;
    this.rule = rule;
  }

  /** Whether its holder waits for nothing, and takes no other lock. */
  boolean isLeaf() {
    return rule == Rule.LEAF;
  }

  /** Whether its holder may wait for something that is no lock. */
  boolean mayWait() {
    return rule == Rule.WAITS || rule == Rule.WAITS_ASCENDING;
  }

  /** Whether a thread may hold several of one owner, taken in ascending order. */
  boolean isAscending() {
    return rule == Rule.WAITS_ASCENDING;
  }

  @Override
  public String toString() {
    return text;
  }
}
