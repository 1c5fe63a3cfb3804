package io.github.guestmemfd.lab.report;

import io.github.guestmemfd.conversion.ConversionProtocol;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;
import java.util.function.Predicate;

/**
 * The contents of a report of platforms: which protocols, policies and kinds of monitors a guest
 * has survived, on which platform.
 *
 * @param platforms the ids of the platforms, as they are to be shown
 * @param runs what was found, in the order it is to be shown
 * @param cutShort why not all runs were made that were to be; empty if they were
 * @param options what was asked for
 * @param environment where and when it was found
 */
public record Survivals(
    List<String> platforms,
    List<Survival> runs,
    String cutShort,
    Session.Options options,
    Environment environment) {

  /** The policy of the table of protocols: one that converts what the guest asks for, and then. */
  public static final String POLICY = "hypercall";

  /** A guest that has survived, and a combination that there is not. */
  static final String SURVIVED = "yes";

  static final String NONE = "\u2013";

  private static final String PROTOCOL = ConversionProtocol.atomicPair().id();

  /**
   * Copies the lists.
   *
   * @param platforms the ids of the platforms, as they are to be shown
   * @param runs what was found, in the order it is to be shown
   * @param cutShort why not all runs were made that were to be; empty if they were
   * @param options what was asked for
   * @param environment where and when it was found
   */
  public Survivals {
    platforms = List.copyOf(platforms);
    runs = List.copyOf(runs);
  }

  /**
   * Whether nothing was found that the library is to blame for.
   *
   * @return the answer
   */
  public boolean isClean() {
    return runs.stream().noneMatch(Survival::isWrong);
  }

  /**
   * A table.
   *
   * @param caption what it shows
   * @param heads of the columns that say what a row is of
   * @param rows the rows
   */
  record Table(String caption, List<String> heads, List<Row> rows) {}

  /**
   * A row of a table.
   *
   * @param names what it is of, a name for each head
   * @param cells what became of the guest of each platform: {@link #SURVIVED}, what was found, or
   *     {@link #NONE}
   */
  record Row(List<String> names, List<String> cells) {}

  /** The tables: those that have something to compare. */
  List<Table> tables() {
    List<Table> tables = new ArrayList<>();
    for (boolean needsSeveral : new boolean[] {true, false}) {
      if (tables.isEmpty()) { // if there is but one protocol and policy, its kinds of monitors
        add(
            tables,
            needsSeveral,
            "protocol",
            "with the policy " + POLICY,
            Survival::protocol,
            s -> s.policy().equals(POLICY));
      }
      if (needsSeveral || tables.isEmpty()) {
        add(
            tables,
            needsSeveral,
            "policy",
            "with the protocol " + PROTOCOL,
            Survival::policy,
            s -> s.protocol().equals(PROTOCOL));
      }
    }
    return tables;
  }

  private void add(
      List<Table> tables,
      boolean needsSeveral,
      String what,
      String rest,
      Function<Survival, String> key,
      Predicate<Survival> which) {
    List<Survival> chosen = runs.stream().filter(which).toList();
    boolean severalMonitors = chosen.stream().map(Survival::monitor).distinct().count() > 1;
    boolean several = chosen.stream().map(key).distinct().count() > 1;
    if (!several && (needsSeveral || !severalMonitors)) {
      return;
    }
    Function<Survival, List<String>> names =
        s ->
            severalMonitors
                ? List.of(s.condition().id(), s.monitor().name(), key.apply(s))
                : List.of(s.condition().id(), key.apply(s));
    List<String> heads =
        severalMonitors ? List.of("hardware", "memory", what) : List.of("hardware", what);
    String caption = "Which " + what + " survives, " + rest + ":";
    tables.add(new Table(caption, heads, rows(chosen, names)));
  }

  private List<Row> rows(List<Survival> chosen, Function<Survival, List<String>> names) {
    List<Row> rows = new ArrayList<>();
    for (Condition condition : Condition.values()) {
      Map<List<String>, List<Survival>> byName = new LinkedHashMap<>();
      chosen.stream()
          .filter(s -> s.condition() == condition)
          .forEach(s -> byName.computeIfAbsent(names.apply(s), n -> new ArrayList<>()).add(s));
      byName.forEach((name, its) -> rows.add(new Row(name, cells(its))));
    }
    return rows;
  }

  private List<String> cells(List<Survival> its) {
    return platforms.stream()
        .map(p -> its.stream().filter(s -> s.platform().equals(p)).toList())
        .map(Survivals::cell)
        .toList();
  }

  private static String cell(List<Survival> its) {
    Set<String> found = findings(its);
    return its.isEmpty() ? NONE : found.isEmpty() ? SURVIVED : String.join(", ", found);
  }

  /** What was found in any of some runs. */
  static Set<String> findings(List<Survival> its) {
    Set<String> found = new LinkedHashSet<>();
    its.forEach(s -> found.addAll(s.findings()));
    return found;
  }

  /** The runs that differ in their workload, vCPUs and nothing else. */
  List<List<Survival>> cells() {
    Map<List<Object>, List<Survival>> cells = new LinkedHashMap<>();
    for (Survival s : runs) {
      List<Object> key =
          Arrays.asList(s.platform(), s.condition(), s.monitor(), s.protocol(), s.policy());
      cells.computeIfAbsent(key, k -> new ArrayList<>()).add(s);
    }
    return List.copyOf(cells.values());
  }
}
