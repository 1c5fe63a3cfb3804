package io.github.guestmemfd.lab.workload;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.lab.report.Monitor;
import io.github.guestmemfd.lab.workload.Platform.Condition;
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
      Workload workload) {
    try {
      return new RunConfig(protocol, policy, Monitor.IN_PLACE, workload, 2, SIZE, 0.15, 5)
          .survive(platform, condition, () -> false);
    } catch (InterruptedException e) {
      throw new AssertionError(e);
    }
  }

  private static Survival usual(Platform platform, Condition condition, Workload workload) {
    return run(platform, condition, ConversionProtocol.atomicPair(), "hypercall", workload);
  }

  /** The same run, again and again, until something has been seen. */
  private static Survival until(
      Predicate<Survival> seen, Platform platform, Condition condition, Workload workload) {
    long end = System.nanoTime() + LIMIT_NANOS;
    Survival s = usual(platform, condition, workload);
    while (!seen.test(s) && System.nanoTime() - end < 0) {
      s = usual(platform, condition, workload);
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
    assertThat(Walk.isStuck(Platform.TDX_6_18, lockOnly)).isTrue();
    assertThat(Walk.isStuck(Platform.TDX, lockOnly)).isFalse();
    Survival s = run(Platform.TDX_6_18, Condition.WORKS, lockOnly, "hypercall", Workload.SHARE);
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
              Workload.SHARE);
    } while (s.aborts() == 0 && System.nanoTime() - end < 0);
    assertThat(s.findings()).as(s.toString()).containsExactly("aborts");
  }
}
