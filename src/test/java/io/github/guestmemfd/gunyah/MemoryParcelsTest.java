package io.github.guestmemfd.gunyah;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.nio.ByteBuffer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.AutoClose;
import org.junit.jupiter.api.Test;

class MemoryParcelsTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;

  @AutoClose final RacePoints races = new RacePoints();
  private final HostMemory host = HostMemory.builder(16L * PAGE).raceHook(races).build();
  private final MemoryParcels parcels =
      new MemoryParcels(GuestMemfd.builder(host).size(4L * PAGE).flags(MMAP, INIT_SHARED));
  private final GuestMemfd memfd = parcels.memfd();

  @AfterEach
  void nothingIsLeft() {
    memfd.close();
    assertEquals(0, host.used());
    host.close();
  }

  private static ByteBuffer bytes(int number) {
    return ByteBuffer.allocate(4).putInt(number).flip();
  }

  private int read(long offset) {
    ByteBuffer into = ByteBuffer.allocate(4);
    assertTrue(parcels.read(offset, into));
    return into.getInt(0);
  }

  @Test
  void whatIsLentIsTheGuestsUntilItIsReclaimed() {
    parcels.lend(PAGE, 2L * PAGE);
    assertTrue(parcels.write(PAGE + 8, bytes(42)));
    assertEquals(Errno.EBUSY, memfd.tryMakeAccessible(PAGE, PAGE));
    assertEquals(Errno.EBUSY, memfd.tryMakeAccessible(0, 4L * PAGE));
    assertEquals(
        Errno.EBUSY,
        assertThrows(GuestMemfdException.class, () -> memfd.punchHole(2L * PAGE, PAGE)).errno());
    assertEquals(42, read(PAGE + 8));

    parcels.reclaim(PAGE, PAGE);
    assertFalse(parcels.read(PAGE + 8, ByteBuffer.allocate(4)));
    assertFalse(parcels.write(PAGE + 8, bytes(1)));
    assertEquals(Errno.OK, memfd.tryMakeAccessible(PAGE, PAGE));
    try (HostMapping window = memfd.mmap(0, 4L * PAGE, Protection.READ)) {
      assertEquals(42, Integer.reverseBytes(window.getInt(PAGE + 8)), "content stays");
    }
    assertEquals(
        Errno.EBUSY, memfd.tryMakeAccessible(2L * PAGE, PAGE), "the other page stays lent");
  }

  @Test
  void aRangeThatTouchesAParcelIsRefusedAndOneBesideItIsNot() {
    parcels.lend(PAGE, PAGE);
    assertFalse(parcels.isLent(0, PAGE));
    assertTrue(parcels.isLent(0, PAGE + 1));
    assertTrue(parcels.isLent(PAGE + 8, 1));
    assertFalse(parcels.isLent(2L * PAGE, 2L * PAGE));
    assertEquals(
        Errno.EBUSY,
        assertThrows(GuestMemfdException.class, () -> parcels.lend(0, 2L * PAGE)).errno());
    assertFalse(parcels.isLent(0, PAGE), "all or nothing");
  }

  @Test
  void whatTheHostHoldsCannotBeLent() {
    try (HostMapping window = memfd.mmap(0, PAGE, Protection.READ);
        HostReference pin = window.pin(0, PAGE)) {
      assertEquals(1, pin.pages());
      assertEquals(
          Errno.EAGAIN,
          assertThrows(GuestMemfdException.class, () -> parcels.lend(0, PAGE)).errno());
    }
    assertFalse(parcels.isLent(0, PAGE));
    parcels.lend(0, PAGE);
  }

  /** The conversion comes after the parcel has been entered, and before its page is there. */
  @Test
  void aConversionThatRacesWithLendingIsRefused() {
    races.at(
        RacePoint.BEFORE_SLOT_FILL,
        () -> assertEquals(Errno.EBUSY, memfd.tryMakeAccessible(0, PAGE)));
    parcels.lend(0, PAGE);
    assertFalse(memfd.isAccessible(0));
  }

  /** Another lends the second page while the first is on its way: the first is taken back. */
  @Test
  void aParcelIsLentWholeOrNotAtAll() {
    races.at(RacePoint.BEFORE_SLOT_FILL, () -> parcels.lend(PAGE, PAGE));
    assertEquals(
        Errno.EBUSY,
        assertThrows(GuestMemfdException.class, () -> parcels.lend(0, 2L * PAGE)).errno());
    assertFalse(parcels.isLent(0, PAGE));
    assertTrue(parcels.isLent(PAGE, PAGE));
  }

  @Test
  void theEndOfTheFileTakesEverythingBack() {
    parcels.lend(0, 4L * PAGE);
    memfd.close();
    assertEquals(0, host.used());
    assertFalse(parcels.isLent(0, 4L * PAGE));
  }
}
