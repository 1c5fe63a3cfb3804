package io.github.guestmemfd.testing;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.policy.ConversionPolicy;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** What the contract for policies finds: each of the mistakes, and nothing in shipped policies. */
class WrongPoliciesTest {

  /** How often the policy without a mistake is run. */
  private static final int RUNS = Integer.getInteger("contract.runs", 1);

  /** A mistake, and how it is caught: by a test, which says something of it. */
  record Caught(Class<?> mistake, String test, String rule, String message) {
    @Override
    public String toString() {
      return mistake.getSimpleName() + " by " + test;
    }
  }

  static List<Caught> mistakes() {
    return List.of(
        used(WrongPolicies.ConvertsOnePage.class, "MEMORY_ONLY", "contains the pages used"),
        used(WrongPolicies.KeepsAddressesInInts.class, "MEMORY_ONLY", "contains the pages used"),
        used(WrongPolicies.RoundsHypercallsUp.class, "MEMORY_ONLY", "a range in the memory"),
        used(WrongPolicies.StartsBeyondTheEnd.class, "MEMORY_ONLY", "beforeFirstRun"),
        used(WrongPolicies.StartsAtZero.class, "MEMORY_ONLY", "beforeFirstRun(gpa 0x5"),
        used(WrongPolicies.PutsHypercallsOff.class, "LAST_WORD", "was told that it was done"),
        used(WrongPolicies.HearsOnlyTheFirst.class, "LAST_WORD", "was told that it was done"),
        used(WrongPolicies.TakesAnswersForDone.class, "LAST_WORD", "earlier memory fault"),
        used(WrongPolicies.ConvertsBlocksEitherWay.class, "EXPOSES_NOTHING", "shares the private"),
        random(WrongPolicies.ConvertsBlocksToPrivate.class, "used last as SHARED"),
        random(WrongPolicies.TakesItsNeighbours.class, "used last as SHARED"),
        new Caught(
            WrongPolicies.TakesAnswersForDone.class,
            "aRefusalIsNoAnswer",
            "LAST_WORD",
            "was refused 1 times"),
        new Caught(
            WrongPolicies.GivesUp.class, "aRefusalIsNoAnswer", "LAST_WORD", "was refused 1000"),
        new Caught(
            WrongPolicies.ConvertsBlocksEitherWay.class,
            "pagesDoNotTurnToAndFro",
            "EXPOSES_NOTHING",
            "shares the private page"),
        new Caught(
            WrongPolicies.KeepsAJournal.class, "whatItKeepsIsBounded", "BOUNDED", "bytes more"),
        new Caught(
            WrongPolicies.SleepsBeforeItAnswers.class,
            "threadsAreAnsweredAtOnce",
            "seed ",
            "AT_ONCE"),
        new Caught(
            WrongPolicies.WaitsForASecondRequest.class,
            "whatItKeepsIsBounded",
            "a vCPU hangs at",
            "WaitsForASecondRequest"),
        new Caught(
            WrongPolicies.HasAMapForOneThread.class, "threadsAreAnsweredAtOnce", "seed ", ""),
        new Caught(WrongPolicies.HasAShippedName.class, "itsNameIsItsOwn", "AT_ONCE", "OnFault"));
  }

  private static Caught used(Class<?> mistake, String rule, String message) {
    return new Caught(mistake, "whatIsUsedIsConverted", rule, message);
  }

  private static Caught random(Class<?> mistake, String message) {
    return new Caught(mistake, "theGuestHasTheLastWord", "seed ", message);
  }

  @ParameterizedTest
  @MethodSource("mistakes")
  void mistakeIsCaught(Caught caught) {
    assertThat(ContractRun.failure(caught.mistake, caught.test))
        .startsWith(caught.rule)
        .contains(caught.message);
  }

  @Test
  void everyMistakeIsCaught() {
    Set<Class<?>> samples =
        ContractRun.samplesIn(WrongPolicies.class, ConversionPolicyContract.class)
            .filter(sample -> sample != WrongPolicies.NoMistake.class)
            .collect(Collectors.toSet());
    assertThat(mistakes().stream().map(Caught::mistake).collect(Collectors.toSet()))
        .containsExactlyInAnyOrderElementsOf(samples);
  }

  static Stream<Class<?>> right() {
    return Stream.of(
            WrongPolicies.NoMistake.class,
            Eager.class,
            OnFault.class,
            Batched.class,
            HypercallOnly.class)
        .flatMap(sample -> Stream.<Class<?>>generate(() -> sample).limit(RUNS));
  }

  @ParameterizedTest
  @MethodSource("right")
  void nothingIsFoundWhereNothingIsWrong(Class<?> contract) {
    assertThat(ContractRun.failures(contract)).isEmpty();
  }

  static class Eager extends ConversionPolicyContract {
    @Override
    protected ConversionPolicy policy() {
      return ConversionPolicy.eager();
    }
  }

  static class OnFault extends ConversionPolicyContract {
    @Override
    protected ConversionPolicy policy() {
      return ConversionPolicy.onFault();
    }
  }

  static class Batched extends ConversionPolicyContract {
    @Override
    protected ConversionPolicy policy() {
      return ConversionPolicy.batched();
    }
  }

  static class HypercallOnly extends ConversionPolicyContract {
    @Override
    protected ConversionPolicy policy() {
      return ConversionPolicy.hypercallOnly();
    }
  }
}
