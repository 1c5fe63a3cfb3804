package io.github.guestmemfd.spi;

/**
 * A {@linkplain LockClass#KEPT_FOLIO_LOCK lock that a user keeps} beyond a call, as {@link
 * LockOrder} knows it. Any thread may give it back.
 */
public final class KeptLock {
  private volatile boolean isOver;

  KeptLock() {}

  /** It has been given back. */
  public void giveBack() {
    isOver = true;
  }

  /** Whether it has been given back. */
  boolean isOver() {
    return isOver;
  }
}
