package io.github.guestmemfd.observe;

/** What is counted of a file, and of a host; each is a method of {@code Metrics}. */
public enum Meter {
  /** Ranges made inaccessible. */
  CONVERSIONS_TO_INACCESSIBLE,
  /** Ranges made accessible. */
  CONVERSIONS_TO_ACCESSIBLE,
  /** Conversions refused over a folio whose counts showed other references. */
  REFUSED_OTHERS_COUNTED,
  /** Conversions refused over a folio whose counts showed none. */
  REFUSED_NO_OTHERS_COUNTED,
  /** Conversions that ended otherwise. */
  CONVERSIONS_FAILED,
  /** Second looks at counts. */
  RETRIES,
  /** Waits for holders. */
  HOLDER_WAITS,
  /** Waits for busy pages. */
  BUSY_WAITS,
  /** Conversions left pending. */
  PENDING_BEGUN,
  /** Pending conversions completed. */
  PENDING_COMPLETED,
  /** Pending conversions undone. */
  PENDING_UNDONE,
  /** Punches done. */
  PUNCHES,
  /** Punches refused. */
  PUNCHES_REFUSED,
  /** Faults of the host. */
  FAULTS,
  /** Folios prepared for the first time. */
  FIRST_USES,
  /** Accesses that got SIGBUS. */
  SIGBUS,
  /** Lookups of the guest's side that did not find the folio ready. */
  SLOW_GRABS,
  /** Lookups that started over. */
  LOOKUPS_STARTED_OVER,
  /** Pages taken away because their memory failed. */
  MEMORY_FAILURES,
  /** Uses refused with EHWPOISON. */
  POISONED_USES
}
