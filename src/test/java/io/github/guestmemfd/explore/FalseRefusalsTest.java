package io.github.guestmemfd.explore;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.explore.Matrix.Mishap;
import io.github.guestmemfd.explore.SmallVm.Operation;
import io.github.guestmemfd.explore.SmallVm.Range;
import io.github.guestmemfd.testing.Interleavings;
import io.github.guestmemfd.verification.Results;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Which holders that come and go have a conversion refused that calls one at a time would not: the
 * explorer finds an order for each, and for no others.
 */
class FalseRefusalsTest {
  private static final Range PAGE = new Range(0, 1);

  /** Holders whose references last no longer than their calls, or that a protocol knows as safe. */
  private static final Set<Operation> COME_AND_GO =
      EnumSet.of(Operation.GRAB, Operation.MUNMAP, Operation.MIGRATE, Operation.SCAN);

  private static final Set<Operation> REFERENCES =
      EnumSet.of(Operation.MUNMAP, Operation.MIGRATE, Operation.SCAN);

  /** By protocol; those that are not named are refused for references alone. */
  private static final Map<String, Set<Operation>> EXPECTED =
      Map.of(
          "both-counters", COME_AND_GO,
          "timed-wait", COME_AND_GO,
          "pin-check", EnumSet.noneOf(Operation.class));

  static List<ConversionProtocol> protocols() {
    return ConversionProtocol.all();
  }

  @ParameterizedTest
  @MethodSource("protocols")
  void refusedFor(ConversionProtocol protocol) {
    Set<Operation> found = EnumSet.noneOf(Operation.class);
    for (Operation holder : COME_AND_GO) {
      Interleavings<SmallVm> orders = Matrix.world(1, protocol, Mishap.NONE);
      Matrix.add(orders, "holder", holder, PAGE);
      Matrix.add(orders, "converter", Operation.MAKE_INACCESSIBLE, PAGE);
      Interleavings.Report report = orders.linearizable(SmallVm::state).find();
      if (report.counterexample().isPresent()) {
        assertThat(report.counterexample().orElseThrow()).contains("converter EAGAIN");
        found.add(holder);
      }
    }
    List<Object> row = new ArrayList<>();
    COME_AND_GO.forEach(holder -> row.add(found.contains(holder) ? "refused" : "-"));
    Results.add("false-refusals", "`" + protocol.id() + "`", row.toArray());
    assertThat(found).isEqualTo(EXPECTED.getOrDefault(protocol.id(), REFERENCES));
  }
}
