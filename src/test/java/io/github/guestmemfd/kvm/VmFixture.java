package io.github.guestmemfd.kvm;

import static io.github.guestmemfd.abi.CreateFlag.INIT_SHARED;
import static io.github.guestmemfd.abi.CreateFlag.MMAP;
import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.concurrent.WaitProbe;
import io.github.guestmemfd.concurrent.Worker;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.testing.RacePoints;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.concurrent.ThreadFactory;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.AutoClose;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;

/** A host and a virtual machine for each test; all memory must have come home after it. */
@Timeout(value = 120, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
@SuppressWarnings("exports") // of a test
public abstract class VmFixture {
  protected static final int PAGE = HostMemory.PAGE_SIZE;

  /** Where the first memslot is. */
  protected static final long GPA = 0x10_0000;

  @AutoClose public final RacePoints races = new RacePoints();
  protected final WaitProbe probe = new WaitProbe();
  protected final HostMemory host =
      HostMemory.builder(64L * PAGE).raceHook(races).idleStrategy(probe).build();
  protected VirtualMachine vm =
      VirtualMachine.builder().raceHook(races).idleStrategy(probe).build();

  private final Deque<AutoCloseable> open = new ArrayDeque<>();

  protected VmFixture() {}

  @AfterEach
  public void nothingIsLeft() throws Exception {
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

  protected <T extends AutoCloseable> T closing(T resource) {
    open.push(resource);
    return resource;
  }

  protected GuestMemfd.Builder describe(int pages) {
    return GuestMemfd.builder(host)
        .size((long) pages * PAGE)
        .flags(MMAP, INIT_SHARED)
        .retryPolicy(RetryPolicy.failAtOnce());
  }

  /** A file of the virtual machine, shared at first and without patience. */
  protected GuestMemfd file(int pages) {
    return closing(vm.createGuestMemfd(describe(pages)));
  }

  protected GuestMemfd file(int pages, GuestMemfdOps client) {
    return closing(vm.createGuestMemfd(describe(pages), client));
  }

  /** A file of so many pages, bound at GPA. */
  protected GuestMemfd bound(int pages) {
    GuestMemfd memfd = file(pages);
    vm.bind(0, GPA, memfd.size(), memfd, 0);
    return memfd;
  }

  protected static MemoryAttribute other(MemoryAttribute attribute) {
    return attribute == SHARED ? PRIVATE : SHARED;
  }

  protected static void assertMemoryFault(
      boolean done, Vcpu vcpu, long gpa, MemoryAttribute attribute, Access access, Errno errno) {
    assertFalse(done, "the access was done");
    assertEquals(
        new VcpuExit.MemoryFault(gpa & -PAGE, PAGE, attribute, access, errno), vcpu.exit());
  }

  /** The number at an address, of a page that must be of that attribute. */
  protected static long read(Vcpu vcpu, long gpa, MemoryAttribute attribute) {
    assertTrue(vcpu.tryRead(gpa, 8, attribute), () -> vcpu.exit().toString());
    return vcpu.value();
  }

  protected static void write(Vcpu vcpu, long gpa, long number, MemoryAttribute attribute) {
    assertTrue(vcpu.tryWrite(gpa, 8, number, attribute), () -> vcpu.exit().toString());
  }

  protected static <E extends GuestMemfdException> E refused(
      Class<E> type, Errno errno, Executable body) {
    E e = assertInstanceOf(type, assertThrows(GuestMemfdException.class, body));
    assertEquals(errno, e.errno(), e.toString());
    return e;
  }

  /** Platform threads, and virtual ones where this JVM has them. */
  protected static List<ThreadFactory> threads() {
    List<ThreadFactory> kinds = new ArrayList<>();
    kinds.add(daemons());
    if (Runtime.version().feature() >= 21) {
      kinds.add(virtual());
    }
    return kinds;
  }

  private static ThreadFactory daemons() {
    return body -> {
      Thread thread = Executors.defaultThreadFactory().newThread(body);
      thread.setDaemon(true);
      return thread;
    };
  }

  /** {@code Thread.ofVirtual().factory()}, which the Java that this is compiled for has not. */
  private static ThreadFactory virtual() {
    try {
      MethodHandles.Lookup lookup = MethodHandles.publicLookup();
      Class<?> builder = Class.forName("java.lang.Thread$Builder");
      Class<?> ofVirtual = Class.forName("java.lang.Thread$Builder$OfVirtual");
      Object made =
          lookup.findStatic(Thread.class, "ofVirtual", MethodType.methodType(ofVirtual)).invoke();
      return (ThreadFactory)
          lookup
              .findVirtual(builder, "factory", MethodType.methodType(ThreadFactory.class))
              .invoke(made);
    } catch (Throwable e) {
      throw new LinkageError("virtual threads", e);
    }
  }
}
