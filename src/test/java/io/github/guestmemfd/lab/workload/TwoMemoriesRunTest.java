package io.github.guestmemfd.lab.workload;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.lab.report.Doubled;
import io.github.guestmemfd.lab.report.Measurement;
import io.github.guestmemfd.lab.report.Monitor;
import io.github.guestmemfd.lab.report.Monitor.Discard;
import io.github.guestmemfd.policy.ConversionHandler;
import io.github.guestmemfd.policy.ConversionPolicy;
import io.github.guestmemfd.policy.GpaRange;
import java.util.Iterator;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.Consumer;
import java.util.function.Predicate;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Runs over monitors with two memories, and that the lab sees there what is wrong. */
class TwoMemoriesRunTest {
  private static final int PAGE = HostMemory.PAGE_SIZE;
  private static final long SIZE = 2 << 20;
  private static final double SECONDS = 0.1;

  /** For what has to come sooner or later. */
  private static final long LIMIT_NANOS = 60_000_000_000L;

  private static Monitor two(Discard discard, long pinnable) {
    return new Monitor(Monitor.Memory.TWO, discard, pinnable);
  }

  /** The same run, again and again, until something has been seen; what must not be never is. */
  private static Measurement runUntil(Predicate<Measurement> seen, RunConfig config) {
    long end = System.nanoTime() + LIMIT_NANOS;
    Measurement m;
    do {
      try (HostMemory host = RunConfig.host(config.hostSize())) {
        m = config.measure(host, () -> false);
      } catch (InterruptedException e) {
        throw new AssertionError(e);
      }
      assertThat(m.leaks()).as(m.firstLeak()).isZero();
      assertThat(m.corruptions()).isZero();
      assertThat(m.framesLeaked()).isZero();
      assertThat(m.refusedWithUnsafeHolder() + m.refusedWithoutUnsafeHolder()).isZero();
      assertThat(m.firstLooks()).isZero();
    } while (!seen.test(m) && System.nanoTime() - end < 0);
    assertThat(m).matches(seen);
    return m;
  }

  private static RunConfig config(Monitor monitor, Workload workload) {
    return new RunConfig(
        ConversionProtocol.atomicPair(), "on-fault", monitor, workload, 2, SIZE, SECONDS, 7);
  }

  static Stream<Arguments> runs() {
    return Stream.of(Workload.values())
        .flatMap(
            workload ->
                Stream.of(
                    Arguments.of("atomic-pair", "on-fault", two(Discard.NEVER, 0), workload),
                    Arguments.of("safe-only", "batched", two(Discard.BOTH, 0), workload),
                    Arguments.of("last-put", "hypercall", two(Discard.SHARED, 0), workload),
                    // Unsound, and has no chance to show it; half of the memory can be pinned.
                    Arguments.of("pin-check", "on-fault", two(Discard.PRIVATE, SIZE / 2), workload),
                    Arguments.of("lock-only", "eager", two(Discard.BOTH, SIZE), workload)));
  }

  @ParameterizedTest
  @MethodSource("runs")
  void nothingLeaksAndNothingIsLost(
      String protocol, String policy, Monitor monitor, Workload workload) {
    Measurement m =
        runUntil(
            seen ->
                seen.guestOps() > 0
                    && seen.conversionsToInaccessible() + seen.conversionsToAccessible() > 0,
            new RunConfig(
                ConversionProtocol.byId(protocol).orElseThrow(),
                policy,
                monitor,
                workload,
                2,
                SIZE,
                SECONDS,
                11));
    assertThat(m.map().columns()).isNotEmpty();
    assertThat(m.sigbus()).isZero();
  }

  @Test
  void whatIsNotDiscardedIsThereTwice() {
    Measurement m =
        runUntil(r -> r.doubled().mean() > 0, config(two(Discard.NEVER, 0), Workload.SHARE));
    assertThat((double) m.doubled().peak()).isBetween(m.doubled().mean(), (double) SIZE);
    // Both are means of samples, taken one after the other.
    assertThat(m.doubled().used()).isBetween(0.9 * m.doubled().mean(), (double) SIZE);
  }

  @Test
  void inPlaceNothingIs() throws InterruptedException {
    RunConfig config = config(Monitor.IN_PLACE, Workload.SHARE);
    try (HostMemory host = RunConfig.host(config.hostSize())) {
      assertThat(config.measure(host, () -> false).doubled()).isEqualTo(Doubled.NONE);
    }
  }

  @Test
  void aDeviceRefusesWhatItMayNotPin() {
    runUntil(r -> r.refusedToAccessible() > 0, config(two(Discard.BOTH, 16 * PAGE), Workload.BOOT));
  }

  // ---- the checkers see what is there ----

  private static void withMachine(Consumer<Machine> test) {
    try (HostMemory host = RunConfig.host(4 * SIZE);
        Machine m =
            Machine.create(
                host,
                ConversionProtocol.atomicPair(),
                Monitor.Memory.TWO,
                SIZE,
                Platform.NONE,
                GuestMemfdOps.NONE)) {
      test.accept(m);
    }
  }

  /** Not a secret of the file: the host reaches neither its bytes nor its frames. */
  @Test
  void theCheckerFindsASecretInSharedMemoryAndMakesNoMemory() {
    withMachine(
        m -> {
          var vcpu = m.vm().createVcpu();
          m.vm().setMemoryAttributes(0, PAGE, MemoryAttribute.PRIVATE);
          vcpu.tryWrite(Secrets.READ_AT, 8, Secrets.of(1), MemoryAttribute.PRIVATE);
          assertThat(m.memfd().cachedPages()).isEqualTo(1);
          Checker checker = new Checker(m);
          checker.lookAtAll();
          assertThat(m.secrets().leaks()).isZero();
          assertThat(m.ram().allocated()).isZero();
          m.window().putLong(5L * PAGE + Secrets.READ_AT, Secrets.of(1));
          checker.mapping(5);
          assertThat(m.secrets().leaks()).isEqualTo(1);
          checker.lookAtAll();
          assertThat(m.secrets().leaks()).isEqualTo(3); // by the mapping, and by the frame
          assertThat(m.ram().allocated()).isEqualTo(PAGE);
        });
  }

  @ParameterizedTest
  @EnumSource
  void aGuestFindsOutWhatBecameOfItsPrivatePage(Discard discard) {
    assertThat(corruptions(discard, discard)).isZero();
  }

  /** The monitor does other than it says. */
  @ParameterizedTest
  @CsvSource({"NEVER, PRIVATE, 2", "NEVER, BOTH, 2", "SHARED, PRIVATE, 2"})
  void aGuestFindsOutThatItsPrivatePageHasGone(Discard said, Discard done, long times) {
    assertThat(corruptions(said, done)).isEqualTo(times);
  }

  /** A guest keeps a secret in a page, shares the page, and looks for the secret again. */
  private static long corruptions(Discard said, Discard done) {
    long[] found = new long[1];
    withMachine(
        m -> {
          ConversionHandler handler =
              ConversionHandler.builder(m.vm(), ConversionPolicy.onFault())
                  .onShared(done.onShared())
                  .onPrivate(done.onPrivate())
                  .build();
          Iterator<Request> requests =
              List.of(
                      new Request(Request.Op.ACCEPT, 0, 1),
                      new Request(Request.Op.SHARE, 0, 1),
                      new Request(Request.Op.ACCEPT, 0, 1),
                      new Request(Request.Op.AWAIT, 0, 1))
                  .iterator();
          new GuestActor(
                  m,
                  m.vm().createVcpu(),
                  handler,
                  new Attempts(m.ledger()),
                  two(said, 0),
                  null,
                  () -> {
                    Request next = requests.next();
                    if (!requests.hasNext()) {
                      m.stop().set();
                    }
                    return next;
                  },
                  new SplittableRandom(1),
                  0,
                  1)
              .run();
          assertThat(m.secrets().leaks()).isZero();
          found[0] = m.secrets().corruptions();
        });
    return found[0];
  }

  // ---- the device ----

  @Test
  void aDeviceReadsAndWritesWhatItHasPinned() {
    withMachine(
        m -> {
          try (Passthrough device = new Passthrough(m, SIZE, new SplittableRandom(1))) {
            device.transfer(3);
            assertThat(device.done()).isZero();
            assertThat(device.populated(pages(0, 512))).isEqualTo(Errno.OK);
            device.check();
            device.transfer(3);
            assertThat(device.done()).isEqualTo(1);
            assertThat(m.window().getLong(3L * PAGE + Secrets.WRITE_AT)).isNotZero();
            m.window().putLong(3L * PAGE, Secrets.of(5));
            device.transfer(3);
            assertThat(m.secrets().firstLeak()).contains("by DMA").contains("page 3");
            device.discarded(pages(3, 1));
            device.transfer(3);
            assertThat(device.done()).isEqualTo(2);
            assertThat(m.secrets().corruptions()).isZero();
          }
        });
  }

  /** What a monitor must not do with memory that is pinned. */
  @Test
  void aPageThatIsDiscardedUnderADeviceIsSeen() {
    withMachine(
        m -> {
          try (Passthrough device = new Passthrough(m, SIZE, new SplittableRandom(1))) {
            assertThat(device.populated(pages(0, 4))).isEqualTo(Errno.OK);
            m.ram().discard(0, PAGE);
            device.transfer(0);
            assertThat(m.secrets().corruptions()).isEqualTo(1);
            device.transfer(1);
            assertThat(m.secrets().corruptions()).isEqualTo(1);
          }
        });
  }

  /** A page that turned private and is still pinned, or the other way round. */
  @Test
  void aDeviceThatWasNotToldIsSeen() {
    withMachine(
        m -> {
          try (Passthrough device = new Passthrough(m, SIZE, new SplittableRandom(1))) {
            device.populated(pages(0, 512));
            m.vm().setMemoryAttributes(0, PAGE, MemoryAttribute.PRIVATE);
            device.check();
            assertThat(m.secrets().corruptions()).isEqualTo(1);
            device.discarded(pages(0, 1));
            device.check();
            assertThat(m.secrets().corruptions()).isEqualTo(1);
          }
        });
  }

  private static GpaRange pages(long first, long count) {
    return new GpaRange(first * PAGE, count * PAGE);
  }
}
