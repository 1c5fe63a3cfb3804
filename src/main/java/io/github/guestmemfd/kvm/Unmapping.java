package io.github.guestmemfd.kvm;

import io.github.guestmemfd.ClientCall;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Pages;
import io.github.guestmemfd.spi.Callback;
import io.github.guestmemfd.spi.Exploration;
import io.github.guestmemfd.spi.InjectedFault;
import io.github.guestmemfd.spi.LockOrder;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * An unmapping of private pages, told to the clients that map them by page tables of their own
 * ({@link MachineOps}). For one thread.
 */
final class Unmapping {
  /** The clients that have begun, each with its pages. */
  private final List<Begun> begun = new ArrayList<>();

  private record Begun(MachineOps client, BoundSlot slot, GuestMemfd memfd, long from, long to) {
    Errno begin() {
      mayThrow("unmapBegin");
      if (Exploration.shouldFail()) { // it is explored that the client refuses
        return Errno.ENOMEM;
      }
      return client.unmapBegin(slot.offset(from), length());
    }

    Errno end() {
      client.unmapEnd(slot.offset(from), length());
      mayThrow("unmapEnd");
      return Errno.OK;
    }

    private long length() {
      return (to - from) << Pages.SHIFT;
    }
  }

  /** An unmapping of pages that no fault finds any more. */
  static void unmap(List<SlotPages> pages) {
    Unmapping unmapping = new Unmapping();
    try {
      unmapping.beginAll(pages);
    } finally {
      unmapping.end();
    }
  }

  /**
   * Begins, for the clients of those pages of memslots that it has not begun for.
   *
   * @return OK, or what a client has answered; it has not begun then, and later ones were not asked
   */
  Errno begin(List<SlotPages> pages) {
    for (SlotPages part : pages) {
      Errno errno = begin(part);
      if (errno != Errno.OK) {
        return errno;
      }
    }
    return Errno.OK;
  }

  private Errno begin(SlotPages part) {
    Begun client = client(part);
    if (client == null || hasBegun(part)) {
      return Errno.OK;
    }
    Errno errno = call("unmapBegin", client, client::begin);
    if (errno == Errno.OK) {
      begun.add(client);
    }
    return errno;
  }

  /**
   * As {@link #begin}, of pages that no fault finds any more: all clients are asked, whatever one
   * of them answers or throws.
   */
  void beginAll(List<SlotPages> pages) {
    beginAll(pages.iterator());
  }

  private void beginAll(Iterator<SlotPages> parts) {
    while (parts.hasNext()) {
      SlotPages part = parts.next();
      try {
        begin(part);
      } catch (Throwable e) {
        beginAll(parts);
        throw e;
      }
    }
  }

  private boolean hasBegun(SlotPages part) {
    return begun.stream().anyMatch(b -> b.slot == part.slot() && b.from == part.from());
  }

  private static @Nullable Begun client(SlotPages part) {
    BoundSlot slot = part.slot();
    GuestMemfd memfd = slot.memslot.memfd();
    MachineOps client = slot.gmem == null ? null : slot.gmem.machineOps();
    return memfd == null || client == null
        ? null
        : new Begun(client, slot, memfd, part.from(), part.to());
  }

  /** Ends, for all clients that have begun, whatever one of them throws. */
  void end() {
    end(begun.iterator());
  }

  private static void end(Iterator<Begun> clients) {
    while (clients.hasNext()) {
      Begun client = clients.next();
      try {
        call("unmapEnd", client, client::end);
      } catch (Throwable e) {
        end(clients);
        throw e;
      }
    }
  }

  private static Errno call(String name, Begun client, ClientCall.Body call) {
    LockOrder.beforeCall(Callback.MACHINE_OPS);
    return ClientCall.make(
        name, client.memfd, client.slot.offset(client.from), client.length(), call);
  }

  /** Throws if that is what is explored. */
  private static void mayThrow(String callback) {
    if (Exploration.shouldFail()) {
      throw new InjectedFault(callback);
    }
  }
}
