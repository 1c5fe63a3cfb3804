package io.github.guestmemfd;

import io.github.guestmemfd.abi.Errno;

/**
 * Hands a page of initial content over to the guest: what a hardware's firmware does with it
 * (measures and encrypts it, say). It is called after the content has been copied, instead of
 * {@link GuestMemfdOps#prepareInaccessible}.
 */
@FunctionalInterface
public interface PopulateHook {
  /**
   * The content of a page is there. Called with the folio lock, inside a callback: what would have
   * to wait for pages answers EDEADLK.
   *
   * @param folio the folio, for the time of the call
   * @return {@link Errno#OK}; anything else, or an exception, ends the population before this page,
   *     which is as if it had never been used
   */
  Errno populated(Folio folio);
}
