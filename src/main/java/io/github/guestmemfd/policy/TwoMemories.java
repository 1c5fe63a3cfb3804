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
import java.util.Objects;
import java.util.Optional;

/**
 * Conversions between two memories: tells listeners, changes the attributes of the machine, and
 * discards what the guest no longer uses.
 *
 * <p>Listeners are asked before pages turn shared, while nothing has changed, so that a refusal
 * leaves nothing to undo but what they did. They are told after pages have turned private, and
 * memory is discarded when none of them can use it. What a listener or a client throws stops none
 * of what is to follow: the others are told, and memory is discarded.
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
    AllSteps steps = new AllSteps();
    Errno errno =
        steps.answer(
            () -> {
              Errno refusal = populate(parts, told);
              return refusal == Errno.OK
                  ? vm.trySetMemoryAttributes(
                      range.gpa(), range.size(), MemoryAttribute.SHARED, busy)
                  : refusal;
            },
            Errno.ECANCELED);
    if (errno != Errno.OK) {
      takeBack(told, steps);
      discardShared(parts, steps); // a listener may have touched it
    } else if (onShared == PrivatePages.DISCARD) {
      parts.forEach(part -> discardPrivate(part, steps));
    }
    steps.end();
    return errno;
  }

  private Errno toPrivate(GpaRange range, BusyGuestPage busy) {
    List<GpaRange> parts = parts(range, MemoryAttribute.SHARED);
    Errno errno =
        vm.trySetMemoryAttributes(range.gpa(), range.size(), MemoryAttribute.PRIVATE, busy);
    if (errno != Errno.OK) {
      return errno;
    }
    AllSteps steps = new AllSteps();
    for (GpaRange part : parts) {
      for (SharedMemoryListener listener : listeners) {
        tellDiscarded(new Told(listener, part), steps);
      }
    }
    discardShared(parts, steps);
    steps.end();
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
    AllSteps steps = new AllSteps();
    Errno errno =
        steps.answer(() -> populate(parts(memory, MemoryAttribute.SHARED), told), Errno.ECANCELED);
    if (errno != Errno.OK) {
      takeBack(told, steps);
    }
    steps.end();
    if (errno != Errno.OK) {
      throw new GuestMemfdException(errno, "a listener refuses the shared memory in " + memory);
    }
  }

  /**
   * Tells the listeners that pages are shared, until one of them refuses.
   *
   * @param told receives who is to be told the contrary if the pages stay private: also a listener
   *     that throws, since what it has done is not known
   */
  private Errno populate(List<GpaRange> parts, List<Told> told) {
    for (GpaRange part : parts) {
      for (SharedMemoryListener listener : listeners) {
        checkOrder();
        told.add(new Told(listener, part));
        Errno errno =
            Objects.requireNonNull(
                listener.populated(part), () -> listener + ": populated answered null");
        if (errno != Errno.OK) {
          told.remove(told.size() - 1); // it has undone what it did
          return errno;
        }
      }
    }
    return Errno.OK;
  }

  /** Tells listeners that pages are discarded, the last first. */
  private static void takeBack(List<Told> told, AllSteps steps) {
    for (int i = told.size() - 1; i >= 0; i--) {
      tellDiscarded(told.get(i), steps);
    }
  }

  private static void tellDiscarded(Told told, AllSteps steps) {
    steps.make(
        () -> {
          checkOrder();
          told.listener.discarded(told.range);
        });
  }

  private static void checkOrder() {
    if (LockOrder.isOn() && !GuestMemfd.isInsideCallback()) {
      LockOrder.beforeCall(Callback.SHARED_MEMORY_LISTENER);
    }
  }

  // ---- discarding ----

  private void discardShared(List<GpaRange> parts, AllSteps steps) {
    if (onPrivate == SharedPages.DISCARD) {
      for (GpaRange part : parts) {
        discard(() -> vm.discardHostMemory(part.gpa(), part.size()), steps);
      }
    }
  }

  /** Punches the part of a range that the guest no longer uses out of its files. */
  private void discardPrivate(GpaRange range, AllSteps steps) {
    for (long at = range.gpa(); at < range.end(); ) {
      Optional<Memslot> next = vm.nextMemslot(at);
      if (next.isEmpty() || next.get().gpa() >= range.end()) {
        return;
      }
      Memslot slot = next.get();
      long from = Math.max(at, slot.gpa());
      long to = Math.min(range.end(), slot.gpa() + slot.size());
      discard(() -> punch(slot, slot.offsetOf(from), to - from), steps);
      at = to;
    }
  }

  private static void punch(Memslot slot, long offset, long length) {
    Optional<GuestMemfd> file = slot.openFile();
    if (file.isPresent()) {
      try (GuestMemfd memfd = file.get()) {
        if (!CreateFlag.MMAP.isIn(memfd.flags())) { // else it has the shared pages too
          memfd.punchHole(offset, length);
        }
      }
    }
  }

  /** What cannot be discarded stays, and the conversion is done all the same. */
  private static void discard(Runnable discard, AllSteps steps) {
    steps.make(
        () -> {
          try {
            discard.run();
          } catch (GuestMemfdException e) {
            // interrupted, or a client refuses
          }
        });
  }
}
