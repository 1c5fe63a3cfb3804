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
import org.junit.jupiter.api.parallel.Execution;
import org.junit.jupiter.api.parallel.ExecutionMode;

/**
 * Every order of every two operations: on one page, and on two pages against the second of them.
 */
@Execution(ExecutionMode.CONCURRENT) // an exploration shares nothing
class OperationPairsTest {
  private static final Matrix.Totals TOTALS = new Matrix.Totals("two operations");

  @AfterAll
  static void reportTotals() {
    TOTALS.report();
  }

  @TestFactory
  Stream<DynamicNode> pairs() {
    List<DynamicNode> tests = new ArrayList<>();
    for (ConversionProtocol protocol : Matrix.protocols()) {
      for (Mishap mishap : Matrix.mishaps()) {
        for (int pages : Matrix.pages()) {
          addPairs(tests, protocol, mishap, pages);
        }
      }
    }
    return tests.stream();
  }

  private static void addPairs(
      List<DynamicNode> tests, ConversionProtocol protocol, Mishap mishap, int pages) {
    for (Operation one : Operation.values()) {
      for (Operation other : Operation.values()) {
        boolean same = mishap == Mishap.NONE && pages == 1; // which thread is which
        if (!same || one.compareTo(other) <= 0) {
          tests.add(
              DynamicTest.dynamicTest(
                  String.join(
                      " ",
                      one + " against " + other,
                      "under " + protocol.id(),
                      "with " + mishap,
                      "pages: " + pages),
                  () -> explore(protocol, mishap, pages, one, other)));
        }
      }
    }
  }

  private static void explore(
      ConversionProtocol protocol, Mishap mishap, int pages, Operation one, Operation other) {
    Interleavings<SmallVm> orders = Matrix.world(pages, protocol, mishap);
    Matrix.add(orders, "one", one, new Range(0, pages));
    Matrix.add(orders, "other", other, new Range(pages - 1, 1));
    mishap.to(orders, "one");
    if (mishap == Mishap.NONE && !Matrix.mayDifferFromWholeCalls(protocol, List.of(one, other))) {
      orders.linearizable(SmallVm::state);
    }
    Interleavings.Report report = orders.explore();
    assertThat(report.orders()).isPositive();
    TOTALS.add(mishap, pages, report);
  }
}
