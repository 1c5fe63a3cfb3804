package io.github.guestmemfd.lab.kernel;

import io.github.guestmemfd.trace.Trace;
import io.github.guestmemfd.trace.TraceExecutor;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Makes the same calls on a kernel and on a model, until an answer differs. */
final class Differential {

  /** Makes an executor that has nothing yet. */
  interface Source {
    TraceExecutor open() throws NoGuestMemfdException;
  }

  /** Calls with the kernel's answers as a trace; to the last the model answers otherwise. */
  record Difference(List<Trace.Call> calls, List<String> trace, String model) {
    String last() {
      return trace.get(trace.size() - 1);
    }
  }

  private final Source kernel;
  private final Source model;

  Differential(Source kernel, Source model) {
    this.kernel = kernel;
    this.model = model;
  }

  /** Makes random calls; null if no answer differs. */
  @Nullable Difference random(long seed, int calls) throws NoGuestMemfdException {
    RandomCalls random = new RandomCalls(seed);
    List<Trace.Call> made = new ArrayList<>(calls);
    List<String> trace = new ArrayList<>(calls);
    try (TraceExecutor k = kernel.open();
        TraceExecutor m = model.open()) {
      for (int i = 0; i < calls; i++) {
        Trace.Call call = random.next();
        String expected = k.execute(call);
        String actual = m.execute(call);
        made.add(call);
        trace.add(call.line(expected));
        if (!actual.equals(expected)) {
          return new Difference(made, trace, actual);
        }
        random.ended(expected);
      }
    }
    return null;
  }

  /** Makes given calls, but those for something that is not there. */
  @Nullable Difference run(List<Trace.Call> calls) throws NoGuestMemfdException {
    List<Trace.Call> made = new ArrayList<>();
    List<String> trace = new ArrayList<>();
    try (TraceExecutor k = kernel.open();
        TraceExecutor m = model.open()) {
      for (Trace.Call call : calls) {
        String expected = k.execute(call);
        if (!expected.endsWith("does not exist")) {
          String actual = m.execute(call);
          made.add(call);
          trace.add(call.line(expected));
          if (!actual.equals(expected)) {
            return new Difference(made, trace, actual);
          }
        }
      }
    }
    return null;
  }

  /**
   * Leaves out calls as long as something still differs: halves, quarters, and so on to single
   * calls, until not one can be spared.
   */
  Difference shrink(Difference found) throws NoGuestMemfdException {
    Difference least = found;
    for (int chunk = least.calls.size() / 2; chunk > 0; ) {
      boolean spared = false;
      for (int from = 0; from < least.calls.size(); ) {
        List<Trace.Call> rest = new ArrayList<>(least.calls);
        rest.subList(from, Math.min(from + chunk, rest.size())).clear();
        Difference less = run(rest);
        if (less != null) {
          least = less;
          spared = true;
        } else {
          from += chunk;
        }
      }
      if (!spared || chunk > 1) {
        chunk /= 2;
      }
    }
    return least;
  }

  /** The difference as a trace file. */
  static String describe(Difference difference, long seed) {
    return Trace.HEADER
        + "\n# seed "
        + seed
        + ", "
        + KernelExecutor.kernel()
        + "; to the last call the model answers "
        + difference.model()
        + "\n"
        + String.join("\n", difference.trace())
        + "\n";
  }
}
