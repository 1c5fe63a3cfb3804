package io.github.guestmemfd.testing;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.platform.engine.discovery.DiscoverySelectors.selectClass;

import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.testkit.engine.EngineTestKit;

/** Prints what is caught. */
class ClientContractTest {
  static Stream<Class<?>> wrong() {
    return Stream.of(
            WrongClients.class,
            WrongInvalidations.class,
            WrongFaults.class,
            WrongPlaces.class,
            WrongChains.class,
            RightClients.class)
        .flatMap(c -> Arrays.stream(c.getDeclaredClasses()))
        .filter(c -> c.getName().matches(System.getProperty("only", ".*")))
        .filter(GuestMemfdOpsContract.class::isAssignableFrom)
        .filter(c -> !java.lang.reflect.Modifier.isAbstract(c.getModifiers()));
  }

  private static Map<String, String> run(Class<?> contract) {
    Map<String, String> failures = new TreeMap<>();
    EngineTestKit.engine("junit-jupiter").selectors(selectClass(contract)).execute().testEvents().failed().stream()
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
  @MethodSource("wrong")
  void prints(Class<?> sample) {
    long t = System.nanoTime();
    Map<String, String> f = run(sample);
    System.out.printf("== %s: %d (%d ms)%n", sample.getName().replaceAll(".*\\.", ""), f.size(), (System.nanoTime() - t) / 1000000);
    f.forEach((k, v) -> System.out.println("   " + k + ": " + (v == null ? "null" : v.substring(0, Math.min(700, v.length())))));
  }
}
