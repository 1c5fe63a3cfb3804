package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.guestmemfd.abi.Protection;
import org.junit.jupiter.api.Test;

class ProtectionBitsTest {
  private static String text(Protection... protection) {
    return ProtectionBits.of(protection).toString();
  }

  @Test
  void inWords() {
    assertEquals("---", text());
    assertEquals("r--", text(Protection.READ));
    assertEquals("-w-", text(Protection.WRITE, Protection.WRITE));
    assertEquals("--x", text(Protection.EXEC));
    assertEquals("rwx", text(Protection.EXEC, Protection.WRITE, Protection.READ));
  }
}
