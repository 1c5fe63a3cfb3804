package io.github.guestmemfd.lab.workload;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.lab.report.Condition;
import io.github.guestmemfd.lab.report.Monitor;
import io.github.guestmemfd.lab.report.Survival;
import java.util.function.Predicate;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** What becomes of a guest of each platform, and that the lab sees it where it is bad. */
class SurvivalTest {
  private static final long SIZE = 1 << 20;

  /** For what has to come sooner or later. */
  private static final long LIMIT_NANOS = 60_000_000_000L;

  private static Survival run(
      Platform platform,
      Condition condition,
      ConversionProtocol protocol,
      String policy,
      Monitor monitor,
      Workload workload) {
    try {
      return new RunConfig(protocol, policy, monitor, workload, 2, SIZE, 0.15, 5)
          .survive(platform, condition, () -> false);
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
  }

  private static Survival usual(
      Platform platform, Condition condition, Monitor monitor, Workload workload) {
    return run(
        platform, condition, ConversionProtocol.atomicPair(), "hypercall", monitor, workload);
  }

  /** The same run, again and again, until something has been seen. */
  private static Survival until(
      Predicate<Survival> seen, Platform platform, Condition condition, Workload workload) {
    return until(seen, platform, condition, Monitor.IN_PLACE, workload);
  }

  private static Survival until(
      Predicate<Survival> seen,
      Platform platform,
      Condition condition,
      Monitor monitor,
      Workload workload) {
    long end = System.nanoTime() + LIMIT_NANOS;
    Survival s = usual(platform, condition, monitor, workload);
    while (!seen.test(s) && System.nanoTime() - end < 0) {
      s = usual(platform, condition, monitor, workload);
    }
    return s;
  }

  @ParameterizedTest
  @EnumSource
  void aGuestSurvivesOnHardwareThatWorks(Platform platform) {
    for (Workload workload : new Workload[] {Workload.SHARE, Workload.BALLOON, Workload.RESTORE}) {
      Survival s = until(Survival::survives, platform, Condition.WORKS, workload);
      assertThat(s.findings()).as(s.toString()).isEmpty();
      assertThat(s.guestOps()).isPositive();
    }
  }

  @ParameterizedTest
  @EnumSource
  void aGuestSurvivesOnHardwareThatRefusesFaults(Platform platform) {
    Survival s = until(Survival::survives, platform, Condition.REFUSES, Workload.SHARE);
    assertThat(s.findings()).as(s.toString()).isEmpty();
  }

  @ParameterizedTest
  @EnumSource(names = {"TDX", "TDX_6_18"})
  void aTrustDomainDiesOfAPageThatIsNotRemoved(Platform platform) {
    Survival s = until(r -> !r.death().isEmpty(), platform, Condition.KEEPS, Workload.SHARE);
    assertThat(s.findings()).as(s.toString()).contains("dead", "frames lost");
    assertThat(s.death()).startsWith("REMOVE");
    assertThat(s.framesLeaked()).as("what 6.18 keeps, it keeps on purpose").isZero();
  }

  @ParameterizedTest
  @EnumSource(names = {"SNP", "CCA", "PKVM"})
  void othersLiveAndLoseFrames(Platform platform) {
    Survival s = until(r -> r.owned() > 0, platform, Condition.KEEPS, Workload.BALLOON);
    assertThat(s.findings()).as(s.toString()).containsExactly("frames lost");
  }

  /** A reference that a page keeps while it is mapped, with the folio lock. */
  @Test
  void lockOnlyIsStuckWherePagesHoldReferences() throws InterruptedException {
    ConversionProtocol lockOnly = ConversionProtocol.lockOnly();
    assertThat(Walk.isStuck(Platform.TDX_6_18, lockOnly, Monitor.Memory.IN_PLACE)).isTrue();
    assertThat(Walk.isStuck(Platform.TDX_6_18, lockOnly, Monitor.Memory.TWO)).isTrue();
    assertThat(Walk.isStuck(Platform.TDX, lockOnly, Monitor.Memory.IN_PLACE)).isFalse();
    assertThat(Walk.isStuck(Platform.TDX, lockOnly, Monitor.Memory.TWO)).isFalse();
    Survival s =
        run(
            Platform.TDX_6_18,
            Condition.WORKS,
            lockOnly,
            "hypercall",
            Monitor.IN_PLACE,
            Workload.SHARE);
    assertThat(s.findings()).containsExactly("stuck");
  }

  /** A page that the guest has shared is still its own: no access of the guest is a fault. */
  @Test
  void policiesThatWaitForAFaultDoNotSuitPkvm() {
    long end = System.nanoTime() + LIMIT_NANOS;
    Survival s;
    do {
      s =
          run(
              Platform.PKVM,
              Condition.WORKS,
              ConversionProtocol.atomicPair(),
              "on-fault",
              Monitor.IN_PLACE,
              Workload.SHARE);
    } while (s.aborts() == 0 && System.nanoTime() - end < 0);
    assertThat(s.findings()).as(s.toString()).containsExactly("aborts");
  }

  // ---- two memories ----

  private static final Monitor TWO = new Monitor(Monitor.Memory.TWO, Monitor.Discard.NEVER, 0);

  @ParameterizedTest
  @EnumSource(names = {"NONE", "SNP", "TDX", "TDX_6_18"})
  void aGuestWithTwoMemoriesSurvives(Platform platform) {
    assertThat(platform.has(Monitor.Memory.TWO)).isTrue();
    for (Monitor.Discard discard : Monitor.Discard.values()) {
      Monitor monitor = new Monitor(Monitor.Memory.TWO, discard, 0);
      for (Workload workload :
          new Workload[] {Workload.SHARE, Workload.BALLOON, Workload.RESTORE}) {
        Survival s = until(Survival::survives, platform, Condition.WORKS, monitor, workload);
        assertThat(s.findings()).as(s.toString()).isEmpty();
        assertThat(s.guestOps()).isPositive();
      }
    }
    Survival s = until(Survival::survives, platform, Condition.REFUSES, TWO, Workload.SHARE);
    assertThat(s.findings()).as(s.toString()).isEmpty();
  }

  @ParameterizedTest
  @EnumSource(names = {"PKVM", "CCA"})
  void othersHaveNoSuchMonitors(Platform platform) {
    assertThat(platform.has(Monitor.Memory.TWO)).isFalse();
    assertThat(platform.has(Monitor.Memory.IN_PLACE)).isTrue();
  }

  /** The unmapping that a change of attributes makes is what fails. */
  @Test
  void aTrustDomainDiesOfAChangeOfAttributes() {
    Survival s =
        until(r -> !r.death().isEmpty(), Platform.TDX_6_18, Condition.KEEPS, TWO, Workload.SHARE);
    assertThat(s.findings()).as(s.toString()).contains("dead", "frames lost");
    assertThat(s.framesLeaked()).isZero();
  }

  /** No count is looked at, so what is unsound in place leaks nothing. */
  @Test
  void pinCheckDoesNotLeakWhereMemoriesLieApart() {
    for (int i = 0; i < 3; i++) {
      Survival s =
          run(
              Platform.SNP,
              Condition.WORKS,
              ConversionProtocol.pinCheck(),
              "hypercall",
              TWO,
              Workload.SHARE);
      assertThat(s.leaks()).as(s.toString()).isZero();
    }
  }
}
