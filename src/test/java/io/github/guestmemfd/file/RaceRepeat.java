package io.github.guestmemfd.file;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.platform.engine.discovery.DiscoverySelectors.selectClass;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.platform.launcher.EngineFilter;
import org.junit.platform.launcher.Launcher;
import org.junit.platform.launcher.LauncherDiscoveryRequest;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;
import org.junit.platform.launcher.listeners.SummaryGeneratingListener;
import org.junit.platform.launcher.listeners.TestExecutionSummary;

/**
 * Runs the tests that make races happen many times in a row, in one JVM: what a race point decides
 * must come out the same every time.
 *
 * <p>Not run by default. {@code mvn test -Dtest=RaceRepeat -Drace.repeat=1000}; some of the classes
 * by {@code -Drace.classes=PunchRaceTest,RangeRaceTest}.
 */
@Timeout(value = 1, unit = TimeUnit.DAYS)
class RaceRepeat {
  private static final int TIMES = Integer.getInteger("race.repeat", 1);

  private static final String CLASSES =
      System.getProperty(
          "race.classes",
          "LookupTest,PreparationTest,HostFaultTest,HostAccessTest,RefCheckTest,RangeLockTest,"
              + "InterruptionTest,ReleaseTest,CallbackContextTest,CallbackRefusalTest,"
              + "FailingHookTest,ProtocolRaceTest,HostHolderRaceTest,PunchRaceTest,"
              + "PendingConversionRaceTest,RangeRaceTest,DraftDefectsTest");

  @Test
  void everyRaceEndsTheSameEveryTime() {
    Launcher launcher = LauncherFactory.create();
    LauncherDiscoveryRequest request =
        LauncherDiscoveryRequestBuilder.request()
            .selectors(
                List.of(CLASSES.split(",")).stream()
                    .map(name -> selectClass(RaceRepeat.class.getPackageName() + "." + name))
                    .toList())
            .filters(EngineFilter.includeEngines("junit-jupiter"))
            .build();
    long start = System.nanoTime();
    long tests = 0;
    for (int run = 1; run <= TIMES; run++) {
      SummaryGeneratingListener listener = new SummaryGeneratingListener();
      launcher.execute(request, listener);
      TestExecutionSummary summary = listener.getSummary();
      assertEquals(0, summary.getTotalFailureCount(), () -> describe(summary));
      assertNotEquals(0, summary.getTestsSucceededCount());
      tests += summary.getTestsSucceededCount();
      if (run == TIMES || run % 50 == 0) {
        System.out.printf(
            "%d runs of %s: %d tests, 0 failed, %.1f s%n",
            run, CLASSES, tests, (System.nanoTime() - start) / 1e9);
      }
    }
  }

  private static String describe(TestExecutionSummary summary) {
    StringWriter text = new StringWriter();
    summary.printFailuresTo(new PrintWriter(text), 30);
    return text.toString();
  }
}
