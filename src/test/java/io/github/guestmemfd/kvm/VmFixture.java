package io.github.guestmemfd.kvm;

import static io.github.guestmemfd.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.CreateFlag.MMAP;
import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Errno;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdException;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.concurrent.WaitProbe;
import io.github.guestmemfd.concurrent.Worker;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.testing.RacePoints;
import java.util.ArrayDeque;
import java.util.Deque;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.AutoClose;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;

/** A host and a virtual machine for each test; all memory must have come home after it. */
@Timeout(value = 120, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
abstract class VmFixture {
  static final int PAGE = HostMemory.PAGE_SIZE;

  /** Where the first memslot is. */
  static final long GPA = 0x10_0000;

  @AutoClose final RacePoints races = new RacePoints();
  final WaitProbe probe = new WaitProbe();
  final HostMemory host =
      HostMemory.builder(64L * PAGE).raceHook(races).idleStrategy(probe).build();
  VirtualMachine vm = VirtualMachine.builder().raceHook(races).idleStrategy(probe).build();

  private final Deque<AutoCloseable> open = new ArrayDeque<>();

  @AfterEach
  void nothingIsLeft() throws Exception {
    Worker.start(
            () -> {
              while (!open.isEmpty()) {
                open.pop().close();
              }
              return null;
            })
        .result();
    assertEquals(0, host.used(), "memory in use after everything was closed");
    host.close();
  }

  <T extends AutoCloseable> T closing(T resource) {
    open.push(resource);
    return resource;
  }

  GuestMemfd.Builder describe(int pages) {
    return GuestMemfd.builder(host)
        .size((long) pages * PAGE)
        .flags(MMAP, INIT_SHARED)
        .retryPolicy(RetryPolicy.failAtOnce());
  }

  /** A file of the virtual machine, shared at first and without patience. */
  GuestMemfd file(int pages) {
    return closing(vm.createGuestMemfd(describe(pages)));
  }

  GuestMemfd file(int pages, GuestMemfdOps client) {
    return closing(vm.createGuestMemfd(describe(pages), client));
  }

  /** A file of so many pages, bound at GPA. */
  GuestMemfd bound(int pages) {
    GuestMemfd memfd = file(pages);
    vm.bind(0, GPA, memfd.size(), memfd, 0);
    return memfd;
  }

  static MemoryAttribute other(MemoryAttribute attribute) {
    return attribute == SHARED ? PRIVATE : SHARED;
  }

  static void assertMemoryFault(
      boolean done, Vcpu vcpu, long gpa, MemoryAttribute attribute, Access access, Errno errno) {
    assertFalse(done, "the access was done");
    assertEquals(
        new VcpuExit.MemoryFault(gpa & -PAGE, PAGE, attribute, access, errno), vcpu.exit());
  }

  /** The number at an address, of a page that must be of that attribute. */
  static long read(Vcpu vcpu, long gpa, MemoryAttribute attribute) {
    assertTrue(vcpu.tryRead(gpa, 8, attribute), () -> vcpu.exit().toString());
    return vcpu.value();
  }

  static void write(Vcpu vcpu, long gpa, long number, MemoryAttribute attribute) {
    assertTrue(vcpu.tryWrite(gpa, 8, number, attribute), () -> vcpu.exit().toString());
  }

  static <E extends GuestMemfdException> E refused(Class<E> type, Errno errno, Executable body) {
    E e = assertInstanceOf(type, assertThrows(GuestMemfdException.class, body));
    assertEquals(errno, e.errno(), e.toString());
    return e;
  }
}
