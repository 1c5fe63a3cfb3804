package io.github.guestmemfd.policy;

import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.spi.Announce;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ConcurrentNavigableMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.AtomicLong;

/**
 * A device that is passed through to the guest: it keeps every shared page pinned for its DMA, as
 * VFIO does, and lets go of a page when it turns private. It refuses a conversion for which it may
 * not pin enough: {@code RLIMIT_MEMLOCK}.
 *
 * <p>Addresses without a memslot are left out: they are no memory. Safe for use by any number of
 * threads.
 */
public final class PinnedSharedMemory implements SharedMemoryListener, AutoCloseable {
  private final VirtualMachine vm;
  private final long limit;
  private final AtomicLong bytes = new AtomicLong();

  /** By guest address, a page each. */
  private final ConcurrentNavigableMap<Long, HostReference> pins = new ConcurrentSkipListMap<>();

  private volatile boolean closed;

  /**
   * Makes the device, which has pinned nothing.
   *
   * @param vm the machine whose memory it reaches
   * @param limit how many bytes it may pin
   */
  public PinnedSharedMemory(VirtualMachine vm, long limit) {
    this.vm = Objects.requireNonNull(vm, "vm");
    this.limit = limit;
  }

  /**
   * How much it has pinned.
   *
   * @return the bytes
   */
  public long pinned() {
    return Announce.read(bytes).get();
  }

  /**
   * Pins pages, all or none. Does nothing once it is closed.
   *
   * @param range the pages
   * @return OK; ENOMEM beyond the limit; what {@link VirtualMachine#pin} answers: EFAULT where the
   *     host has no memory
   */
  @Override
  public Errno populated(GpaRange range) {
    List<Long> done = new ArrayList<>();
    AllSteps steps = new AllSteps();
    Errno errno = steps.answer(() -> pin(range, done), Errno.ECANCELED);
    if (errno != Errno.OK || Announce.read(this).closed) { // closed meanwhile: looked at again
      unpin(done, steps);
    }
    steps.end();
    return errno;
  }

  private Errno pin(GpaRange range, List<Long> done) {
    for (long gpa = range.gpa(); gpa < range.end(); gpa += Pages.SIZE) {
      if (Announce.read(this).closed) {
        return Errno.OK;
      }
      if (vm.memslotAt(gpa).isEmpty() || Announce.read(pins).containsKey(gpa)) {
        continue;
      }
      if (!reserve()) {
        return Errno.ENOMEM;
      }
      HostReference pin = null;
      boolean isNew = false;
      try {
        pin = vm.pin(gpa, Pages.SIZE);
        isNew = Announce.write(pins).putIfAbsent(gpa, pin) == null;
        if (isNew) {
          done.add(gpa);
        }
      } catch (GuestMemfdException e) {
        if (e.errno() != Errno.ENOENT) { // else its memslot has just been deleted
          return e.errno();
        }
      } finally {
        if (!isNew) {
          Announce.write(bytes).addAndGet(-Pages.SIZE);
          if (pin != null) { // another thread was faster
            pin.close();
          }
        }
      }
    }
    return Errno.OK;
  }

  /** Takes a page from the limit; not even for a moment more than there is. */
  private boolean reserve() {
    long before =
        Announce.write(bytes)
            .getAndUpdate(now -> now + Pages.SIZE > limit ? now : now + Pages.SIZE);
    return before + Pages.SIZE <= limit;
  }

  @Override
  public void discarded(GpaRange range) {
    unpin(Announce.read(pins).subMap(range.gpa(), range.end()).keySet());
  }

  private void unpin(Collection<Long> pages) {
    AllSteps steps = new AllSteps();
    unpin(pages, steps);
    steps.end();
  }

  private void unpin(Collection<Long> pages, AllSteps steps) {
    for (Long gpa : List.copyOf(pages)) {
      HostReference pin = Announce.write(pins).remove(gpa);
      if (pin != null) {
        Announce.write(bytes).addAndGet(-Pages.SIZE);
        steps.make(pin::close); // which calls a client if it was the last to hold the page
      }
    }
  }

  /** Unpins everything, and pins nothing from then on: the device is taken away. */
  @Override
  public void close() {
    Announce.write(this).closed = true; // first: what is pinned meanwhile is seen here or there
    unpin(Announce.read(pins).keySet());
  }

  @Override
  public String toString() {
    Map<Long, HostReference> now = Announce.read(pins);
    return "PinnedSharedMemory[pages=" + now.size() + "]";
  }
}
