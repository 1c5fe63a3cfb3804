package io.github.guestmemfd.policy;

import java.util.Locale;

/** What becomes of the content of private pages when they turn shared. */
public enum PrivatePages {
  /**
   * The content stays, and the host can read it: guest_memfd's in-place conversion. The guest
   * clears what it does not want to expose.
   */
  KEEP,

  /**
   * The content is punched out of the file before the page turns shared, so that the host never
   * sees it: the page then reads zero. This is how a virtual machine monitor behaves that has
   * shared memory apart from the guest_memfd, and gives the private page back at each conversion.
   */
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
