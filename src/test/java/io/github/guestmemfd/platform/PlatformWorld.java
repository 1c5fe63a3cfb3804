package io.github.guestmemfd.platform;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.spi.RaceHook;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;

/** A host with a file of four pages, and the guest that is its client. */
final class PlatformWorld<G extends PlatformGuest> implements AutoCloseable {
  static final long PAGE = HostMemory.PAGE_SIZE;
  static final int PAGES = 4;
  static final long SIZE = PAGES * PAGE;

  final HostMemory host;
  final G guest;
  final GuestMemfd memfd;
  final HostMapping window;

  PlatformWorld(G guest) {
    this(guest, guest);
  }

  /** A world whose file calls a client in front of the guest. */
  PlatformWorld(G guest, GuestMemfdOps ops) {
    this(guest, ops, HostMemory.ofBytes(16 * PAGE));
  }

  /** A world in which a test steps into races. */
  PlatformWorld(G guest, RaceHook races) {
    this(guest, guest, HostMemory.builder(16 * PAGE).raceHook(races).build());
  }

  private PlatformWorld(G guest, GuestMemfdOps ops, HostMemory host) {
    this.host = host;
    this.guest = guest;
    this.memfd = describe().ops(ops).build();
    this.window = memfd.mmap(0, SIZE, READ, WRITE);
  }

  GuestMemfd.Builder describe() {
    return GuestMemfd.builder(host).size(SIZE).flags(MMAP, INIT_SHARED);
  }

  /** Launches the guest, and makes all pages its own. */
  PlatformWorld<G> running() {
    assertEquals(Errno.OK, guest.finishLaunch());
    memfd.makeInaccessible(0, SIZE);
    return this;
  }

  static long at(int page) {
    return page * PAGE;
  }

  /** The guest uses a page and writes to it. */
  void put(int page, long number) {
    assertEquals(Errno.OK, guest.use(memfd, at(page)));
    assertEquals(true, guest.write(at(page), number));
  }

  /** What the guest reads from a page that it uses. */
  long get(int page) {
    assertEquals(Errno.OK, guest.use(memfd, at(page)));
    return guest.read(at(page)).orElseThrow();
  }

  /** The frame of a page. */
  int pfn(int page) {
    int pfn = memfd.tryGrab(at(page), HolderKind.SAFE);
    memfd.put(pfn, HolderKind.SAFE);
    return pfn;
  }

  /** Pages whose every number is their own, counted from {@code first}. */
  static ByteBuffer pages(int count, long first) {
    ByteBuffer pages = ByteBuffer.allocate(count * (int) PAGE).order(ByteOrder.LITTLE_ENDIAN);
    for (int at = 0; at < pages.capacity(); at += Long.BYTES) {
      pages.putLong(at, first + at / PAGE);
    }
    return pages;
  }

  /** Ends the file, of which so many pages stay in use. */
  void end(long pagesLeft) {
    assertEquals(List.of(), host.violations());
    window.close();
    memfd.close();
    assertEquals(pagesLeft * PAGE, host.used());
  }

  @Override
  public void close() {
    if (memfd.isOpen()) {
      end(0);
    }
    host.close();
  }
}
