package io.github.guestmemfd.policy;

import java.util.Locale;

/**
 * What becomes of the host's memory behind pages that turn private, in a machine with two memories.
 */
public enum SharedPages {
  /** It stays, with its content: memory that the guest does not use, until it shares the page. */
  KEEP,

  /** It is given back to the host: the page reads zero when it turns shared again. */
  DISCARD;

  /**
   * Returns the name, as on the command line.
   *
   * @return the name in lower case
   */
  public String id() {
    return name().toLowerCase(Locale.ROOT);
  }
}
