package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.ForwardingProtocol;
import org.junit.jupiter.api.Test;

class FileOperationsTest {

  /** The host counts files that are open, and does not close while one is. */
  @Test
  void aFileThatCannotBeMadeIsNotOpen() {
    ConversionProtocol throwing =
        new ForwardingProtocol(ConversionProtocol.lastPut()) {
          @Override
          public boolean waitsWithFolioLock() {
            throw new UnsupportedOperationException("no answer");
          }
        };
    HostMemory host = HostMemory.ofBytes(1 << 20);
    assertThrows(
        UnsupportedOperationException.class,
        () -> GuestMemfd.builder(host).size(4096).protocol(throwing).build());
    host.close();
  }
}
