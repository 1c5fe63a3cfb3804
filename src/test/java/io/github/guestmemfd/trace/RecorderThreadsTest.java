package io.github.guestmemfd.trace;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.kvm.Access;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.kvm.Vcpu;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.spi.IdleStrategy;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import java.io.IOException;
import java.io.StringWriter;
import java.util.List;
import java.util.Random;
import java.util.concurrent.Semaphore;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * What is recorded of several threads. Calls that overlap stand in the order in which they ended;
 * where that order makes no difference, or calls do not overlap, the trace replays as it was.
 */
@Timeout(value = 300, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class RecorderThreadsTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final int CALLS = 2_000;

  private final StringWriter out = new StringWriter();
  private final RacePoints races = new RacePoints();
  private final HostMemory host = HostMemory.builder(64L * PAGE).raceHook(races).build();
  private final Recorder recorder;

  RecorderThreadsTest() {
    recorder = Recorder.to(out, 256, IdleStrategy.spinThenPark());
  }

  private GuestMemfd.Builder describe(int pages) {
    return GuestMemfd.builder(host)
        .size((long) pages * PAGE)
        .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
        .retryPolicy(RetryPolicy.failAtOnce())
        .listener(recorder);
  }

  private static HostMapping map(GuestMemfd memfd) {
    return memfd.mmap(0, memfd.size(), Protection.READ, Protection.WRITE);
  }

  /** Random calls on some pages of a file, each of which answers the same whatever others do. */
  private static Void use(GuestMemfd memfd, HostMapping window, int from, int pages, long seed) {
    Random random = new Random(seed);
    for (int i = 0; i < CALLS; i++) {
      long at = PAGE * (long) (from + random.nextInt(pages));
      switch (random.nextInt(8)) {
        case 0 -> memfd.tryMakeInaccessible(at, PAGE);
        case 1, 2 -> memfd.tryMakeAccessible(at, PAGE);
        case 3 -> memfd.punchHole(at, PAGE);
        case 4 -> window.madvise(at, PAGE, Advice.DONTNEED);
        case 5 -> memfd.isAccessible(at);
        default -> access(window, at, random);
      }
    }
    return null;
  }

  private static void access(HostMapping window, long at, Random random) {
    try {
      switch (random.nextInt(3)) {
        case 0 -> window.putLong(at, random.nextLong());
        case 1 -> window.getLong(at);
        default -> {
          HostReference reference = window.getUserPages(at, 8);
          window.madvise(at, PAGE, Advice.DONTNEED);
          reference.close();
        }
      }
    } catch (SigBusException e) {
      assertThat(e.offset()).isEqualTo(at);
    } catch (GuestMemfdException e) {
      assertThat(e.errno()).isEqualTo(Errno.EFAULT); // of the reference
    }
  }

  private List<String> lines() throws IOException {
    host.close();
    recorder.close();
    return out.toString().lines().toList();
  }

  private void assertReplays(int least) throws IOException {
    List<String> lines = lines();
    Trace trace = Trace.parse("recorded", lines);
    assertThat(trace.size()).isGreaterThan(least);
    assertThat(Replay.run(trace, ConversionProtocol.atomicPair()).differences()).isEmpty();
  }

  @Test
  void filesOfTheirOwn() throws Exception {
    Worker<Void> one = Worker.start(() -> ownFile(1));
    Worker<Void> other = Worker.start(() -> ownFile(2));
    one.result();
    other.result();
    assertReplays(CALLS);
  }

  private Void ownFile(long seed) {
    try (GuestMemfd memfd = describe(3).build();
        HostMapping window = map(memfd)) {
      return use(memfd, window, 0, 3, seed);
    }
  }

  @Test
  void pagesOfTheirOwn() throws Exception {
    try (GuestMemfd memfd = describe(6).build();
        HostMapping window = map(memfd)) {
      Worker<Void> one = Worker.start(() -> use(memfd, window, 0, 3, 1));
      Worker<Void> other = Worker.start(() -> use(memfd, window, 3, 3, 2));
      one.result();
      other.result();
    }
    assertReplays(CALLS);
  }

  /** A guest converts its part of the file, while the host uses the other. */
  @Test
  void aGuestAndAHost() throws Exception {
    VirtualMachine vm = new VirtualMachine();
    try (GuestMemfd memfd = vm.createGuestMemfd(describe(6));
        HostMapping window = map(memfd)) {
      recorder.bind(vm, 0, 0, 6L * PAGE, memfd, 0);
      Worker<Void> guest = Worker.start(() -> guest(vm));
      Worker<Void> hosts = Worker.start(() -> use(memfd, window, 3, 3, 1));
      guest.result();
      hosts.result();
    }
    assertReplays(CALLS);
  }

  private static Void guest(VirtualMachine vm) {
    Vcpu vcpu = vm.createVcpu();
    Random random = new Random(7);
    BusyGuestPage busy = new BusyGuestPage();
    for (int i = 0; i < CALLS; i++) {
      long gpa = PAGE * (long) random.nextInt(3);
      MemoryAttribute view =
          random.nextBoolean() ? MemoryAttribute.PRIVATE : MemoryAttribute.SHARED;
      if (!vcpu.tryTouch(gpa, Access.WRITE, view)) {
        vm.trySetMemoryAttributes(gpa, PAGE, view, busy);
      }
    }
    return null;
  }

  /** On the same pages, but one call at a time: the order is that of the turns. */
  @Test
  void inTurns() throws Exception {
    Semaphore[] turns = {new Semaphore(1), new Semaphore(0)};
    try (GuestMemfd memfd = describe(3).build();
        HostMapping window = map(memfd)) {
      Worker<Void> one = Worker.start(() -> inTurns(memfd, window, turns[0], turns[1], 1));
      Worker<Void> other = Worker.start(() -> inTurns(memfd, window, turns[1], turns[0], 2));
      one.result();
      other.result();
    }
    assertReplays(CALLS / 2);
  }

  private static Void inTurns(
      GuestMemfd memfd, HostMapping window, Semaphore mine, Semaphore next, long seed)
      throws InterruptedException {
    Random random = new Random(seed);
    for (int i = 0; i < CALLS / 2; i++) {
      mine.acquire();
      long at = PAGE * (long) random.nextInt(3);
      if (random.nextInt(3) == 0) {
        memfd.tryMakeInaccessible(at, PAGE);
      } else if (random.nextBoolean()) {
        memfd.tryMakeAccessible(at, PAGE);
      } else {
        access(window, at, random);
      }
      next.release();
    }
    return null;
  }

  /** A call that began first and ended last stands last; its release would stand first. */
  @Test
  void callsThatOverlapStandAsTheyEnded() throws Exception {
    GuestMemfd memfd = describe(2).build();
    HostMapping window = map(memfd);
    RacePoints.Gate gate = races.hold(RacePoint.BEFORE_PTE_INSTALL);
    Worker<Void> store =
        Worker.start(
            () -> {
              window.putByte(0, (byte) 1);
              return null;
            });
    gate.awaitReached();
    memfd.allocate(PAGE, PAGE);
    memfd.isAccessible(0);
    gate.release();
    store.result();
    window.close();
    memfd.close();
    assertThat(lines())
        .containsExactly(
            "# guest_memfd trace 1",
            "# profile: 6.18",
            "create m0 size=8192 flags=0x3 = ok",
            "mmap a0 m0 offset=0 length=8192 prot=rw flags=SHARED = ok",
            "fallocate m0 0x1 4096 4096 = ok",
            "attr m0 0 = shared",
            "store a0 0 0x01 = ok",
            "munmap a0 = ok",
            "close m0 = ok");
  }
}
