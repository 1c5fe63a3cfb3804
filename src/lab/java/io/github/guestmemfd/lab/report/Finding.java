package io.github.guestmemfd.lab.report;

import java.util.ArrayList;
import java.util.List;
import java.util.function.ToLongFunction;
import java.util.stream.Collectors;

/**
 * Something that the runs have shown, in words.
 *
 * @param failure whether it must not be: a leak of a protocol that claims to be sound, a frame that
 *     was not given back, or content that was changed
 * @param text what it is
 * @param example how the first case was found; empty if there is nothing to tell
 */
record Finding(boolean failure, String text, String example) {

  /** Whether no protocol that claims to be sound leaked, and nothing was lost by any. */
  static boolean isClean(List<Measurement> runs) {
    return runs.stream()
        .allMatch(
            m -> m.framesLeaked() == 0 && m.corruptions() == 0 && (!m.sound() || m.leaks() == 0));
  }

  /** What to say of some runs; the last says whether they are clean. */
  static List<Finding> of(List<Measurement> runs) {
    List<Finding> all = new ArrayList<>();
    Runs.byProtocol(runs).forEach((id, its) -> leaks(all, id, its));
    Runs.byProtocol(runs)
        .forEach(
            (id, its) -> {
              lost(
                  all, id, "did not give back all memory", "frame", Measurement::framesLeaked, its);
              lost(all, id, "changed content", "time", Measurement::corruptions, its);
            });
    if (runs.isEmpty()) {
      all.add(new Finding(false, "Nothing was measured.", ""));
    } else if (isClean(runs)) {
      all.add(
          new Finding(
              false,
              "Clean: no protocol that claims to be sound leaked, no content was changed, every"
                  + " frame was given back.",
              ""));
    } else {
      all.add(
          new Finding(
              true,
              "NOT CLEAN: "
                  + plural(all.stream().filter(Finding::failure).count(), "failure")
                  + "; what claims to be sound must not leak, no content may change, and every frame"
                  + " must be given back.",
              ""));
    }
    return all;
  }

  private static void leaks(List<Finding> all, String id, List<Measurement> runs) {
    String which = id + (Runs.areSound(runs) ? ", which claims" : ", which does not claim");
    if (runs.stream().anyMatch(m -> m.leaks() > 0)) {
      Measurement first = runs.stream().filter(m -> m.leaks() > 0).findFirst().orElseThrow();
      all.add(
          new Finding(
              first.sound(),
              (first.sound() ? "FAILURE: " : "")
                  + which
                  + " to be sound, leaked "
                  + places(runs, "time", Measurement::leaks),
              first.firstLeak()));
    } else if (!Runs.areSound(runs)) {
      all.add(new Finding(false, which + " to be sound, did not leak in these runs.", ""));
    }
  }

  private static void lost(
      List<Finding> all,
      String id,
      String what,
      String noun,
      ToLongFunction<Measurement> count,
      List<Measurement> runs) {
    if (runs.stream().anyMatch(m -> count.applyAsLong(m) > 0)) {
      all.add(
          new Finding(true, "FAILURE: " + id + " " + what + ": " + places(runs, noun, count), ""));
    }
  }

  /** How many, in how many runs, with how many vCPUs; then the workloads, each with its number. */
  private static String places(
      List<Measurement> runs, String noun, ToLongFunction<Measurement> count) {
    List<Measurement> some = runs.stream().filter(m -> count.applyAsLong(m) > 0).toList();
    List<String> vcpus =
        some.stream().map(Measurement::vcpus).distinct().sorted().map(String::valueOf).toList();
    String workloads =
        Runs.by(Measurement::workload, some).entrySet().stream()
            .map(e -> e.getKey() + " " + e.getValue().stream().mapToLong(count).sum())
            .collect(Collectors.joining(", "));
    return plural(some.stream().mapToLong(count).sum(), noun)
        + ", in "
        + some.size()
        + " of "
        + plural(runs.size(), "run")
        + ", with "
        + String.join(", ", vcpus)
        + (vcpus.equals(List.of("1")) ? " vCPU" : " vCPUs")
        + ": "
        + workloads
        + ".";
  }

  private static String plural(long n, String noun) {
    return n + " " + noun + (n == 1 ? "" : "s");
  }
}
