package io.github.guestmemfd.testing;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.platform.engine.discovery.DiscoverySelectors.selectClass;

import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.testkit.engine.EngineExecutionResults;
import org.junit.platform.testkit.engine.EngineTestKit;

/** The contracts catch the mistakes that they are for, by the test that is for it. */
class ContractsTest {

  /** What has been run: each contract once. */
  private static final Map<String, Map<String, String>> RUN = new ConcurrentHashMap<>();

  /** The failures of the tests of a contract, by the names of the tests. */
  private static Map<String, String> failures(String sample) {
    return RUN.computeIfAbsent(sample, ContractsTest::run);
  }

  private static Map<String, String> run(String sample) {
    Class<?> contract;
    try {
      contract = Class.forName(ContractsTest.class.getPackageName() + "." + sample);
    } catch (ClassNotFoundException e) {
      throw new LinkageError(e.getMessage(), e);
    }
    EngineExecutionResults results =
        EngineTestKit.engine("junit-jupiter").selectors(selectClass(contract)).execute();
    assertThat(results.testEvents().started().count()).as("tests run").isGreaterThan(5);
    assertThat(results.testEvents().skipped().count()).as("tests skipped").isZero();
    Map<String, String> failures = new TreeMap<>();
    results.testEvents().failed().stream()
        .forEach(
            event ->
                failures.put(
                    event.getTestDescriptor().getDisplayName().replace("()", ""),
                    event
                        .getRequiredPayload(TestExecutionResult.class)
                        .getThrowable()
                        .map(Throwable::getMessage)
                        .orElse("")));
    return failures;
  }

  @ParameterizedTest
  @CsvSource({
    "DropsItsReferenceFirst, SOUNDNESS, noHostHolderOutlivesAConversion, at BETWEEN_DROPS",
    "TrustsSafeHolders, SOUNDNESS, noHostHolderOutlivesAConversion, a guest-side holder at HOLDING",
    "TrustsSafeHolders, SOUNDNESS, noReferenceHidesBehindGuests, reads what the guest wrote",
    "AllowsForOneMore, SOUNDNESS, noHostHolderOutlivesAConversion, reads what the host wrote",
    "AllowsForOneMore, SOUNDNESS, noHostHolderArrivesDuringAConversion, RANGE_BUSY",
    "AllowsForOneMore, SOUNDNESS, aHeldPageRefusesItsRangeWhole, page 0",
    "RefusesSafeHolders, COMPLETENESS, safeHoldersMayStay, held by 0 unsafe",
    "RefusesSafeHolders, COMPLETENESS, guestsAreNotInTheWay, offset 0",
    "NeverPunches, COMPLETENESS, aPunchDiscardsExactlyWhatWasAsked, no holders",
    "ChangesItsSteps, STEPS, stepsMakeSense, when asked again",
    "TakesSafeFirst, STEPS, stepsMakeSense, SAFE after REF",
    "LooksForPinsOnly, SOUNDNESS, noHostHolderOutlivesAConversion, a plain reference (GUP)"
  })
  void wrongProtocolIsCaught(String sample, String rule, String test, String message) {
    assertCaught("WrongProtocols$" + sample, rule, test, message);
  }

  private static void assertCaught(String sample, String rule, String test, String message) {
    Map<String, String> failures = failures(sample);
    assertThat(failures).containsKey(test);
    assertThat(failures.get(test)).startsWith(rule + " (").contains("is broken: ", message);
  }

  /** What is caught above is the mistake: without one nothing is. */
  @ParameterizedTest
  @ValueSource(strings = "WrongProtocols$NoMistake")
  void nothingElseIsCaught(String sample) {
    assertThat(failures(sample)).isEmpty();
  }

  /** The stress alone finds a plain leak; it is a matter of chance, so it may try again. */
  @Test
  void theStressFindsALeak() {
    String found = null;
    for (int run = 0; run < 10 && found == null; run++) {
      found = run("WrongProtocols$LooksForPinsOnly").get("stress");
    }
    assertThat(found).contains("seed ", "SOUNDNESS");
  }
}
