package io.github.guestmemfd.kvm;

import static io.github.guestmemfd.kvm.MemoryAttribute.PRIVATE;
import static io.github.guestmemfd.kvm.MemoryAttribute.SHARED;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.VmFixture;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Future;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Stream;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Two vCPUs against a monitor that converts, binds and closes.
 *
 * <p>What they must see is known without the library: the monitor writes down in an epoch for each
 * page whether that is stable as shared, stable as private, or being converted. An access that saw
 * one stable epoch before and after itself must have been done if and only if its view was that.
 * Each vCPU has a word of its own in each page, which must always be what it wrote there last.
 */
@Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class VcpuStressTest extends VmFixture {
  private static final int PAGES = 4;
  private static final int CONVERSIONS = 1_500;

  /** Epochs of a page, modulo 4. The odd ones are conversions under way. */
  private static final int STABLE_SHARED = 0;

  private static final int STABLE_PRIVATE = 2;

  private final AtomicIntegerArray epochs = new AtomicIntegerArray(PAGES);
  private final AtomicBoolean over = new AtomicBoolean();

  static Stream<Arguments> protocolsAndThreads() {
    return VcpuRaceTest.sound().stream()
        .flatMap(protocol -> threads().stream().map(kind -> Arguments.of(protocol, kind)));
  }

  // ---- conversions ----

  @ParameterizedTest
  @MethodSource("protocolsAndThreads")
  void vcpusRunWhileTheirPagesAreConverted(ConversionProtocol protocol, ThreadFactory threads)
      throws Exception {
    GuestMemfd memfd =
        closing(
            vm.createGuestMemfd(
                describe(PAGES)
                    .protocol(protocol)
                    .retryPolicy(RetryPolicy.spinThenWait(64, Duration.ofMillis(1)))));
    vm.bind(0, GPA, (long) PAGES * PAGE, memfd, 0);
    List<Future<Optional<VcpuExit>>> runs = new ArrayList<>();
    for (int i = 0; i < 2; i++) {
      Vcpu vcpu = vm.createVcpu();
      runs.add(vcpu.start(threads, this::check, (v, exit) -> false));
    }
    try (HostMapping window = memfd.mmap(0, memfd.size(), Protection.READ)) {
      for (int i = 0; i < CONVERSIONS && !runs.get(0).isDone() && !runs.get(1).isDone(); i++) {
        convert((i * 7) % PAGES, 1 + i % 2, window);
      }
    } finally {
      over.set(true);
    }
    for (Future<Optional<VcpuExit>> run : runs) {
      assertEquals(Optional.empty(), run.get(60, TimeUnit.SECONDS));
    }
    assertTrue(vm.metrics().zaps() > 0 && vm.metrics().memoryFaultExits() > 0);
  }

  /** Turns a page, or two that are one range, into the other thing. */
  private void convert(int page, int count, HostMapping window) {
    int pages = Math.min(count, PAGES - page);
    boolean toPrivate = epochs.get(page) % 4 == STABLE_SHARED;
    for (int i = 0; i < pages; i++) {
      if ((epochs.get(page + i) % 4 == STABLE_SHARED) != toPrivate) {
        pages = i;
        break;
      }
    }
    for (int i = 0; i < pages; i++) {
      epochs.incrementAndGet(page + i);
    }
    long gpa = GPA + (long) page * PAGE;
    BusyGuestPage busy = new BusyGuestPage();
    Errno errno;
    do {
      // A vCPU's reference, for as long as its fault lasts, may be in the way: once more.
      errno =
          vm.trySetMemoryAttributes(gpa, (long) pages * PAGE, toPrivate ? PRIVATE : SHARED, busy);
    } while (errno == Errno.EAGAIN);
    assertEquals(Errno.OK, errno);
    for (int i = 0; i < pages; i++) {
      epochs.incrementAndGet(page + i);
    }
    if (!toPrivate) {
      window.getLong((long) page * PAGE); // so that there is something to unmap
    }
    LockSupport.parkNanos(10_000);
  }

  /** The guest: accesses with both views, checked against the epochs and its own words. */
  private void check(Vcpu vcpu) {
    long[] last = new long[PAGES];
    long word = 8L * vcpu.id();
    for (int n = 1; !over.get(); n++) {
      int page = (n * 5 + vcpu.id()) % PAGES;
      long gpa = GPA + (long) page * PAGE + word;
      MemoryAttribute view = (n / 3) % 2 == 0 ? SHARED : PRIVATE;
      int before = epochs.get(page);
      boolean done;
      if (n % 2 == 0) {
        done = vcpu.tryWrite(gpa, 8, n, view);
        last[page] = done ? n : last[page];
      } else {
        done = vcpu.tryRead(gpa, 8, view);
        if (done) {
          assertEquals(last[page], vcpu.value(), "page " + page + " after " + n);
        }
      }
      int after = epochs.get(page);
      if (before == after && before % 2 == 0) {
        MemoryAttribute stable = before % 4 == STABLE_PRIVATE ? PRIVATE : SHARED;
        assertEquals(stable == view, done, () -> view + " access to a page that is " + stable);
      }
      if (!done) {
        VcpuExit.MemoryFault exit = assertInstanceOf(VcpuExit.MemoryFault.class, vcpu.exit());
        assertTrue(exit.errno() == Errno.EFAULT || exit.errno() == Errno.EAGAIN, exit::toString);
        assertEquals(view, exit.attribute());
      }
    }
  }

  // ---- memslots and files ----

  @ParameterizedTest
  @MethodSource("threads")
  void memslotsComeAndGoWhileVcpusRun(ThreadFactory threads) throws Exception {
    GuestMemfd memfd = bound(PAGES);
    List<Future<Optional<VcpuExit>>> runs = new ArrayList<>();
    for (int i = 0; i < 2; i++) {
      Vcpu vcpu = vm.createVcpu();
      runs.add(vcpu.start(threads, this::countUp, (v, exit) -> over(exit)));
    }
    for (int i = 0; i < 1_000; i++) {
      vm.unbind(0);
      // No thread is in there now, so nothing changes.
      long sum = sum(memfd);
      assertEquals(sum, sum(memfd));
      vm.bind(0, GPA, memfd.size(), memfd, 0);
      LockSupport.parkNanos(10_000);
    }
    over.set(true);
    for (Future<Optional<VcpuExit>> run : runs) {
      assertEquals(Optional.empty(), run.get(60, TimeUnit.SECONDS));
    }
    assertTrue(vm.metrics().mmioExits() > 0);
  }

  /** An access where there is no memslot is done again. */
  private static boolean over(VcpuExit exit) {
    assertInstanceOf(VcpuExit.Mmio.class, exit);
    Thread.onSpinWait();
    return true;
  }

  private static long sum(GuestMemfd memfd) {
    long sum = 0;
    try (HostMapping window = memfd.mmap(0, memfd.size(), Protection.READ)) {
      for (int i = 0; i < PAGES; i++) {
        sum += window.getLong((long) i * PAGE) + window.getLong((long) i * PAGE + 8);
      }
    }
    return sum;
  }

  private void countUp(Vcpu vcpu) {
    long[] last = new long[PAGES];
    for (int n = 0; !over.get() || n < PAGES; n++) {
      int page = n % PAGES;
      long gpa = GPA + (long) page * PAGE + 8L * vcpu.id();
      if (over.get()) {
        return; // the memslot may be gone for good
      }
      assertEquals(last[page], vcpu.read(gpa, 8, SHARED));
      vcpu.write(gpa, 8, ++last[page], SHARED);
    }
  }

  @ParameterizedTest
  @MethodSource("threads")
  void filesAreClosedWhileVcpusRun(ThreadFactory threads) throws Exception {
    for (int round = 0; round < 200; round++) {
      GuestMemfd memfd = vm.createGuestMemfd(describe(PAGES));
      vm.bind(0, GPA, memfd.size(), memfd, 0);
      List<Future<Optional<VcpuExit>>> runs = new ArrayList<>();
      for (int i = 0; i < 2; i++) {
        Vcpu vcpu = vm.createVcpu();
        runs.add(
            vcpu.start(
                threads,
                v -> {
                  for (int n = 0; ; n++) {
                    v.write(GPA + (long) (n % PAGES) * PAGE, 8, n, SHARED);
                  }
                },
                (v, exit) -> false));
      }
      LockSupport.parkNanos(20_000L * (round % 10));
      memfd.close();
      for (Future<Optional<VcpuExit>> run : runs) {
        VcpuExit.MemoryFault end =
            assertInstanceOf(
                VcpuExit.MemoryFault.class, run.get(60, TimeUnit.SECONDS).orElseThrow());
        assertEquals(Errno.EFAULT, end.errno());
      }
      assertEquals(0, host.used());
      vm.unbind(0);
    }
  }
}
