package io.github.guestmemfd.explore;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.explore.Matrix.Mishap;
import io.github.guestmemfd.explore.SmallVm.Operation;
import io.github.guestmemfd.explore.SmallVm.Range;
import io.github.guestmemfd.testing.Interleavings;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.DynamicNode;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** Orders with at most two pre-emptions of every three of the most important operations. */
class OperationTriplesTest {
  private static final int PREEMPTIONS = 2;
  private static final Range PAGE = new Range(0, 1);
  private static final Matrix.Totals TOTALS = new Matrix.Totals("three operations");

  @AfterAll
  static void reportTotals() {
    TOTALS.report();
  }

  @TestFactory
  Stream<DynamicNode> triples() {
    List<Operation> operations = List.copyOf(Operation.MOST_IMPORTANT);
    List<DynamicNode> tests = new ArrayList<>();
    for (ConversionProtocol protocol : Matrix.protocols()) {
      for (int i = 0; i < operations.size(); i++) {
        for (int j = i; j < operations.size(); j++) {
          for (int k = j; k < operations.size(); k++) {
            List<Operation> three =
                List.of(operations.get(i), operations.get(j), operations.get(k));
            tests.add(
                DynamicTest.dynamicTest(
                    three + " under " + protocol.id(), () -> explore(protocol, three)));
          }
        }
      }
    }
    return tests.stream();
  }

  private static void explore(ConversionProtocol protocol, List<Operation> three) {
    Interleavings<SmallVm> orders =
        Matrix.world(1, protocol, Mishap.NONE).maxPreemptions(PREEMPTIONS);
    for (int i = 0; i < three.size(); i++) {
      Matrix.add(orders, "t" + i, three.get(i), PAGE);
    }
    Interleavings.Report report = orders.explore();
    assertThat(report.orders()).isPositive();
    TOTALS.add(Mishap.NONE, 1, report);
  }
}
