package io.github.guestmemfd.platform;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;
import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.HostRam;
import io.github.guestmemfd.kvm.Memslot;
import io.github.guestmemfd.kvm.MemslotFlag;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.kvm.VmType;
import io.github.guestmemfd.spi.RaceHook;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;

/**
 * A host with a file of four pages, and the guest that is its client; or a machine with two
 * memories, whose file has the private pages alone.
 */
final class PlatformWorld<G extends PlatformGuest> implements AutoCloseable {
  static final long PAGE = HostMemory.PAGE_SIZE;
  static final long GPA = 0x10_0000;
  static final int PAGES = 4;
  static final long SIZE = PAGES * PAGE;

  final HostMemory host;
  final G guest;
  final GuestMemfd memfd;

  /** What the host reaches: the file, or the shared memory beside it. */
  final HostMapping window;

  /** Where there are two memories, the machine that has the attributes, and the shared one. */
  final VirtualMachine vm;

  private final HostRam ram;

  PlatformWorld(G guest) {
    this(guest, guest);
  }

  /** A world with two memories, in which a test steps into races. */
  static <G extends PlatformGuest> PlatformWorld<G> ofTwoMemories(
      G guest, GuestMemfdOps ops, RaceHook races) {
    VirtualMachine vm = VirtualMachine.builder().type(VmType.SW_PROTECTED).build();
    HostMemory host = HostMemory.builder(16 * PAGE).raceHook(races).build();
    return new PlatformWorld<>(guest, ops, host, vm);
  }

  /** A world with two memories. */
  static <G extends PlatformGuest> PlatformWorld<G> ofTwoMemories(G guest, GuestMemfdOps ops) {
    VirtualMachine vm = VirtualMachine.builder().type(VmType.SW_PROTECTED).build();
    return new PlatformWorld<>(guest, ops, HostMemory.ofBytes(16 * PAGE), vm);
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
    this(guest, ops, host, null);
  }

  private PlatformWorld(G guest, GuestMemfdOps ops, HostMemory host, VirtualMachine vm) {
    this.host = host;
    this.guest = guest;
    this.vm = vm;
    if (vm == null) {
      ram = null;
      memfd = describe().ops(ops).build();
      window = memfd.mmap(0, SIZE, READ, WRITE);
    } else {
      ram = vm.mapHostRam(host, SIZE);
      memfd = vm.createGuestMemfd(GuestMemfd.builder(host).size(SIZE), ops);
      window = ram.mapping();
      bind();
    }
  }

  /** Makes the memslot, at another address than offset 0. */
  void bind() {
    int flags = MemslotFlag.bits(MemslotFlag.GUEST_MEMFD);
    vm.setUserMemoryRegion2(new Memslot(0, flags, GPA, SIZE, ram.userAddress(), memfd, 0));
  }

  GuestMemfd.Builder describe() {
    return GuestMemfd.builder(host).size(SIZE).flags(MMAP, INIT_SHARED);
  }

  /** Launches the guest, and makes all pages its own. */
  PlatformWorld<G> running() {
    assertEquals(Errno.OK, guest.finishLaunch());
    assertEquals(Errno.OK, tryMakePrivate(0, SIZE));
    return this;
  }

  // ---- conversions, by what has the attributes ----

  Errno tryMakePrivate(long offset, long length) {
    return vm == null
        ? memfd.tryMakeInaccessible(offset, length)
        : vm.trySetMemoryAttributes(GPA + offset, length, PRIVATE, new BusyGuestPage());
  }

  Errno tryShare(long offset, long length) {
    return vm == null
        ? memfd.tryMakeAccessible(offset, length)
        : vm.trySetMemoryAttributes(GPA + offset, length, SHARED, new BusyGuestPage());
  }

  /** As {@link #tryShare}, but throws the errno of a refusal. */
  void share(long offset, long length) {
    Errno errno = tryShare(offset, length);
    if (errno != Errno.OK) {
      throw new GuestMemfdException(errno, "share");
    }
  }

  boolean isShared(long offset) {
    return vm == null
        ? memfd.isAccessible(offset)
        : vm.memoryAttribute(GPA + offset).orElseThrow() == SHARED;
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
    closeAll();
    assertEquals(pagesLeft * PAGE, host.used());
  }

  /** Closes what uses memory, and lets the host be. */
  void closeAll() {
    window.close();
    memfd.close();
    if (ram != null) {
      ram.close();
    }
  }

  @Override
  public void close() {
    if (memfd.isOpen()) {
      end(0);
    }
    host.close();
  }
}
