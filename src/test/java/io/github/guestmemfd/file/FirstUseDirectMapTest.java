package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.fixtures.Duel;
import java.nio.ByteBuffer;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Writes through the direct map against the first use of a page that leaves it: the guest gets a
 * page of zeroes, whatever was under way when it was zeroed.
 */
@Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class FirstUseDirectMapTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;

  @Test
  @Tag("duel")
  void aFreshPageIsZero() throws Exception {
    HostMemory host = HostMemory.ofBytes(PAGE);
    GuestMemfd memfd = GuestMemfd.builder(host).size(PAGE).flags(CreateFlag.NO_DIRECT_MAP).build();
    ByteBuffer ones = ByteBuffer.allocate(PAGE);
    while (ones.hasRemaining()) {
      ones.put((byte) 1);
    }
    int pfn;
    try (Folio folio = memfd.grab(0)) {
      pfn = folio.pfn();
    }
    Duel.race(
        round -> {
          ones.clear();
          try {
            host.directMap().write(pfn, 0, ones);
            return true;
          } catch (GuestMemfdException e) {
            return false; // it is not in the direct map
          }
        },
        round -> {
          memfd.punchHole(0, PAGE);
          try (Folio folio = memfd.grab(0)) {
            ByteBuffer page = folio.buffer();
            for (int at = 0; at < PAGE; at += Long.BYTES) {
              assertEquals(0, page.getLong(at), "a page fresh from the host, at " + at);
            }
          }
          return true;
        });
    memfd.close();
    host.close();
  }
}
