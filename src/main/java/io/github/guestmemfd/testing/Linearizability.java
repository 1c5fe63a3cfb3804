package io.github.guestmemfd.testing;

import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.explore.History;
import io.github.guestmemfd.explore.Scenario;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Whether the results of calls that overlap are those of some order of whole calls (Herlihy and
 * Wing 1990): compares a history with those of all orders of whole calls.
 */
final class Linearizability {
  /** What the calls of a history have returned, thread by thread, and the outcome. */
  private record Results(List<@Nullable Object> results, @Nullable Object outcome) {}

  /** An exception as a result. */
  private record Thrown(String what) {
    @Override
    public String toString() {
      return what;
    }
  }

  private static final int MOST_SHOWN = 12;

  private final List<String> names;
  private final Map<Results, List<History>> wholeCalls = new LinkedHashMap<>();

  Linearizability(List<String> names) {
    this.names = names;
  }

  /** A thread whose calls return the exceptions that they throw. */
  static <W> Scenario.Actor<W> ofResults(Scenario.Actor<W> thread) {
    List<Scenario.Call<? super W>> calls = new ArrayList<>();
    for (Scenario.Call<? super W> call : thread.calls()) {
      calls.add(w -> result(call, w));
    }
    return new Scenario.Actor<>(thread.name(), calls);
  }

  private static <W> @Nullable Object result(Scenario.Call<? super W> call, W world) {
    try {
      return call.on(world);
    } catch (GuestMemfdException e) {
      return new Thrown(e.errno().toString());
    } catch (Exception e) {
      return new Thrown(e.getClass().getSimpleName());
    }
  }

  /** Adds a history of whole calls. */
  void add(History history) {
    wholeCalls.computeIfAbsent(results(history), r -> new ArrayList<>()).add(history);
  }

  private static Results results(History history) {
    List<@Nullable Object> results = new ArrayList<>();
    history.calls().forEach(call -> results.add(call.result()));
    return new Results(results, history.outcome());
  }

  /** Fails if no order of whole calls has these results. */
  void check(History history) {
    Results results = results(history);
    List<History> same = wholeCalls.getOrDefault(results, List.of());
    if (same.stream().noneMatch(whole -> isKept(history, whole))) {
      throw new AssertionError(explain(history, results, !same.isEmpty()));
    }
  }

  /** Whether calls that came one after the other do so in an order of whole calls too. */
  private static boolean isKept(History history, History whole) {
    List<History.Done> calls = history.calls();
    for (int i = 0; i < calls.size(); i++) {
      for (int j = 0; j < calls.size(); j++) {
        boolean before = calls.get(i).ended() < calls.get(j).begun();
        if (before && whole.calls().get(j).ended() < whole.calls().get(i).begun()) {
          return false;
        }
      }
    }
    return true;
  }

  private String explain(History history, Results results, boolean otherOrder) {
    StringBuilder text = new StringBuilder("not linearizable: ");
    text.append(describe(history, results));
    if (otherOrder) {
      text.append(": calls one at a time return that only in an order");
      text.append(" in which a call comes after one that it was over before");
    } else {
      text.append(": calls one at a time return");
      int shown = 0;
      for (Map.Entry<Results, List<History>> whole : wholeCalls.entrySet()) {
        if (shown++ == MOST_SHOWN) {
          text.append(System.lineSeparator()).append("  and others");
          break;
        }
        text.append(System.lineSeparator()).append("  ");
        text.append(describe(whole.getValue().get(0), whole.getKey()));
      }
    }
    return text.toString();
  }

  private String describe(History history, Results results) {
    StringBuilder text = new StringBuilder();
    for (History.Done call : history.calls()) {
      text.append(names.get(call.thread())).append(' ').append(call.result()).append(", ");
    }
    return text.append("at the end ").append(Objects.toString(results.outcome())).toString();
  }
}
