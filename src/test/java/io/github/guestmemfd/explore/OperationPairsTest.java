package io.github.guestmemfd.explore;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.explore.OnePage.Operation;
import io.github.guestmemfd.testing.Interleavings;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** Every order of every two operations on one page. */
class OperationPairsTest {
  private static final long MOST = Long.getLong("explore.orders", 100);
  private static final String PROTOCOL = System.getProperty("explore.protocol", "atomic-pair");

  @TestFactory
  Stream<DynamicTest> pairs() {
    ConversionProtocol protocol = ConversionProtocol.byId(PROTOCOL).orElseThrow();
    List<DynamicTest> tests = new ArrayList<>();
    for (Operation one : Operation.values()) {
      for (Operation other : Operation.values()) {
        if (one.compareTo(other) <= 0) {
          tests.add(
              DynamicTest.dynamicTest(one + " against " + other, () -> pair(protocol, one, other)));
        }
      }
    }
    return tests.stream();
  }

  private static void pair(ConversionProtocol protocol, Operation one, Operation other) {
    Interleavings.Report report =
        Interleavings.of(() -> new OnePage(protocol, RetryPolicy.failAtOnce()))
            .thread("one", one::run)
            .thread("other", other::run)
            .atEnd(OnePage::close)
            .maxOrders(MOST)
            .explore();
    assertThat(report.orders()).isPositive();
  }
}
