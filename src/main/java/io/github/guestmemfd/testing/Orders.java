package io.github.guestmemfd.testing;

import io.github.guestmemfd.explore.Failure;
import io.github.guestmemfd.explore.StepKind;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/** Orders of steps as text: a string to repeat one by, and a table to read. */
final class Orders {
  private static final Pattern RUN = Pattern.compile("(\\d)(?:x(\\d{1,5}))?");
  private static final int COLUMN = 30;

  private Orders() {}

  /** For instance "0x12 1x3 0": twelve steps of the first thread, three of the second, one. */
  static String format(List<Integer> order) {
    StringBuilder text = new StringBuilder();
    for (int at = 0; at < order.size(); ) {
      int end = at;
      while (end < order.size() && order.get(end).equals(order.get(at))) {
        end++;
      }
      text.append(text.isEmpty() ? "" : " ").append(order.get(at));
      if (end - at > 1) {
        text.append('x').append(end - at);
      }
      at = end;
    }
    return text.toString();
  }

  static int[] parse(String order) {
    List<Integer> parsed = new ArrayList<>();
    for (String part : order.isBlank() ? new String[0] : order.trim().split(" +", -1)) {
      Matcher run = RUN.matcher(part);
      if (!run.matches()) {
        throw new IllegalArgumentException(
            "order: expected parts such as 0 or 1x12, actual \"" + part + "\"");
      }
      int times = run.group(2) == null ? 1 : Integer.parseInt(run.group(2));
      for (int i = 0; i < times; i++) {
        parsed.add(Integer.parseInt(run.group(1)));
      }
    }
    return parsed.stream().mapToInt(i -> i).toArray();
  }

  /**
   * A step a line, a thread a column. What a thread does to words that no other thread has to do
   * with is folded.
   */
  static String table(Failure failure, List<String> names) {
    StringBuilder text = new StringBuilder();
    String line = System.lineSeparator();
    text.append(failure.message()).append(line);
    text.append(
        String.format(
            "the order: %d steps, %d pre-emptions%n",
            failure.order().size(), failure.preemptions()));
    List<Failure.Taken> steps = failure.steps();
    Set<Integer> threads = steps.stream().map(Failure.Taken::thread).collect(Collectors.toSet());
    for (int i = 0; i < names.size(); i++) {
      text.append(threads.contains(i) ? pad(names.get(i)) : "");
    }
    text.append("where").append(line);
    Set<String> shared = shared(steps);
    for (int at = 0; at < steps.size(); ) {
      Failure.Taken step = steps.get(at);
      int end = at;
      while (end < steps.size() && isFolded(steps.get(end), step.thread(), shared)) {
        end++;
      }
      for (int i = 0; i < names.size(); i++) {
        if (threads.contains(i)) {
          String what = end == at ? what(step) : "(" + (end - at) + " more)";
          text.append(pad(i == step.thread() ? what : i < step.thread() ? "" : "|"));
        }
      }
      text.append(end == at ? step.where() : "").append(line);
      at = Math.max(end, at + 1);
    }
    if (!failure.state().isEmpty()) {
      text.append("at the end: ").append(failure.state()).append(line);
    }
    text.append("replay(\"").append(format(failure.order())).append("\")").append(line);
    return text.toString();
  }

  /** The words that several threads access, and one of them writes. */
  private static Set<String> shared(List<Failure.Taken> steps) {
    Map<String, Integer> first = new HashMap<>();
    Set<String> several = new HashSet<>();
    Set<String> written = new HashSet<>();
    for (Failure.Taken step : steps) {
      Integer thread = first.putIfAbsent(step.word(), step.thread());
      if (thread != null && thread != step.thread()) {
        several.add(step.word());
      }
      if (step.kind() != StepKind.READ) {
        written.add(step.word());
      }
    }
    several.retainAll(written);
    return several;
  }

  private static boolean isFolded(Failure.Taken step, int thread, Set<String> shared) {
    boolean access = step.kind() == StepKind.READ || step.kind() == StepKind.WRITE;
    return step.thread() == thread && access && !shared.contains(step.word());
  }

  private static String what(Failure.Taken step) {
    String kind = step.kind() == StepKind.POLL ? "look again" : step.kind().name();
    return kind.toLowerCase(Locale.ROOT) + (step.word().isEmpty() ? "" : " " + step.word());
  }

  private static String pad(String text) {
    String cut = text.length() < COLUMN ? text : text.substring(0, COLUMN - 1);
    return String.format("%-" + COLUMN + "s", cut);
  }
}
