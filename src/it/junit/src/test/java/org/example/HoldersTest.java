package org.example;

import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.testing.ConversionProtocols;
import io.github.guestmemfd.testing.GuestMemfdExtension;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;

@ExtendWith(GuestMemfdExtension.class)
class HoldersTest {

  @Test
  void aPinIsInTheWay(GuestMemfd memfd) {
    try (HostMapping window = memfd.mmap(0, 4096, READ, WRITE)) {
      HostReference pin = window.pin(0, 4096);
      assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, 4096));
      pin.close(); // without this line the test fails, and names the line that took the pin
    }
  }

  @ConversionProtocols // once under each protocol
  void anUntouchedPageConverts(GuestMemfd memfd) {
    assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, 4096));
  }
}
