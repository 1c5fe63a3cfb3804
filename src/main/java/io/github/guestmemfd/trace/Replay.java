package io.github.guestmemfd.trace;

import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.kvm.KernelProfile;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/**
 * Runs traces and compares every result with the recorded one. The calls are made by the model, or
 * by any other executor.
 *
 * <p>Each trace has its own model. At the end of a trace everything it left open is closed, and the
 * host must then have all its frames back.
 */
public final class Replay {
  /**
   * A call that returned a result other than the recorded one.
   *
   * @param line the line of the call in its trace
   * @param call the call and its arguments
   * @param expected the recorded result
   * @param actual the result it had now
   */
  public record Difference(int line, String call, String expected, String actual) {
    /**
     * Creates a difference.
     *
     * @param line as above
     * @param call as above
     * @param expected as above
     * @param actual as above
     */
    public Difference {
      Objects.requireNonNull(call, "call");
      Objects.requireNonNull(expected, "expected");
      Objects.requireNonNull(actual, "actual");
    }
  }

  /**
   * What a replay found.
   *
   * @param calls how many calls were made
   * @param differences those that returned something else than recorded
   */
  public record Result(int calls, List<Difference> differences) {
    /**
     * Creates a result, with a copy of the list.
     *
     * @param calls as above
     * @param differences as above
     */
    public Result {
      Objects.requireNonNull(differences, "differences");
      for (Object difference : differences) {
        Objects.requireNonNull(difference, "differences");
      }
      differences = List.copyOf(differences);
    }
  }

  private Replay() {}

  /**
   * Runs a trace on the model of the kernel that it was made by.
   *
   * @param trace the trace
   * @param protocol how conversions detect holders of a folio; they fail at once if it is held
   * @return what was found
   * @throws GuestMemfdException EBUSY if frames were lost
   */
  public static Result run(Trace trace, ConversionProtocol protocol) {
    return run(trace, protocol, trace.profile());
  }

  /**
   * Runs a trace on the model of a kernel, whichever it was made by.
   *
   * @param trace the trace
   * @param protocol how conversions detect holders of a folio; they fail at once if it is held
   * @param profile the kernel whose answers the model gives
   * @return what was found
   * @throws GuestMemfdException EBUSY if frames were lost
   */
  public static Result run(Trace trace, ConversionProtocol protocol, KernelProfile profile) {
    try (ModelExecutor model = new ModelExecutor(protocol, profile)) {
      return run(trace, model);
    }
  }

  /**
   * Runs a trace.
   *
   * @param trace the trace
   * @param executor makes its calls; not closed here
   * @return what was found
   */
  public static Result run(Trace trace, TraceExecutor executor) {
    Objects.requireNonNull(executor, "executor");
    List<Difference> differences = new ArrayList<>();
    for (Trace.Call call : trace.calls()) {
      String actual = executor.execute(call);
      if (!actual.equals(call.expected())) {
        differences.add(new Difference(call.line(), call.text(), call.expected(), actual));
      }
    }
    return new Result(trace.size(), differences);
  }
}
