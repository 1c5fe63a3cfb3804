package io.github.guestmemfd.testing;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.platform.engine.discovery.DiscoverySelectors.selectClass;
import static org.junit.platform.engine.discovery.DiscoverySelectors.selectMethod;

import java.lang.reflect.Modifier;
import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.platform.engine.DiscoverySelector;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.testkit.engine.EngineExecutionResults;
import org.junit.platform.testkit.engine.EngineTestKit;

/** Runs a contract inside a test, and says which of its tests fail. */
final class ContractRun {
  private ContractRun() {}

  /** The messages of the tests of a contract that fail, by the names of the tests. */
  static Map<String, String> failures(Class<?> contract) {
    long tests =
        Arrays.stream(contract.getMethods())
            .filter(method -> method.isAnnotationPresent(Test.class))
            .count();
    return failures(selectClass(contract), tests);
  }

  /** The message of one test; null if it passes. */
  static String failure(Class<?> contract, String test) {
    return failures(selectMethod(contract, test), 1).get(test);
  }

  /** The samples of a contract that are nested in a class. */
  static Stream<Class<?>> samplesIn(Class<?> samples, Class<?> contract) {
    return Arrays.stream(samples.getDeclaredClasses())
        .filter(contract::isAssignableFrom)
        .filter(sample -> !Modifier.isAbstract(sample.getModifiers()));
  }

  private static Map<String, String> failures(DiscoverySelector selector, long tests) {
    EngineExecutionResults results =
        EngineTestKit.engine("junit-jupiter").selectors(selector).execute();
    assertThat(results.testEvents().started().count()).as("tests run").isEqualTo(tests);
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
}
