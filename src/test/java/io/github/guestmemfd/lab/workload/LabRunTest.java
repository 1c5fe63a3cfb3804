package io.github.guestmemfd.lab.workload;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.ForwardingProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.lab.report.Measurement;
import io.github.guestmemfd.lab.report.Monitor;
import io.github.guestmemfd.policy.ConversionPolicy;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.Predicate;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Runs of the lab: what sound protocols must never show, and that the lab sees it where it is. A
 * run goes on until it has seen what it waits for, or long enough for the rest.
 */
class LabRunTest {
  private static final long SIZE = 4 << 20;
  private static final long HOST_SIZE = 2 * SIZE;
  private static final double SECONDS = 0.15;

  private static final Monitor DISCARDS =
      new Monitor(Monitor.Memory.IN_PLACE, Monitor.Discard.PRIVATE, 0);

  /** For what has to come sooner or later: the run ends as soon as it is there. */
  private static final double LONG = 60;

  private static Measurement run(
      ConversionProtocol protocol, String policy, Monitor monitor, Workload workload) {
    return run(new RunConfig(protocol, policy, monitor, workload, 2, SIZE, SECONDS, 11));
  }

  private static Measurement run(RunConfig config) {
    try (HostMemory host = RunConfig.host(config.hostSize())) {
      return config.measure(host, () -> false);
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
  }

  /** The same run, again and again, until something has been seen. */
  private static Measurement runUntil(Predicate<Measurement> seen, Supplier<Measurement> run) {
    long deadline = System.nanoTime() + (long) (LONG * 1e9);
    Measurement m = run.get();
    while (!seen.test(m) && System.nanoTime() - deadline < 0) {
      m = run.get();
    }
    return m;
  }

  private static Measurement adversaryUntil(
      Predicate<Measurement> seen, ConversionProtocol protocol) {
    return runUntil(seen, () -> run(protocol, "on-fault", Monitor.IN_PLACE, Workload.ADVERSARY));
  }

  static Stream<Arguments> soundRuns() {
    List<ConversionProtocol> sound =
        ConversionProtocol.all().stream().filter(ConversionProtocol::isSound).toList();
    Stream<Arguments> protocols =
        sound.stream()
            .flatMap(
                p ->
                    Stream.of(Workload.values())
                        .map(w -> Arguments.of(p, "on-fault", Monitor.IN_PLACE, w)));
    Stream<Arguments> policies =
        ConversionPolicy.ids().stream()
            .flatMap(
                policy ->
                    Stream.of(Workload.values())
                        .map(
                            w ->
                                Arguments.of(
                                    ConversionProtocol.atomicPair(), policy, DISCARDS, w)));
    return Stream.concat(protocols, policies);
  }

  @ParameterizedTest
  @MethodSource("soundRuns")
  void aSoundProtocolLeaksNothingAndLosesNothing(
      ConversionProtocol protocol, String policy, Monitor monitor, Workload workload) {
    Measurement m =
        runUntil(
            seen -> seen.conversionsToInaccessible() > 0 && seen.guestOps() > 0,
            () -> unblemished(run(protocol, policy, monitor, workload)));
    assertThat(m.conversionsToInaccessible()).isPositive();
    assertThat(m.guestOps()).isPositive();
    assertThat(m.latency().getTotalCount()).isPositive();
    assertThat(m.map().columns()).isNotEmpty();
  }

  private static Measurement unblemished(Measurement m) {
    assertThat(m.leaks()).as(m.firstLeak()).isZero();
    assertThat(m.corruptions()).isZero();
    assertThat(m.framesLeaked()).isZero();
    return m;
  }

  @Test
  void pinCheckLeaksUnderTheAdversary() {
    Measurement m = adversaryUntil(seen -> seen.leaks() > 0, ConversionProtocol.pinCheck());
    assertThat(m.leaks()).isPositive();
    assertThat(m.firstLeak()).contains("page");
    assertThat(m.sound()).isFalse();
    assertThat(m.framesLeaked()).isZero();
  }

  /** The broken twin of every sound protocol: held or not, the page may turn. */
  @Test
  void aProtocolThatAlwaysSaysYesLeaks() {
    ConversionProtocol careless =
        new ForwardingProtocol(ConversionProtocol.atomicPair()) {
          @Override
          public boolean mayTurnInaccessible(int refs, int safe) {
            return true;
          }
        };
    assertThat(adversaryUntil(seen -> seen.leaks() > 0, careless).leaks()).isPositive();
  }

  @Test
  void aRefusalWithoutAHolderIsFalseBusy() {
    ConversionProtocol never =
        new ForwardingProtocol(ConversionProtocol.atomicPair()) {
          @Override
          public boolean mayTurnInaccessible(int refs, int safe) {
            return false;
          }

          @Override
          public RetryPolicy retryPolicy() {
            return RetryPolicy.failAtOnce();
          }
        };
    // BOOT: no thread of the host holds anything there but the device.
    Measurement m =
        runUntil(
            seen -> seen.refusedWithoutUnsafeHolder() > 0,
            () -> run(never, "hypercall", Monitor.IN_PLACE, Workload.BOOT));
    assertThat(m.refusedWithoutUnsafeHolder()).isPositive();
  }

  @Test
  void aRefusalWithAHolderIsNone() {
    Measurement m =
        adversaryUntil(
            seen -> seen.refusedWithUnsafeHolder() > 0, ConversionProtocol.invalidateLock());
    assertThat(m.refusedWithUnsafeHolder()).isPositive();
  }

  @Test
  void aRunEndsWhenItIsStopped() throws InterruptedException {
    try (HostMemory host = RunConfig.host(HOST_SIZE)) {
      RunConfig config =
          new RunConfig(
              ConversionProtocol.atomicPair(),
              "eager",
              Monitor.IN_PLACE,
              Workload.SHARE,
              2,
              SIZE,
              1e6,
              1);
      Measurement m = config.measure(host, () -> true);
      assertThat(m.framesLeaked()).isZero();
      assertThat(host.used()).isZero();
    }
  }

  // ---- the checkers see what is there ----

  private static void withMachine(Consumer<Machine> test) {
    withMachine(Monitor.Memory.IN_PLACE, test);
  }

  private static void withMachine(Monitor.Memory memory, Consumer<Machine> test) {
    try (HostMemory host = RunConfig.host(HOST_SIZE);
        Machine m =
            Machine.create(
                host,
                ConversionProtocol.atomicPair(),
                memory,
                SIZE,
                Platform.NONE,
                GuestMemfdOps.NONE)) {
      test.accept(m);
    }
  }

  @Test
  void theCheckerFindsASecretThroughTheMappingAndThroughTheDirectMap() {
    withMachine(
        m -> {
          m.window().putLong(5 * 4096L + Secrets.READ_AT, Secrets.of(1));
          Checker checker = new Checker(m);
          checker.mapping(5);
          assertThat(m.secrets().leaks()).isEqualTo(1);
          assertThat(m.secrets().firstLeak()).contains("through a mapping, page 5");
          int pfn;
          try (var reference = m.window().getUserPages(5 * 4096L, 4096)) {
            pfn = reference.pfn(0);
          }
          checker.direct(pfn);
          assertThat(m.secrets().leaks()).isEqualTo(2);
          checker.mapping(6);
          assertThat(m.secrets().leaks()).isEqualTo(2);
        });
  }

  @Test
  void whoHoldsAPageFindsASecretThere() {
    withMachine(
        m -> {
          try (Holdings holdings = new Holdings(m, "a test")) {
            assertThat(holdings.take(7, 1, false)).isTrue();
            assertThat(m.ledger().isHeld(7)).isTrue();
            holdings.use(1);
            assertThat(m.secrets().leaks()).isZero();
            m.window().putLong(7 * 4096L + Secrets.READ_AT, Secrets.of(1));
            holdings.use(1);
            assertThat(m.secrets().leaks()).isEqualTo(1);
          }
          assertThat(m.ledger().isHeld(7)).isFalse();
          assertThat(m.secrets().leaks()).isEqualTo(2); // the last look
        });
  }

  @Test
  void whatIsPrivateCannotBeHeldAndIsNotInTheLedger() {
    withMachine(
        m -> {
          GuestMemfd memfd = m.memfd();
          assertThat(memfd.tryMakeInaccessible(2 * 4096L, 4096)).isEqualTo(Errno.OK);
          try (Holdings holdings = new Holdings(m, "a test")) {
            assertThat(holdings.take(2, 1, true)).isFalse();
            assertThat(holdings.take(0, 4, true)).isTrue(); // up to the private page
            assertThat(m.ledger().isHeld(1)).isTrue();
            assertThat(m.ledger().isHeld(2)).isFalse();
          }
        });
  }
}
