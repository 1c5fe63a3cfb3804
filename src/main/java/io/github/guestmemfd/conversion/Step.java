package io.github.guestmemfd.conversion;

/**
 * What a guest-side holder of a folio does to hold it, one step after the other. Between two steps
 * other threads see what has been done so far: that is where protocols differ.
 *
 * @see ConversionProtocol#guestTakes
 */
public enum Step {
  /** Raises the reference count. */
  REF,
  /**
   * Raises the count of safe references, and nothing else. As the first step it must be the only
   * one: the page cache's reference then protects the folio for this holder too.
   */
  SAFE,
  /** Raises both counts in one atomic step. */
  REF_AND_SAFE,
  /**
   * Waits for the folio lock, holding what the steps before took, and checks that the folio is
   * still in its place; if not, everything is given back and the holder starts over.
   */
  LOCK,
  /** Gives the folio lock back. Only among the steps that take; in those that drop it is LOCK. */
  UNLOCK
}
