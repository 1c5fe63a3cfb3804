package io.github.guestmemfd.lab.kernel;

import io.github.guestmemfd.trace.Trace;
import io.github.guestmemfd.trace.TraceExecutor;
import io.github.guestmemfd.trace.Verb;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.Pattern;

/**
 * Calls of two threads at once, on something that was made before, and what is seen of it after.
 *
 * @param name what meets what
 * @param before made before, by one thread
 * @param left the calls of one thread
 * @param right the calls of the other
 * @param after asked after both
 * @param end gives everything back; its results are not looked at
 * @param rules what outcomes may not be, with reasons
 * @param wrong a call, by how it begins, and the answer by which one that did nothing would give
 *     itself away
 */
record Rival(
    String name,
    List<Trace.Call> before,
    List<Trace.Call> left,
    List<Trace.Call> right,
    List<Trace.Call> after,
    List<Trace.Call> end,
    List<Rule> rules,
    List<String> wrong) {

  /** Of whom something is said. */
  enum Whose {
    /** No outcome may match, of the kernel or the model. */
    FORBIDDEN,
    /** As before, but the model allows it on purpose: docs/architecture.md says why. */
    FORBIDDEN_IN_THE_KERNEL,
    /** The kernel may show it, and the model must not: docs/architecture.md says why. */
    FORBIDDEN_IN_THE_MODEL,
    /** The kernel shows it, and the model does not, on purpose: docs/architecture.md says why. */
    OF_THE_KERNEL_ALONE
  }

  /** What is said of the outcomes that match a regular expression, why, and one that does match. */
  record Rule(Whose whose, Pattern outcome, String reason, String sample) {
    boolean matches(String text) {
      return outcome.matcher(text).matches();
    }
  }

  private static final Set<Whose> KERNELS =
      EnumSet.of(Whose.OF_THE_KERNEL_ALONE, Whose.FORBIDDEN_IN_THE_MODEL);

  @Override
  public String toString() {
    return name;
  }

  static Rival of(String name, String before, String left, String right, String after, String end) {
    return new Rival(
        name,
        calls(before),
        calls(left),
        calls(right),
        calls(after),
        calls(end),
        List.of(),
        List.of());
  }

  Rival forbid(String outcome, String reason, String sample) {
    return rule(Whose.FORBIDDEN, outcome, reason, sample);
  }

  Rival rule(Whose whose, String outcome, String reason, String sample) {
    List<Rule> more = new ArrayList<>(rules);
    more.add(new Rule(whose, Pattern.compile(outcome), reason, sample));
    return new Rival(name, before, left, right, after, end, List.copyOf(more), wrong);
  }

  Rival wrong(String call, String answer) {
    return new Rival(name, before, left, right, after, end, rules, List.of(call, answer));
  }

  /** Whether the model need not show an outcome of the kernel. */
  boolean isKernels(String outcome) {
    return rules.stream().anyMatch(r -> KERNELS.contains(r.whose) && r.matches(outcome));
  }

  private static List<Trace.Call> calls(String text) {
    return Arrays.stream(text.split(";", -1))
        .map(String::strip)
        .filter(line -> !line.isEmpty())
        .map(Rival::call)
        .toList();
  }

  /** A call as it stands in a trace, without a result. */
  static Trace.Call call(String text) {
    List<String> words = List.of(text.split(" ", -1));
    return Trace.Call.of(
        Verb.valueOf(words.get(0).toUpperCase(Locale.ROOT)),
        words.subList(1, words.size()).toArray(new String[0]));
  }

  /** Makes calls one after the other; their results in one line. */
  static String run(TraceExecutor executor, List<Trace.Call> calls) {
    StringBuilder results = new StringBuilder();
    for (Trace.Call call : calls) {
      results.append(results.length() == 0 ? "" : ", ").append(executor.execute(call));
    }
    return results.toString();
  }

  /** Begins a round. */
  void prepare(TraceExecutor executor) {
    String results = run(executor, before);
    if (!results.matches("(ok, )*ok")) {
      throw new AssertionError(name + ": " + results);
    }
  }

  /** Ends a round: the results of both, and what is seen after. */
  String outcome(TraceExecutor executor, String leftResults, String rightResults) {
    String afterResults = run(executor, after);
    run(executor, end);
    return leftResults + " | " + rightResults + " | " + afterResults;
  }
}
