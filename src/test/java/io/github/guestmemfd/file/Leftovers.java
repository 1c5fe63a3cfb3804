package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertFalse;

/** The end of a test of a file. */
final class Leftovers {
  private Leftovers() {}

  /** Closes a file, unless the test has, and its host: there are none. */
  static void assertNone(FileOperations file, Host host) {
    if (!file.inode.isGone()) {
      file.inode.close();
    }
    assertFalse(CallbackContext.isInTheMiddleOfAny());
    host.close();
  }
}
