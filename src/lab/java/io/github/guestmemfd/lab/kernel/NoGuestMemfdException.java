package io.github.guestmemfd.lab.kernel;

/** This machine has no guest_memfd that can be asked. The message says what is missing. */
public final class NoGuestMemfdException extends Exception {
  private static final long serialVersionUID = 1L;

  NoGuestMemfdException(String missing) {
    super("no guest_memfd here: " + missing);
  }
}
