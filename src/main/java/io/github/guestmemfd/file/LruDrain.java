package io.github.guestmemfd.file;

/**
 * The draining of the LRU batches of a host that has them, within one check of references: first
 * that of this thread's CPU, and only if a folio is in the way even then, those of all CPUs; each
 * once, however many folios are looked at. That is enough: while a range is locked, none of its
 * folios comes into a batch.
 */
final class LruDrain {
  private final Host host;
  private int drained;

  LruDrain(Host host) {
    this.host = host;
  }

  /**
   * Drains what comes next.
   *
   * @return false if there is nothing more to drain
   */
  boolean next() {
    if (drained == 2) {
      return false;
    }
    if (drained++ == 0) {
      host.drainLocalLru();
    } else {
      host.drainLru();
    }
    return true;
  }
}
