package io.github.guestmemfd.lab.report;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The verdict of a session on each protocol, and which one to choose. It compares runs with the
 * policies that every protocol ran with; with two memories only if there are no others.
 *
 * @param rows the protocols
 * @param sentence which to choose; empty if nothing can be compared
 * @param twoMemories what the choice means with two memories; empty if no run had them
 */
record Verdict(List<Row> rows, String sentence, String twoMemories) {

  /** What to say in words. */
  List<String> sentences() {
    return Stream.of(sentence, twoMemories).filter(text -> !text.isEmpty()).toList();
  }

  /** The protocol that a file has if it is given none. */
  static final String DEFAULT = ConversionProtocol.atomicPair().id();

  /** Explains the cost of a protocol. */
  static final String COST =
      "How many times as long the guest takes for the same operations as with the fastest sound"
          + " protocol, with the interval that the two rates allow; a tie if 1 is in it.";

  private static final String TOO_SHORT =
      "The runs were too short to say which protocol is faster.";

  /** For a protocol that does not say when to choose it. */
  private static final String DOES_NOT_SAY = "as you know best: it does not say when.";

  /**
   * The verdict on one protocol.
   *
   * @param id its name
   * @param sound whether it claims to be sound
   * @param fit whether it may be recommended: it claims to be sound, and the runs do not refute it
   * @param leaks how often it leaked
   * @param falseBusy refusals although no host thread held the page
   * @param firstLook the share of first looks that failed although no host thread held the page
   * @param onMismatch what it does then, if it is not given another policy
   * @param rate operations of the guest in a second
   * @param cost how many times as long the guest takes as with the fastest sound protocol; not
   *     known for a protocol that is alone
   * @param fastest whether this is that protocol
   * @param when when to choose it
   */
  record Row(
      String id,
      boolean sound,
      boolean fit,
      long leaks,
      long falseBusy,
      Estimate firstLook,
      String onMismatch,
      Estimate rate,
      Estimate cost,
      boolean fastest,
      String when) {

    boolean isDefault() {
      return id.equals(DEFAULT);
    }

    /** The cost in words. */
    String costText() {
      if (fastest) {
        return "fastest sound";
      }
      if (!cost.isKnown()) {
        return Numbers.NONE;
      }
      String figure = Numbers.estimate(cost, Numbers::ratio);
      return isTie() ? figure + ", a tie" : figure;
    }

    /** Whether it cannot be distinguished from the fastest, as far as there are intervals. */
    boolean isTie() {
      return !fastest && cost.low() <= 1 && cost.high() >= 1;
    }
  }

  private static boolean isFit(List<Measurement> runs) {
    return Runs.areSound(runs) && Finding.isClean(runs);
  }

  /** The verdict on some runs. */
  static Verdict of(List<Measurement> runs) {
    return of(runs, true);
  }

  /**
   * The verdict on some runs.
   *
   * @param longEnough whether they are so long that rates can be compared in words
   */
  static Verdict of(List<Measurement> runs, boolean longEnough) {
    List<Row> rows = rows(Runs.judged(runs));
    boolean compares = rows.stream().anyMatch(Row::fastest);
    List<Measurement> two = Runs.withTwoMemories(runs);
    return new Verdict(
        rows,
        !compares ? "" : longEnough ? sentence(rows) : TOO_SHORT,
        two.isEmpty() ? "" : twoMemories(two) + (longEnough ? rates(rows(two)) : ""));
  }

  private static List<Row> rows(List<Measurement> runs) {
    List<Measurement> fair = Runs.comparable(Measurement::protocol, Runs.policy(runs), runs);
    Map<String, List<Measurement>> byProtocol = Runs.byProtocol(fair);
    String fastest =
        byProtocol.entrySet().stream()
            .filter(e -> isFit(e.getValue()))
            .max(
                Comparator.comparingDouble(
                    e -> Totals.of(e.getValue()).guestOpsPerSecond().median()))
            .map(Map.Entry::getKey)
            .orElse("");
    boolean compares =
        byProtocol.size() > 1
            && !fastest.isEmpty()
            && Totals.of(byProtocol.getOrDefault(fastest, List.of())).guestOpsPerSecond().median()
                > 0;
    List<Row> rows = new ArrayList<>();
    byProtocol.forEach(
        (id, its) ->
            rows.add(
                row(id, its, compares ? fastest : null, byProtocol.getOrDefault(fastest, its))));
    return List.copyOf(rows);
  }

  /** What a protocol decides where no page of the file is ever the host's. */
  private static String twoMemories(List<Measurement> runs) {
    Totals totals = Totals.of(runs);
    long refused = totals.refusedWithUnsafeHolder() + totals.refusedWithoutUnsafeHolder();
    return "With two memories the choice of a protocol makes no difference to conversions: the host"
        + " holds pages of its own memory, never of the file, so none looks at a count. "
        + (refused == 0 ? "None was refused for a holder, " : refused + " were refused, ")
        + (totals.leaks() == 0
            ? "and no protocol leaked."
            : "and the host reached content " + totals.leaks() + " times.");
  }

  /** How the rates of the guest compare there. */
  private static String rates(List<Row> rows) {
    if (rows.stream().filter(Row::fastest).noneMatch(r -> r.rate.hasInterval())) {
      return "";
    }
    List<String> slower =
        rows.stream()
            .filter(r -> !r.fastest && r.cost.isKnown() && !r.isTie())
            .map(r -> r.id + " " + Numbers.estimate(r.cost, Numbers::ratio))
            .toList();
    return slower.isEmpty()
        ? " None was slower than another beyond doubt."
        : " In times as long as the fastest sound one, beyond doubt: "
            + String.join(", ", slower)
            + ".";
  }

  private static Row row(
      String id, List<Measurement> runs, @Nullable String fastest, List<Measurement> ofFastest) {
    Totals totals = Totals.of(runs);
    Estimate rate = totals.guestOpsPerSecond();
    return new Row(
        id,
        Runs.areSound(runs),
        isFit(runs),
        totals.leaks(),
        totals.refusedWithoutUnsafeHolder(),
        totals.firstLookMismatch(),
        ConversionProtocol.byId(id).map(p -> text(p.retryPolicy())).orElse(Numbers.NONE),
        rate,
        fastest == null ? Estimate.NONE : Totals.of(ofFastest).guestOpsPerSecond().over(rate),
        id.equals(fastest),
        ConversionProtocol.byId(id)
            .map(ConversionProtocol::chooseIt)
            .filter(text -> !text.isEmpty())
            .orElse(DOES_NOT_SAY));
  }

  /** What a policy does, in a few words. */
  private static String text(RetryPolicy policy) {
    if (policy.completesLater()) {
      return "completes later";
    }
    List<String> steps = new ArrayList<>();
    if (policy.spins() > 0) {
      steps.add("spins");
    }
    if (policy.waitNanos() > 0) {
      steps.add("waits " + TimeUnit.NANOSECONDS.toMillis(policy.waitNanos()) + " ms");
    }
    return steps.isEmpty() ? "refuses" : String.join(", ", steps);
  }

  private static String sentence(List<Row> rows) {
    Row fastest = rows.stream().filter(Row::fastest).findFirst().orElseThrow();
    List<String> ties = rows.stream().filter(r -> r.fit && r.isTie()).map(Row::id).toList();
    Row usual = rows.stream().filter(r -> r.isDefault() && r.fit).findFirst().orElse(fastest);
    if (!fastest.rate.hasInterval()) {
      return "Too few rounds to say which protocol is faster.";
    }
    if (usual.fastest || usual.isTie()) {
      return "Choose "
          + usual.id
          + (usual.isDefault() ? ", the default" : "")
          + ": it is sound, and no sound protocol was faster beyond doubt"
          + (ties.isEmpty() ? "." : "; ties: " + names(rows, usual) + ".");
    }
    return "The fastest sound protocol was "
        + fastest.id
        + (ties.isEmpty() ? "" : " (ties: " + String.join(", ", ties) + ")")
        + "; "
        + usual.id
        + ", the default, took "
        + Numbers.estimate(usual.cost, Numbers::ratio)
        + " times as long.";
  }

  /** The sound protocols that cannot be distinguished from the fastest, except the one chosen. */
  private static String names(List<Row> rows, Row chosen) {
    return String.join(
        ", ",
        rows.stream()
            .filter(r -> r.fit && (r.fastest || r.isTie()) && !r.equals(chosen))
            .map(Row::id)
            .toList());
  }
}
