package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.spi.RaceHook;
import io.github.guestmemfd.spi.RacePoint;
import java.nio.ByteBuffer;
import org.junit.jupiter.api.Test;

/** A host memory: its size, its frames, and what it says of its holders. */
class HostTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;

  private static GuestMemfd file(HostMemory host) {
    return GuestMemfd.builder(host)
        .size(2L * PAGE)
        .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
        .build();
  }

  @Test
  void metadataAloneHasNoBytes() {
    try (HostMemory host = HostMemory.builder(4L * PAGE).metadataOnly().build();
        GuestMemfd memfd = file(host);
        Folio folio = memfd.grab(0)) {
      UnsupportedOperationException e =
          assertThrows(UnsupportedOperationException.class, folio::buffer);
      assertTrue(e.getMessage().contains("metadata only"), e::getMessage);
    }
  }

  @Test
  void framesAreNumberedFromOne() {
    try (HostMemory host = HostMemory.ofBytes(4L * PAGE);
        GuestMemfd memfd = file(host);
        Folio folio = memfd.grab(0)) {
      ByteBuffer into = ByteBuffer.allocate(8);
      host.directMap().read(folio.pfn(), 0, into);
      assertEquals(8, into.position());
      for (int pfn : new int[] {0, 5, -1}) {
        IndexOutOfBoundsException e =
            assertThrows(
                IndexOutOfBoundsException.class,
                () -> host.directMap().read(pfn, 0, ByteBuffer.allocate(8)));
        assertTrue(e.getMessage().contains("expected 1 to 4, actual " + pfn), e::getMessage);
      }
    }
  }

  @Test
  void holdersAreListedWhereTheyAreTracked() {
    try (HostMemory host = HostMemory.ofBytes(4L * PAGE)) {
      assertTrue(host.dump().contains("holders are not tracked"), host::dump);
      assertTrue(host.dump().endsWith("\n"));
    }
    try (HostMemory host = HostMemory.builder(4L * PAGE).trackHolders().build();
        GuestMemfd memfd = file(host)) {
      String before = host.dump();
      assertFalse(before.contains("not tracked"), before);
      assertTrue(before.startsWith(host.toString()), before);
      int holders = host.holders().size();
      Folio folio = memfd.grab(0);
      assertEquals(holders + 1, host.holders().size());
      assertFalse(before.equals(host.dump()));
      folio.close();
      assertEquals(holders, host.holders().size());
    }
  }

  @Test
  void aHostInUseIsNotClosed() {
    HostMemory host = HostMemory.ofBytes(4L * PAGE);
    assertEquals(4L * PAGE, host.size());
    GuestMemfd memfd = file(host);
    Folio folio = memfd.grab(0);
    GuestMemfdException e = assertThrows(GuestMemfdException.class, host::close);
    assertEquals(Errno.EBUSY, e.errno());
    assertTrue(e.getMessage().contains("1 files open and 1 frames in use"), e::getMessage);
    memfd.close();
    e = assertThrows(GuestMemfdException.class, host::close);
    assertTrue(e.getMessage().contains("0 files open and 1 frames in use"), e::getMessage);
    folio.close();
    host.close();
    host.close();
    assertEquals(Errno.EBADF, assertThrows(GuestMemfdException.class, () -> file(host)).errno());
  }

  /** A hook that has none for a file keeps the file from being made, and nothing else. */
  @Test
  void aFileThatCannotBeMadeIsNotOpen() {
    RaceHook none =
        new RaceHook() {
          @Override
          public void at(RacePoint point, long index) {}

          @Override
          @SuppressWarnings("NullAway") // a mistake of the hook
          public RaceHook ofFile(Object file) {
            return null;
          }
        };
    HostMemory host = HostMemory.builder(4L * PAGE).raceHook(none).build();
    assertThrows(NullPointerException.class, () -> file(host));
    host.close();
  }

  @Test
  void aMismatchNamesItsHolders() {
    assertEquals("no busy folio", new BusyFolio().toString());
    try (HostMemory host = HostMemory.builder(4L * PAGE).trackHolders().build();
        GuestMemfd memfd = file(host)) {
      BusyFolio busy = new BusyFolio();
      try (Folio holder = memfd.grab(0, HolderKind.UNSAFE)) {
        assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(0, PAGE, busy));
        assertEquals(1, busy.holders().size());
        assertTrue(busy.toString().startsWith("offset 0x0 held by 1 unsafe, 0 pinned, 0 safe\n  "));
        assertEquals(memfd.holders(0).pfn(), holder.pfn());
      }
    }
  }
}
