package io.github.guestmemfd.lab.report;

import io.github.guestmemfd.conversion.ConversionProtocol;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.stream.Collectors;

/** Groups runs by what they have in common. */
final class Runs {

  private Runs() {}

  /**
   * By protocol: the shipped ones in their order, then others as they come; none that did not run.
   */
  static Map<String, List<Measurement>> byProtocol(List<Measurement> runs) {
    Map<String, List<Measurement>> all = new LinkedHashMap<>();
    ConversionProtocol.all().forEach(p -> all.put(p.id(), new ArrayList<>()));
    runs.forEach(m -> all.computeIfAbsent(m.protocol(), id -> new ArrayList<>()).add(m));
    all.values().removeIf(List::isEmpty);
    return all;
  }

  /** By anything else, as they come. */
  static Map<String, List<Measurement>> by(
      Function<Measurement, String> key, List<Measurement> runs) {
    return runs.stream()
        .collect(Collectors.groupingBy(key, LinkedHashMap::new, Collectors.toList()));
  }

  /** The rounds of each combination, as they come. */
  static List<List<Measurement>> byCell(List<Measurement> runs) {
    return List.copyOf(
        runs.stream()
            .collect(
                Collectors.groupingBy(Measurement::cell, LinkedHashMap::new, Collectors.toList()))
            .values());
  }

  /** The policy of a run; with the monitor, if that is not always the same. */
  static Function<Measurement, String> policy(List<Measurement> runs) {
    boolean same = runs.stream().map(Measurement::monitor).distinct().count() <= 1;
    return m -> same ? m.policy() : m.policy() + ", " + m.monitor().name();
  }

  /**
   * The runs by which protocols are compared: those in place, if there are any. With two memories a
   * protocol decides nothing.
   */
  static List<Measurement> judged(List<Measurement> runs) {
    List<Measurement> inPlace = runs.stream().filter(m -> !m.monitor().hasTwoMemories()).toList();
    return inPlace.isEmpty() ? runs : inPlace;
  }

  /** The runs with two memories. */
  static List<Measurement> withTwoMemories(List<Measurement> runs) {
    return runs.stream().filter(m -> m.monitor().hasTwoMemories()).toList();
  }

  /** The monitor of a run; with the policy, if that is not always the same. */
  static Function<Measurement, String> monitor(List<Measurement> runs) {
    boolean same = runs.stream().map(Measurement::policy).distinct().count() <= 1;
    return m -> same ? m.monitor().name() : m.monitor().name() + ", " + m.policy();
  }

  /**
   * The runs that compare fairly: those whose {@code other} there is with every {@code key}. If
   * there are none, all.
   */
  static List<Measurement> comparable(
      Function<Measurement, String> key,
      Function<Measurement, String> other,
      List<Measurement> runs) {
    long keys = runs.stream().map(key).distinct().count();
    Map<String, List<Measurement>> byOther = by(other, runs);
    byOther.values().removeIf(its -> its.stream().map(key).distinct().count() < keys);
    return byOther.isEmpty()
        ? runs
        : runs.stream().filter(m -> byOther.containsKey(other.apply(m))).toList();
  }

  /** Whether a protocol claims to be sound, as its runs say. */
  static boolean areSound(List<Measurement> runs) {
    return runs.stream().allMatch(Measurement::sound);
  }
}
