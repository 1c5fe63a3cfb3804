package io.github.guestmemfd.lab.workload;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.abi.CreateFlag.NO_DIRECT_MAP;
import static io.github.guestmemfd.abi.Protection.READ;
import static io.github.guestmemfd.abi.Protection.WRITE;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.kvm.HostRam;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Memslot;
import io.github.guestmemfd.kvm.MemslotFlag;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.lab.report.Monitor;
import java.util.concurrent.ArrayBlockingQueue;
import org.jspecify.annotations.Nullable;

/**
 * The objects that the actors of a run share.
 *
 * @param host the host, which other runs have used before
 * @param memfd the guest's memory; with two memories its private pages
 * @param vm the virtual machine; guest address and file offset are the same
 * @param ram with two memories, the shared pages, at the same offsets; else null
 * @param window the host's mapping of the guest's memory, as far as it can be mapped
 * @param pages how many pages the guest has
 * @param ledger the lab's account of what is really held
 * @param secrets the numbers that only the guest may see
 * @param device the device's queue
 * @param stop tells the actors to end
 */
record Machine(
    HostMemory host,
    GuestMemfd memfd,
    VirtualMachine vm,
    @Nullable HostRam ram,
    HostMapping window,
    int pages,
    Ledger ledger,
    Secrets secrets,
    ArrayBlockingQueue<Transfer> device,
    Stop stop)
    implements AutoCloseable {

  private static final int DEVICE_QUEUE = 256;

  /** Set once. */
  static final class Stop {
    private volatile boolean set;

    void set() {
      set = true;
    }

    boolean isSet() {
      return set;
    }
  }

  /**
   * A guest whose memory starts shared, and is not there yet.
   *
   * @param platform what hardware protects it
   * @param client the client behind the virtual machine
   */
  static Machine create(
      HostMemory host,
      ConversionProtocol protocol,
      Monitor.Memory memory,
      long size,
      Platform platform,
      GuestMemfdOps client) {
    GuestMemfd.Builder file = GuestMemfd.builder(host).size(size).protocol(protocol);
    int pages = (int) (size / HostMemory.PAGE_SIZE);
    VirtualMachine vm;
    GuestMemfd memfd;
    HostRam ram = null;
    HostMapping window;
    if (memory == Monitor.Memory.TWO) {
      vm = platform.machineOfTwo();
      ram = vm.mapHostRam(host, size);
      memfd = vm.createGuestMemfd(file.flags(NO_DIRECT_MAP), client);
      window = ram.mapping();
      int flags = MemslotFlag.bits(MemslotFlag.GUEST_MEMFD);
      vm.setUserMemoryRegion2(new Memslot(0, flags, 0, size, ram.userAddress(), memfd, 0));
    } else {
      vm = new VirtualMachine();
      memfd = vm.createGuestMemfd(file.flags(MMAP, INIT_SHARED, NO_DIRECT_MAP), client);
      window = memfd.mmap(0, size, READ, WRITE);
      vm.bind(0, 0, size, memfd, 0);
    }
    return new Machine(
        host,
        memfd,
        vm,
        ram,
        window,
        pages,
        new Ledger(pages),
        new Secrets(),
        new ArrayBlockingQueue<>(DEVICE_QUEUE),
        new Stop());
  }

  /** Frees all memory, when no thread uses it any more. */
  @Override
  public void close() {
    window.close();
    vm.unbind(0);
    memfd.close();
    if (ram != null) {
      ram.close();
    }
    host.drainLru();
  }

  // ---- pages ----

  /** Whether a page is the guest's alone. */
  boolean isPrivate(int page) {
    return ram == null
        ? !memfd.isAccessible(offset(page))
        : vm.memoryAttribute(offset(page)).orElseThrow() == MemoryAttribute.PRIVATE;
  }

  /** Whether there is memory behind a page, where the guest uses it. */
  boolean isPresent(int page) {
    long offset = offset(page);
    return (ram == null || isPrivate(page))
        ? memfd.cachedPages(offset, HostMemory.PAGE_SIZE) > 0
        : ram.allocated(offset, HostMemory.PAGE_SIZE) > 0;
  }

  /**
   * Reads as a program of the host does; 0 if it cannot. Memory of the host that is not there is
   * not made by that, as in the kernel, where a read finds the zero page.
   */
  long hostRead(long offset) {
    return ram != null && ram.allocated(offset & -HostMemory.PAGE_SIZE, HostMemory.PAGE_SIZE) == 0
        ? 0
        : window.tryGetLong(offset, 0);
  }

  /**
   * Whether a program of the host that knows what is shared writes to a page. In place nothing
   * comes of it where the page is private; with two memories it would make unused memory.
   */
  boolean isForHost(int page) {
    return ram == null || !isPrivate(page);
  }

  /**
   * Discards pages that the guest gives back.
   *
   * @param pinned whether a device has pinned what is shared: that has to stay then, or the device
   *     would go on using what the guest no longer sees
   */
  void discard(int first, int end, boolean pinned) {
    long offset = offset(first);
    long length = offset(end - first);
    memfd.punchHole(offset, length);
    if (ram != null && !pinned) {
      ram.discard(offset, length);
    }
  }

  static long offset(int page) {
    return (long) page * HostMemory.PAGE_SIZE;
  }
}
