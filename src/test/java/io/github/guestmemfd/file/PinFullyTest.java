package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.fixtures.HostFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import org.junit.jupiter.api.Test;

/** A pin of all pages or none, beside the one that is as long as it can be. */
class PinFullyTest extends HostFixture {

  @Test
  void allPagesArePinned() {
    GuestMemfd memfd = file(4);
    try (HostReference pin = map(memfd).pinFully(100, 3L * PAGE)) {
      assertTrue(pin.isPinned());
      assertEquals(3L * PAGE, pin.length());
      assertEquals(4, pin.pages());
      assertEquals(Errno.EAGAIN, memfd.tryMakeInaccessible(3L * PAGE, PAGE));
    }
    memfd.makeInaccessible(0, memfd.size());
  }

  @Test
  void whereAPartCannotBeHadNothingIsHeld() {
    GuestMemfd memfd = file(4);
    HostMapping window = map(memfd);
    memfd.makeInaccessible(2L * PAGE, PAGE);
    try (HostReference part = window.pin(0, 4L * PAGE)) {
      assertEquals(2L * PAGE, part.length(), "as the kernel does");
    }
    GuestMemfdException e = refused(Errno.EFAULT, () -> window.pinFully(0x10, 4L * PAGE - 0x10));
    assertTrue(
        e.getMessage()
            .endsWith("the page at offset 0x2000 cannot be had: the page is inaccessible"),
        e.getMessage());
    memfd.makeInaccessible(0, memfd.size()); // nothing is held
  }

  @Test
  void whatReachesBeyondTheMappingIsRefused() {
    GuestMemfd memfd = file(4);
    HostMapping window = map(memfd);
    GuestMemfdException e = refused(Errno.EFAULT, () -> window.pinFully(PAGE, 4L * PAGE));
    assertTrue(
        e.getMessage().endsWith("expected an end up to 0x4000, actual 0x5000"), e.getMessage());
    refused(Errno.EFAULT, () -> window.pinFully(4L * PAGE, 1));
    refused(Errno.EINVAL, () -> window.pinFully(0, -1));
    memfd.makeInaccessible(0, memfd.size());
  }

  @Test
  void theLengthMayBeNothing() {
    try (HostReference pin = map(file(1)).pinFully(0, 0)) {
      assertEquals(0, pin.pages());
    }
  }

  /** The error is that of the page which could not be had: memory ran out. */
  @Test
  void memoryThatRunsOutIsEnomem() {
    HostMemory small = HostMemory.ofBytes(2L * PAGE);
    try (GuestMemfd memfd =
            GuestMemfd.builder(small)
                .size(4L * PAGE)
                .flags(
                    io.github.guestmemfd.abi.CreateFlag.MMAP,
                    io.github.guestmemfd.abi.CreateFlag.INIT_SHARED)
                .build();
        HostMapping window = memfd.mmap(0, 4L * PAGE, Protection.READ, Protection.WRITE)) {
      refused(Errno.ENOMEM, () -> window.pinFully(0, 4L * PAGE));
      memfd.makeInaccessible(0, memfd.size());
    }
    small.close();
  }

  /** Memory that has failed is EFAULT, as in GUP. */
  @Test
  void memoryThatHasFailedIsEfault() {
    GuestMemfd memfd = file(2);
    HostMapping window = map(memfd);
    window.putLong(PAGE, 1);
    int pfn;
    try (HostReference reference = window.getUserPages(PAGE, PAGE)) {
      pfn = reference.pfn(0);
    }
    assertEquals(Errno.OK, host.pfnWalker().memoryFailure(pfn));
    refused(Errno.EFAULT, () -> window.pinFully(0, 2L * PAGE));
  }

  /** A thread interrupted while it waits for a page gets EINTR, and holds nothing. */
  @Test
  void anInterruptIsEintr() throws Exception {
    GuestMemfd memfd = file(3);
    HostMapping window = map(memfd);
    Worker<HostReference> pin;
    try (var converting = races.hold(RacePoint.RANGE_BUSY, 2L * PAGE)) {
      Worker<Void> conversion =
          Worker.start(
              () -> {
                memfd.makeInaccessible(2L * PAGE, PAGE);
                return null;
              });
      converting.awaitReached();
      pin = Worker.start(() -> window.pinFully(0, 3L * PAGE));
      probe.awaitWaiting(pin);
      pin.interrupt();
      GuestMemfdException e = assertThrows(GuestMemfdException.class, pin::result);
      assertEquals(Errno.EINTR, e.errno(), e.toString());
      converting.release();
      conversion.result();
    }
    memfd.makeInaccessible(0, memfd.size()); // nothing is held
  }
}
