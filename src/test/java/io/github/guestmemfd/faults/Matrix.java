package io.github.guestmemfd.faults;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.faults.Fault.Kind;
import io.github.guestmemfd.faults.Scenario.Leaves;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/**
 * Plays one scenario again and again, each time with another fault, until every callback, race
 * point, call and allocation of it has failed in every way.
 *
 * <p>The first time nothing fails, and what each step answers and leaves is written down. Later
 * runs are held against that: a step that fails leaves the files as they were or as they should be
 * ({@link Scenario.Leaves}) and every invariant intact, succeeds when it is made once more, and all
 * that comes after goes as it did the first time.
 */
final class Matrix {

  /** What a step did when nothing failed. */
  private record Recorded(
      String name, String outcome, State state, List<Ops.Callback> callbacks, int points) {}

  private final ScenarioKind kind;
  private final ConversionProtocol protocol;
  private final List<Recorded> baseline = new ArrayList<>();
  private final List<String> failures = new ArrayList<>();

  /** How many faults of each kind have been played. */
  final Map<Kind, Integer> played = new EnumMap<>(Kind.class);

  private Bench bench;

  Matrix(ScenarioKind kind, ConversionProtocol protocol) {
    this.kind = kind;
    this.protocol = protocol;
    this.bench = newBench();
  }

  private Bench newBench() {
    boolean tracked =
        !kind.remembersFrames
            && (protocol.id() + kind.name).hashCode() % 12 == 0; // it takes its time
    return new Bench(protocol, kind.lruBatches, kind.recorded, tracked);
  }

  /** Plays it with every fault; answers what went wrong. */
  List<String> play() {
    new Run(null).play();
    for (int step = 0; step < baseline.size(); step++) {
      Recorded recorded = baseline.get(step);
      for (int n = 0; n < recorded.callbacks.size(); n++) {
        for (Kind k : Kind.values()) {
          if (k.isOfCallbacks() && (recorded.callbacks.get(n).mayRefuse || !k.isRefusal())) {
            play(new Fault(k, step, n));
          }
        }
      }
      for (int n = 0; n < recorded.points; n++) {
        for (Kind k : Kind.values()) {
          if (k.isOfRacePoints()) {
            play(new Fault(k, step, n));
          }
        }
      }
      play(new Fault(Kind.INTERRUPT_BEFORE, step, 0));
      for (int frames = 0; !play(new Fault(Kind.NO_MEMORY, step, frames)); frames++) {
        assertTrue(frames < Bench.FRAMES, "fails with all the memory of the host");
      }
    }
    bench.end();
    return failures;
  }

  /** Plays it with a fault; whether the step came to its end in spite of it. */
  private boolean play(Fault fault) {
    if (kind.usesUpFrames) {
      bench = newBench();
    }
    Run run = new Run(fault);
    try {
      run.play();
    } catch (Exception | Error e) {
      failures.add(run + ": " + e);
      bench = newBench(); // what is left in the old one is no measure for what follows
      Thread.interrupted();
      return true;
    }
    if (fault.kind() != Kind.NO_MEMORY || !run.succeeded) {
      played.merge(fault.kind(), 1, Integer::sum);
    }
    return run.succeeded;
  }

  /** One time through the scenario. */
  private final class Run {
    private final Fault fault;
    private final Scenario scenario = kind.factory.apply(bench);
    private String at = "the beginning";
    private boolean succeeded;

    Run(Fault fault) {
      this.fault = fault;
    }

    void play() {
      State before = State.of(bench);
      for (int i = 0; i < scenario.steps.size() || bench.lastOpened() != null; i++) {
        Scenario.Step step =
            i < scenario.steps.size() ? scenario.steps.get(i) : closing(bench.lastOpened());
        at = "step " + i + ", " + step.name();
        if (fault != null && fault.step() == i) {
          fail(step, baseline.get(i), before);
        } else {
          succeed(i, step);
        }
        before = State.of(bench);
      }
      at = "the end";
      if (fault != null) {
        assertTrue(fault.step() < baseline.size(), "the step was not reached");
      }
      Invariants.checkEnd(bench);
      bench.forget();
    }

    private Scenario.Step closing(AutoCloseable resource) {
      return new Scenario.Step(
          "close " + resource.getClass().getSimpleName(),
          Leaves.SOME,
          () -> {
            bench.close(resource);
            return Scenario.OK;
          });
    }

    /** A step in which nothing fails. */
    private void succeed(int i, Scenario.Step step) {
      bench.injector.begin(null);
      String outcome = step.attempt();
      bench.injector.end();
      Invariants.check(bench, true);
      State state = State.of(bench);
      if (fault == null) {
        baseline.add(
            new Recorded(
                step.name(),
                outcome,
                state,
                List.copyOf(bench.injector.callbacks),
                bench.injector.points.size()));
      } else {
        assertEquals(baseline.get(i).outcome, outcome, "outcome");
        assertEquals(baseline.get(i).state, state, "state");
      }
    }

    /** The step in which something fails. */
    private void fail(Scenario.Step step, Recorded expected, State before) {
      if (fault.kind() == Kind.NO_MEMORY) {
        bench.leave(fault.n());
      }
      bench.injector.begin(fault);
      String outcome = step.attempt();
      bench.injector.end();
      if (fault.kind() == Kind.NO_MEMORY) {
        bench.leaveAll();
      } else {
        assertNotNull(bench.injector.where, "the fault was not reached");
        at += ", " + bench.injector.where;
      }
      assertEquals(fault.kind().isInterrupt(), Thread.interrupted(), "the interrupt status");
      Invariants.check(bench, !fault.kind().isLasting());
      State state = State.of(bench);
      if (outcome.equals(expected.outcome) && state.equals(expected.state)) {
        succeeded = true;
        return;
      }
      at += ", which ended with " + outcome;
      assertTrue(isExplained(outcome, step), "not what the fault explains");
      assertTrue(
          isAllowed(step.leaves(), outcome, before, expected.state, state),
          () -> "before " + before + "\nafter " + expected.state + "\nactual " + state);
      at += ", once more";
      assertEquals(expected.outcome, step.attempt(), "outcome of the repetition");
      Invariants.check(bench, true);
      assertEquals(expected.state, State.of(bench), "state after the repetition");
    }

    private boolean isExplained(String outcome, Scenario.Step step) {
      if (step.leaves() == Leaves.SOME && outcome.equals("SHORT")) {
        return true;
      }
      return switch (fault.kind()) {
        case CALLBACK_REFUSES, ALL_CALLBACKS_REFUSE -> outcome.equals("EPERM");
        case INTERRUPT_AT_RACE_POINT, INTERRUPT_BEFORE -> outcome.equals("EINTR");
        case NO_MEMORY -> outcome.equals("ENOMEM");
        default ->
            outcome.startsWith("INJECTED")
                || (fault.kind().isOutOfMemory() && outcome.equals("ENOMEM"));
      };
    }

    /** Whether a step that failed may have left this. */
    private boolean isAllowed(
        Leaves leaves, String outcome, State before, State after, State actual) {
      if (leaves == Leaves.SOME) {
        return actual.isBetween(before, after);
      }
      if (actual.equals(before)
          || (leaves == Leaves.ALL_OR_NOTHING_PENDING && actual.equals(before.undone()))) {
        return true;
      }
      // Exceptions of these come when everything else has been done.
      boolean mayBeDone =
          outcome.startsWith("INJECTED")
              && !bench.injector.where.startsWith("BEGIN")
              && !bench.injector.where.startsWith("PREPARE");
      return mayBeDone && actual.equals(after);
    }

    @Override
    public String toString() {
      return kind.name + " with " + protocol.id() + ", " + fault + ", " + at;
    }
  }
}
