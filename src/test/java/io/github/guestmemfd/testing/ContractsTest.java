package io.github.guestmemfd.testing;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.platform.engine.discovery.DiscoverySelectors.selectClass;

import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.testkit.engine.EngineExecutionResults;
import org.junit.platform.testkit.engine.EngineTestKit;

/** The contract for clients catches the mistakes that it is for, by the test that is for it. */
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
    "KeepsWhatIsInvalidated, NO_GRIP, punchesLeaveNothingHeld, 4 pages are in use",
    "KeepsWhatIsInvalidated, NO_GRIP, conversionsLeaveNothingHeld, after makeInaccessible",
    "KeepsAtRelease, NO_GRIP, releaseLetsGoOfEverything, 16384 bytes",
    "ThrowsAtTheEnd, NO_THROW, conversionsLeaveNothingHeld, invalidateEnd",
    "ThrowsAtRelease, NO_THROW, releaseLetsGoOfEverything, release",
    "ForgetsOrphans, NO_THROW, orphansMayBeFreedAfterRelease, freeFolio",
    "ScrubsTooEarly, UNDO, refusalsAreUndone, content",
    "RefusesToUndo, UNDO, refusalsAreUndone, EACCES",
    "CallsBack, NO_WAIT, punchesLeaveNothingHeld, EDEADLK",
    "CallsBack, NO_WAIT, conversionsLeaveNothingHeld, EDEADLK",
    "HoldsAsTheHostDoes, NO_GRIP, conversionsLeaveNothingHeld, expected SAFE",
    "AnswersNull, AGREEMENT, conversionsLeaveNothingHeld, answered null"
  })
  void wrongClientIsCaught(String sample, String rule, String test, String message) {
    assertCaught("WrongClients$" + sample, rule, test, message);
  }

  private static void assertCaught(String sample, String rule, String test, String message) {
    Map<String, String> failures = failures(sample);
    assertThat(failures).containsKey(test);
    assertThat(failures.get(test)).startsWith(rule + " (").contains("is broken: ", message);
  }

  /** What is caught above is the mistake: without one nothing is. */
  @ParameterizedTest
  @ValueSource(strings = {"WrongClients$DoesNothing"})
  void nothingElseIsCaught(String sample) {
    assertThat(failures(sample)).isEmpty();
  }
}
