package io.github.guestmemfd.lab.workload;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.kvm.ExitHandler;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.platform.PkvmGuest;
import io.github.guestmemfd.platform.PlatformGuest;
import java.util.OptionalLong;
import java.util.concurrent.atomic.LongAdder;

/** The private memory of a guest whose platform has hardware: how its vCPUs reach it. */
final class PrivateMemory {
  private static final int ATTEMPTS = 8;

  private final Machine m;
  private final PlatformGuest guest;

  /** Faults that the hardware has refused. */
  private final LongAdder refused = new LongAdder();

  PrivateMemory(Machine m, PlatformGuest guest) {
    this.m = m;
    this.guest = guest;
  }

  long refused() {
    return refused.sum();
  }

  /** An access of 8 bytes by what is mapped. */
  @FunctionalInterface
  interface Access {
    OptionalLong by(PlatformGuest guest);
  }

  /**
   * Makes an access, and faults as often as it takes: the monitor converts a page that is shared,
   * and tries again what the hardware has refused.
   *
   * @return what the access answers; empty if it could not be made
   */
  OptionalLong access(Vcpu vcpu, ExitHandler monitor, long gpa, Access access) {
    for (int i = 0; i < ATTEMPTS && !m.stop().isSet(); i++) {
      OptionalLong number = access.by(guest);
      if (number.isPresent()) {
        return number;
      }
      Errno errno = guest.use(m.memfd(), gpa);
      if (errno == Errno.EIO && guest.death().isPresent()) {
        m.stop().set(); // the virtual machine is dead, and with it the run
      } else if (errno == Errno.EFAULT) {
        boolean shared = !vcpu.tryRead(gpa, Long.BYTES, MemoryAttribute.PRIVATE);
        if (shared && !monitor.handle(vcpu, vcpu.exit())) {
          break;
        }
      } else if (errno != Errno.OK && errno != Errno.EAGAIN && errno != Errno.EINTR) {
        refused.increment();
      }
    }
    return OptionalLong.empty();
  }

  /** Reads any page as the guest does, with one fault if it is not mapped. */
  void peek(long gpa) {
    if (guest.read(gpa).isEmpty() && guest.use(m.memfd(), gpa) == Errno.OK) {
      guest.read(gpa);
    }
  }

  /** What the guest tells its hardware before it asks for pages to be shared. */
  void beforeShared(int first, int end) {
    if (guest instanceof PkvmGuest pkvm) {
      for (int page = first; page < end; page++) {
        if (guest.use(m.memfd(), Machine.offset(page)) == Errno.OK) {
          pkvm.share(Machine.offset(page), 0, 0);
        }
      }
    }
  }

  /**
   * What it tells its hardware when they are private.
   *
   * @return whether the hardware keeps the host from all of them when the guest uses them
   */
  boolean whenPrivate(int first, int end) {
    boolean all = true;
    if (guest instanceof PkvmGuest pkvm) {
      for (int page = first; page < end; page++) {
        long offset = Machine.offset(page);
        Errno errno = guest.use(m.memfd(), offset);
        all &=
            errno == Errno.OK
                ? pkvm.unshare(offset, 0, 0) != PkvmGuest.Hypercall.ABORT
                : errno == Errno.EFAULT; // the host's own: it is donated by the first access
      }
    }
    return all;
  }

  /** Whether the guest finds what the host has left in a page that has turned private. */
  boolean keepsContent() {
    return guest.content() == PlatformGuest.Content.KEPT;
  }

  /** Whether the content of a page is gone once it is unmapped, where nothing is handed over. */
  boolean losesUnmapped() {
    return guest.content() == PlatformGuest.Content.DESTROYED;
  }

  /** Whether a page that the guest has not used yet reads as zero. */
  boolean isNewPageZero() {
    return guest.content() != PlatformGuest.Content.ENCRYPTED;
  }
}
