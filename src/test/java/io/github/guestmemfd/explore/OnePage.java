package io.github.guestmemfd.explore;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VirtualMachine;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;

/**
 * A world of one shared page: a file, a mapping that has the page mapped, and a virtual machine
 * with two vCPUs, of which the first has it mapped too. What the guest writes as private is a
 * secret: a host that reads it has found a leak.
 */
final class OnePage {
  static final int PAGE = HostMemory.PAGE_SIZE;
  private static final long GPA = 0x10_0000;
  private static final long SECRET = 0x5ec2e7;

  /** A public operation, as one thread calls it; refusals that are documented are an outcome. */
  enum Operation {
    GRAB(
        w -> {
          try (Folio folio = w.memfd.grab(0, HolderKind.SAFE)) {
            folio.pfn();
          }
        }),
    GRAB_UNSAFE(
        w -> {
          try (Folio folio = w.memfd.grab(0, HolderKind.UNSAFE)) {
            folio.pfn();
          }
        }),
    LOAD(w -> w.requireNoSecret(w.window.getLong(0))),
    STORE(w -> w.window.putLong(0, 1)),
    GUP(
        w -> {
          try (HostReference reference = w.window.getUserPages(0, PAGE)) {
            reference.pages();
          }
        }),
    PIN(
        w -> {
          try (HostReference reference = w.window.pin(0, PAGE)) {
            w.requireNoSecret(reference.buffer(0).getLong(0));
          }
        }),
    MAKE_INACCESSIBLE(w -> w.memfd.makeInaccessible(0, PAGE)),
    MAKE_ACCESSIBLE(w -> w.memfd.makeAccessible(0, PAGE)),
    PUNCH(w -> w.memfd.punchHole(0, PAGE)),
    ALLOCATE(w -> w.memfd.allocate(0, PAGE)),
    DONTNEED(w -> w.window.madvise(0, PAGE, Advice.DONTNEED)),
    MUNMAP(w -> w.window.close()),
    MIGRATE(w -> w.refusal(w.host.pfnWalker().migrate(1))),
    SCAN(w -> w.host.pfnWalker().scan(1)),
    MEMORY_FAILURE(w -> w.refusal(w.host.pfnWalker().memoryFailure(1))),
    VCPU_READ_SHARED(w -> w.second.tryRead(GPA, 8, SHARED)),
    VCPU_WRITE_PRIVATE(w -> w.first.tryWrite(GPA, 8, SECRET, PRIVATE)),
    CONVERT_BY_THE_VM(
        w -> w.refusal(w.vm.trySetMemoryAttributes(GPA, PAGE, PRIVATE, new BusyGuestPage()))),
    UNBIND(w -> w.vm.unbind(0)),
    CLOSE(w -> w.memfd.close());

    @SuppressWarnings("ImmutableEnumChecker") // a function without state
    private final Scenario.Act<OnePage> act;

    Operation(Scenario.Act<OnePage> act) {
      this.act = act;
    }

    void run(OnePage world) throws Exception {
      try {
        act.on(world);
      } catch (GuestMemfdException | IllegalStateException e) {
        world.refusal(e);
      }
    }
  }

  private static final List<Errno> DOCUMENTED =
      List.of(
          Errno.OK,
          Errno.EAGAIN,
          Errno.EBADF,
          Errno.EFAULT,
          Errno.EBUSY,
          Errno.ENOENT,
          Errno.EACCES,
          Errno.EPERM,
          Errno.EHWPOISON,
          Errno.EINVAL,
          Errno.ENOMEM,
          Errno.EINTR);

  final HostMemory host = HostMemory.ofBytes(4L * PAGE);
  final VirtualMachine vm = new VirtualMachine();
  final GuestMemfd memfd;
  final HostMapping window;
  final Vcpu first = vm.createVcpu();
  final Vcpu second = vm.createVcpu();
  private final Deque<AutoCloseable> open = new ArrayDeque<>();

  OnePage(ConversionProtocol protocol, RetryPolicy retries) {
    open.push(host);
    memfd =
        vm.createGuestMemfd(
            GuestMemfd.builder(host)
                .size(PAGE)
                .protocol(protocol)
                .retryPolicy(retries)
                .flags(MMAP, INIT_SHARED));
    open.push(memfd);
    window = memfd.mmap(0, PAGE, Protection.READ, Protection.WRITE);
    open.push(window);
    vm.bind(0, GPA, PAGE, memfd, 0);
    window.putLong(0, 7);
    first.read(GPA, 8, SHARED);
  }

  void refusal(Errno errno) {
    if (!DOCUMENTED.contains(errno)) {
      throw new AssertionError("refused with " + errno);
    }
  }

  private void refusal(RuntimeException refused) {
    if (refused instanceof GuestMemfdException e) {
      refusal(e.errno());
    } else if (!String.valueOf(refused.getMessage()).matches("(?s).*(unmapped|closed|exited).*")) {
      throw refused;
    }
  }

  void requireNoSecret(long number) {
    if (number == SECRET) {
      throw new AssertionError("the host has read what the guest had written as private");
    }
  }

  /** Everything is given back, and then nothing is left. */
  void close() throws Exception {
    if (!host.violations().isEmpty()) {
      throw new AssertionError(host.violations().toString());
    }
    try {
      vm.unbind(0);
    } catch (GuestMemfdException e) {
      refusal(e);
    }
    while (open.size() > 1) {
      open.pop().close();
    }
    if (host.used() != 0) {
      throw new AssertionError(host.used() + " frames in use after everything was closed");
    }
    host.close();
  }
}
