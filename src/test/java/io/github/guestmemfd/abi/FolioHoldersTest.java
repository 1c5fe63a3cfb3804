package io.github.guestmemfd.abi;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.fixtures.HostFixture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Who holds a page, by kind, without a conversion. */
class FolioHoldersTest extends HostFixture {

  @Test
  void eachKindIsCountedByItself() {
    GuestMemfd memfd = file(2);
    HostMapping one = map(memfd);
    HostMapping two = map(memfd);
    one.putByte(PAGE, (byte) 1);
    two.putByte(PAGE, (byte) 2);
    try (HostReference pin = one.pin(PAGE, 1);
        HostReference plain = two.getUserPages(PAGE, 1);
        Folio unsafe = memfd.grab(PAGE, HolderKind.UNSAFE);
        Folio safe = memfd.grab(PAGE + 5);
        Folio more = memfd.grab(PAGE);
        Folio user = memfd.grab(PAGE, HolderKind.ACCESSIBLE)) {
      assertEquals(
          new FolioHolders(PAGE, pin.pfn(0), 2, 2, 1, 1, 2), memfd.holders(PAGE + PAGE - 1));
      assertEquals(
          "offset 0x1000: 2 mapped, 2 unsafe, 1 pinned, 1 accessible, 2 safe",
          memfd.holders(PAGE).toString());
      assertTrue(plain.isOpen() && unsafe.pfn() == user.pfn() && safe.pfn() == more.pfn());
    }
    FolioHolders left = memfd.holders(PAGE);
    assertEquals(new FolioHolders(PAGE, left.pfn(), 2, 0, 0, 0, 0), left);
    assertTrue(memfd.isAccessible(PAGE), "nothing was converted");
    one.getByte(PAGE); // nothing was unmapped
    assertEquals(2, memfd.holders(PAGE).mapped());
  }

  @Test
  void aHoleIsNobodys() {
    GuestMemfd memfd = file(2);
    map(memfd);
    assertTrue(memfd.holders(0).isHole());
    assertEquals("offset 0x0: a hole", memfd.holders(0).toString());
    memfd.allocate(0, PAGE);
    assertFalse(memfd.holders(0).isHole());
    memfd.punchHole(0, PAGE);
    assertTrue(memfd.holders(0).isHole());
  }

  @Test
  void anOffsetOutsideIsRefused() {
    GuestMemfd memfd = file(2);
    for (long offset : new long[] {-1, 2L * PAGE, Long.MIN_VALUE, Long.MAX_VALUE}) {
      refused(Errno.EINVAL, () -> memfd.holders(offset));
    }
    GuestMemfd closed = memfd.dup();
    closed.close();
    refused(Errno.EBADF, () -> closed.holders(0));
  }

  static java.util.List<ConversionProtocol> protocols() {
    return ConversionProtocol.all();
  }

  /** What the protocol does not count as safe is told as a reference; nothing is told twice. */
  @ParameterizedTest
  @MethodSource("protocols")
  void aGuestsHolderIsCountedOnce(ConversionProtocol protocol) {
    GuestMemfd memfd = file(1, b -> b.protocol(protocol));
    HostMapping window = map(memfd);
    window.putByte(0, (byte) 1);
    try (Folio guest = memfd.grab(0)) {
      FolioHolders holders = memfd.holders(0);
      assertEquals(1, holders.mapped(), protocol.id());
      assertTrue(holders.unsafe() + holders.safe() <= 1, () -> protocol.id() + ": " + holders);
      assertEquals(0, holders.pinned() + holders.accessible(), protocol.id());
      assertEquals(guest.pfn(), holders.pfn());
    }
    assertEquals(0, memfd.holders(0).unsafe() + memfd.holders(0).safe(), protocol.id());
  }
}
