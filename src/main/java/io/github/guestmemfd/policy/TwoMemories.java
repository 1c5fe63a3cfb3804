package io.github.guestmemfd.policy;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.MemoryAttributeRange;
import io.github.guestmemfd.kvm.Memslot;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.spi.Callback;
import io.github.guestmemfd.spi.LockOrder;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * Conversions between two memories: tells listeners, changes the attributes of the machine, and
 * discards what the guest no longer uses.
 *
 * <p>Listeners are asked before pages turn shared, while nothing has changed, so that a refusal
 * leaves nothing to undo but what they did. They are told after pages have turned private, and
 * memory is discarded when none of them can use it.
 */
final class TwoMemories implements Changes {
  private final VirtualMachine vm;
  private final PrivatePages onShared;
  private final SharedPages onPrivate;
  private final List<SharedMemoryListener> listeners;
  private final RangesUnderWay underWay;

  TwoMemories(
      VirtualMachine vm,
      PrivatePages onShared,
      SharedPages onPrivate,
      List<SharedMemoryListener> listeners,
      RangesUnderWay underWay) {
    this.vm = vm;
    this.onShared = onShared;
    this.onPrivate = onPrivate;
    this.listeners = listeners;
    this.underWay = underWay;
  }

  @Override
  public Errno change(GpaRange range, MemoryAttribute attribute, BusyGuestPage busy) {
    if (onShared == PrivatePages.KEEP && onPrivate == SharedPages.KEEP && listeners.isEmpty()) {
      return vm.trySetMemoryAttributes(range.gpa(), range.size(), attribute, busy);
    }
    return GuestMemfd.completingAfter(
        () -> {
          if (!underWay.lock(range)) {
            return Errno.EINTR;
          }
          try {
            return attribute == MemoryAttribute.SHARED
                ? toShared(range, busy)
                : toPrivate(range, busy);
          } finally {
            underWay.unlock(range);
          }
        });
  }

  /** The parts of a range that have an attribute. */
  private List<GpaRange> parts(GpaRange range, MemoryAttribute attribute) {
    List<GpaRange> parts = new ArrayList<>();
    for (MemoryAttributeRange part : vm.memoryAttributes(range.gpa(), range.size())) {
      if (part.attribute() == attribute) {
        parts.add(new GpaRange(part.gpa(), part.size()));
      }
    }
    return parts;
  }

  private Errno toShared(GpaRange range, BusyGuestPage busy) {
    List<GpaRange> parts = parts(range, MemoryAttribute.PRIVATE);
    List<Told> told = new ArrayList<>();
    Errno errno = Errno.ECANCELED; // unless it returns
    try {
      errno = populate(parts, told);
      if (errno == Errno.OK) {
        errno = vm.trySetMemoryAttributes(range.gpa(), range.size(), MemoryAttribute.SHARED, busy);
      }
    } finally {
      if (errno != Errno.OK) {
        try {
          takeBack(told);
        } finally {
          discardShared(parts); // a listener may have touched it
        }
      }
    }
    if (errno == Errno.OK && onShared == PrivatePages.DISCARD) {
      parts.forEach(this::discardPrivate);
    }
    return errno;
  }

  private Errno toPrivate(GpaRange range, BusyGuestPage busy) {
    List<GpaRange> parts = parts(range, MemoryAttribute.SHARED);
    Errno errno =
        vm.trySetMemoryAttributes(range.gpa(), range.size(), MemoryAttribute.PRIVATE, busy);
    if (errno != Errno.OK) {
      return errno;
    }
    List<Told> all = new ArrayList<>();
    for (int i = parts.size() - 1; i >= 0; i--) { // takeBack begins with the last
      for (int j = listeners.size() - 1; j >= 0; j--) {
        all.add(new Told(listeners.get(j), parts.get(i)));
      }
    }
    takeBack(all);
    discardShared(parts);
    return Errno.OK;
  }

  // ---- listeners ----

  private record Told(SharedMemoryListener listener, GpaRange range) {}

  /** Tells the listeners what is shared when the guest starts. */
  void tellShared(GpaRange memory) {
    if (listeners.isEmpty()) {
      return;
    }
    List<Told> told = new ArrayList<>();
    Errno errno = Errno.ECANCELED; // unless it returns
    try {
      errno = populate(parts(memory, MemoryAttribute.SHARED), told);
    } finally {
      if (errno != Errno.OK) {
        takeBack(told);
      }
    }
    if (errno != Errno.OK) {
      throw new GuestMemfdException(errno, "a listener refuses the shared memory in " + memory);
    }
  }

  private Errno populate(List<GpaRange> parts, List<Told> told) {
    for (GpaRange part : parts) {
      for (SharedMemoryListener listener : listeners) {
        checkOrder();
        Errno errno = listener.populated(part);
        if (errno != Errno.OK) {
          return errno;
        }
        told.add(new Told(listener, part));
      }
    }
    return Errno.OK;
  }

  /** Tells listeners that pages are discarded, the last first: all, whatever one of them throws. */
  private static void takeBack(List<Told> told) {
    for (int i = told.size() - 1; i >= 0; i--) {
      Told last = told.get(i);
      try {
        checkOrder();
        last.listener.discarded(last.range);
      } catch (Throwable e) {
        takeBack(told.subList(0, i));
        throw e;
      }
    }
  }

  private static void checkOrder() {
    if (LockOrder.isOn() && !GuestMemfd.isInsideCallback()) {
      LockOrder.beforeCall(Callback.SHARED_MEMORY_LISTENER);
    }
  }

  // ---- discarding ----

  private void discardShared(List<GpaRange> parts) {
    if (onPrivate == SharedPages.DISCARD) {
      for (GpaRange part : parts) {
        if (!tryDiscard(() -> vm.discardHostMemory(part.gpa(), part.size()))) {
          return;
        }
      }
    }
  }

  /** Punches the part of a range that the guest no longer uses out of its files. */
  private void discardPrivate(GpaRange range) {
    for (long at = range.gpa(); at < range.end(); ) {
      Optional<Memslot> next = vm.nextMemslot(at);
      if (next.isEmpty() || next.get().gpa() >= range.end()) {
        return;
      }
      Memslot slot = next.get();
      long from = Math.max(at, slot.gpa());
      long to = Math.min(range.end(), slot.gpa() + slot.size());
      Optional<GuestMemfd> file = slot.openFile();
      if (file.isPresent()) {
        try (GuestMemfd memfd = file.get()) {
          // A file that can be mapped has the shared pages too.
          if (!CreateFlag.MMAP.isIn(memfd.flags())
              && !tryDiscard(() -> memfd.punchHole(slot.offsetOf(from), to - from))) {
            return;
          }
        }
      }
      at = to;
    }
  }

  /**
   * Whether memory could be discarded; what could not stays, and the conversion is done all the
   * same.
   */
  private static boolean tryDiscard(Runnable discard) {
    try {
      discard.run();
      return true;
    } catch (GuestMemfdException e) {
      return false;
    }
  }
}
