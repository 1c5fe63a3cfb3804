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
import io.github.guestmemfd.kvm.VirtualMachine;
import java.util.concurrent.ArrayBlockingQueue;

/**
 * The objects that the actors of a run share.
 *
 * @param host the host, which other runs have used before
 * @param memfd the guest's memory
 * @param vm the virtual machine; guest address and file offset are the same
 * @param window the host's mapping of the guest's memory
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
   * @param platform the client behind the virtual machine
   */
  static Machine create(
      HostMemory host, ConversionProtocol protocol, long size, GuestMemfdOps platform) {
    VirtualMachine vm = new VirtualMachine();
    GuestMemfd memfd =
        vm.createGuestMemfd(
            GuestMemfd.builder(host)
                .size(size)
                .flags(MMAP, INIT_SHARED, NO_DIRECT_MAP)
                .protocol(protocol),
            platform);
    HostMapping window = memfd.mmap(0, size, READ, WRITE);
    vm.bind(0, 0, size, memfd, 0);
    int pages = (int) (size / HostMemory.PAGE_SIZE);
    return new Machine(
        host,
        memfd,
        vm,
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
    host.drainLru();
  }

  static long offset(int page) {
    return (long) page * HostMemory.PAGE_SIZE;
  }
}
