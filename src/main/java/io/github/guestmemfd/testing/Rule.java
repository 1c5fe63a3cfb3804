package io.github.guestmemfd.testing;

import java.util.Optional;

/** The rules that contracts check; a failing test names the broken one. */
enum Rule {
  SOUNDNESS(
      "once a conversion to inaccessible has reported success, no holder on the host reads what the"
          + " guest writes, or writes what the guest reads"),
  COMPLETENESS(
      "a conversion that meets only guest-side and speculative holders succeeds once they have gone"
          + " on"),
  ALL_OR_NOTHING("a range converts whole or not at all, and a refusal leaves everything as it was"),
  NOTHING_LOST(
      "content survives conversions, a punch discards exactly what was asked for, an orphan lives"
          + " until its last holder lets go, and then no frame stays in use"),
  STEPS("the answers of a protocol make sense, and are always the same"),
  NO_GRIP(
      "a client has dropped what it holds of a range when invalidateBegin or invalidateEnd returns,"
          + " and everything when release returns"),
  NO_THROW("invalidateEnd, freeFolio and release do their work and do not throw"),
  UNDO("a client accepts that what it has prepared is undone"),
  AGREEMENT("a client lets conversions and punches proceed, and answers with an Errno"),
  NO_WAIT("a callback calls nothing that may have to wait for pages: the answer is EDEADLK"),
  FOLLOWS(
      "the guest reads and writes the page that its file has at that offset now, and nothing else"),
  STANDSTILL(
      "when invalidateBegin has answered OK, no access of the guest to the range is under way, and"
          + " none begins before invalidateEnd"),
  SERVES(
      "while no operation on a page is under way the guest can use it, whatever was refused,"
          + " interrupted or out of memory before"),
  PASSES_ON(
      "a client that passes callbacks on passes on all of them, and every refusal; each client that"
          + " has agreed to an invalidateBegin is told of its end once, and no other"),
  SCRUBS("the host finds nothing that the guest wrote where the client says that it scrubs"),
  MEMORY_ONLY(
      "a policy converts memory of the guest, and for a memory fault at least the pages that were"
          + " used"),
  LAST_WORD(
      "what the guest has asked for or used last holds: a policy converts no page against it, and"
          + " does each time what it is asked to do"),
  EXPOSES_NOTHING("a policy shares only what the guest has asked to be shared, or used so"),
  BOUNDED("what a policy keeps does not grow with the number of requests"),
  AT_ONCE("a policy answers any thread without waiting, and is told apart by its name");

  private final String text;

  Rule(String text) {
    this.text = text;
  }

  /** Returns the failure of a test: the rule, and how it was broken. */
  AssertionError broken(String how) {
    return new AssertionError(name() + " (" + text + ") is broken: " + how);
  }

  /** As {@link #broken(String)}, with the cause. */
  AssertionError broken(String how, Throwable cause) {
    return new AssertionError(name() + " (" + text + ") is broken: " + how + ": " + cause, cause);
  }

  /**
   * Fails unless a name is one that a command line can have, and no other's.
   *
   * @param id the name
   * @param named what has it
   * @param found what is found by it, if anything is
   */
  void checkName(String id, Object named, Optional<?> found) {
    check(
        id.matches("[a-z0-9]+(-[a-z0-9]+)*"),
        "expected lower-case words joined by hyphens as id, actual " + id);
    found.ifPresent(
        other ->
            check(
                other.getClass() == named.getClass(),
                "its id "
                    + id
                    + " is that of "
                    + other.getClass().getName()
                    + ", and reports and command lines would take one for the other"));
  }

  /** Fails unless the condition holds. */
  void check(boolean holds, String how) {
    if (!holds) {
      throw broken(how);
    }
  }
}
