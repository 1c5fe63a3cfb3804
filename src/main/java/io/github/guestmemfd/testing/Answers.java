package io.github.guestmemfd.testing;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.Step;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

/**
 * What a protocol answers about counts, without a file: the counts are those that holders lead to
 * by the protocol's own steps, up to the largest, and the answers must fit them and stay the same.
 */
final class Answers {
  /** The most guest-side holders that a folio can have. */
  private static final int MAX_SAFE = (1 << 15) - 1;

  /** About the most references that a folio can have. */
  private static final int MAX_REFS = 1_000_000;

  /** A fixed seed: the counts are the same in every run. */
  private static final long SEED = 20240805;

  private static final long ALONE_NANOS = TimeUnit.MILLISECONDS.toNanos(600);
  private static final long TOGETHER_NANOS = TimeUnit.MILLISECONDS.toNanos(200);
  private static final int THREADS = 4;

  /** What a guest-side holder counts as while it is at some step. */
  private record Standing(int refs, int safe) {}

  private static final Standing NONE = new Standing(0, 0);

  /** A question about a folio. */
  private record Question(int refs, int safe, int accessible) {}

  private final Supplier<ConversionProtocol> protocols;
  private final ConversionProtocol protocol;
  private final boolean countsSafe;

  /** What a holder counts as that has taken all it needs. */
  private Standing holding = NONE;

  /** Whether it has the folio lock then, which no conversion passes. */
  private boolean keepsLock;

  /** Tells the thread that asks to end. */
  private volatile boolean over;

  /** What one counts as that is on its way to that, or back. */
  private final Set<Standing> onTheWay =
      new TreeSet<>(
          (one, other) ->
              one.refs != other.refs
                  ? Integer.compare(one.refs, other.refs)
                  : Integer.compare(one.safe, other.safe));

  Answers(Supplier<ConversionProtocol> protocols) {
    this.protocols = protocols;
    this.protocol = protocols.get();
    List<Step> takes = protocol.guestTakes();
    this.countsSafe = takes.contains(Step.SAFE) || takes.contains(Step.REF_AND_SAFE);
    walk(takes, protocol.guestDrops());
  }

  private void walk(List<Step> takes, List<Step> drops) {
    int refs = 0;
    int safe = 0;
    boolean locked = false;
    for (Step step : takes) {
      refs += raisesRefs(step) ? 1 : 0;
      safe += raisesSafe(step) ? 1 : 0;
      locked = step == Step.LOCK || (locked && step != Step.UNLOCK);
      if (!locked) {
        onTheWay.add(new Standing(refs, safe));
      }
    }
    holding = new Standing(refs, safe);
    keepsLock = locked;
    for (Step step : drops) {
      refs -= raisesRefs(step) ? 1 : 0;
      safe -= raisesSafe(step) ? 1 : 0;
      locked = locked && step != Step.LOCK;
      if (!locked) {
        onTheWay.add(new Standing(refs, safe));
      }
    }
    onTheWay.remove(holding);
    onTheWay.remove(NONE);
  }

  private static boolean raisesRefs(Step step) {
    return step == Step.REF || step == Step.REF_AND_SAFE;
  }

  private static boolean raisesSafe(Step step) {
    return step == Step.SAFE || step == Step.REF_AND_SAFE;
  }

  // ---- counts ----

  /** Numbers at which counts that are cut, or compared by the wrong bits, show. */
  private static List<Integer> numbers(int from, int most) {
    Set<Integer> numbers = new TreeSet<>();
    for (int i = from; i <= 40; i++) {
      numbers.add(i);
    }
    for (int power = 64; power <= most; power *= 2) {
      for (int off = -1; off <= 1; off++) {
        numbers.add(power + off);
      }
    }
    for (int power = 100; power <= most; power *= 10) {
      numbers.add(power);
      numbers.add(power + 1);
    }
    numbers.add(most - 1);
    numbers.add(most);
    numbers.removeIf(number -> number > most);
    return List.copyOf(numbers);
  }

  /**
   * Asks about every number of guest-side holders, and a reference of the host among them, or so
   * many; about holders on their way; and about guest-side holders alone.
   */
  void checkCounts(Stage stage) {
    if (!protocol.freezes()) { // such a one is asked about folios only that no holder has
      watch(stage, "a thread that asks the protocol", this::checkCounts);
    }
  }

  private void checkCounts(Party self) {
    List<Integer> guests = keepsLock ? List.of(0) : numbers(0, MAX_SAFE);
    for (int n : guests) {
      if (over) {
        return;
      }
      self.reach(n + " guest-side holders");
      if (n > 0 && countsSafe) {
        requireAccepted(n);
      }
      for (int others : numbers(1, MAX_REFS - MAX_SAFE)) {
        requireRefused(n, NONE, others);
      }
      for (Standing one : onTheWay) {
        for (int others : numbers(1, MAX_REFS - MAX_SAFE)) {
          requireRefused(n, one, others);
        }
      }
    }
    SplittableRandom random = new SplittableRandom(SEED);
    for (int i = 0; i < 20_000; i++) {
      int n = keepsLock ? 0 : random.nextInt(1 << random.nextInt(15));
      requireRefused(n, NONE, 1 + random.nextInt(1 << random.nextInt(19)));
      requireRefused(n, NONE, 1);
      if (n > 0 && countsSafe) {
        requireAccepted(n);
      }
    }
    checkPunches(guests);
  }

  private void requireAccepted(int guests) {
    Question question = new Question(1 + guests * holding.refs, guests * holding.safe, 0);
    Rule.COMPLETENESS.check(
        mayTurnInaccessible(question),
        said(question, false)
            + " for "
            + guests
            + " guest-side holders that hold the folio as the steps have it, and no other holder");
  }

  private void requireRefused(int guests, Standing one, int others) {
    Question question =
        new Question(
            1 + guests * holding.refs + one.refs + others, guests * holding.safe + one.safe, 0);
    Rule.SOUNDNESS.check(
        !mayTurnInaccessible(question),
        said(question, true)
            + " for "
            + guests
            + " guest-side holders that hold the folio as the steps have it, "
            + (one.refs + one.safe == 0
                ? ""
                : "one that is between two steps (refs=" + one.refs + ", safe=" + one.safe + "), ")
            + "and "
            + others
            + " references of the host");
  }

  private static String said(Question question, boolean answer) {
    return "mayTurnInaccessible(refs="
        + question.refs
        + ", safe="
        + question.safe
        + ") said "
        + answer;
  }

  /**
   * A punch asks before it unmaps, so mappings of the host are among the references. A guest-side
   * holder without a reference would be left with a frame that is another's.
   */
  private void checkPunches(List<Integer> guests) {
    for (int mappings : numbers(1, MAX_REFS)) {
      Rule.COMPLETENESS.check(
          protocol.mayPunch(1 + mappings, 0),
          "mayPunch(refs="
              + (1 + mappings)
              + ", safe=0) said false, but these may be the references of host mappings, which the"
              + " punch removes when it has been let pass: a page that is mapped could never be"
              + " punched");
    }
    for (int n : guests) {
      if (n > 0 && holding.refs == 0 && !keepsLock) {
        Rule.NOTHING_LOST.check(
            !protocol.mayPunch(1, n),
            "mayPunch(refs=1, safe="
                + n
                + ") said true, but the guest-side holders have no reference that would keep the"
                + " frame");
      }
    }
  }

  private boolean mayTurnInaccessible(Question question) {
    try {
      return protocol.mayTurnInaccessible(question.refs, question.safe);
    } catch (RuntimeException | Error e) {
      throw Rule.STEPS.broken(
          "mayTurnInaccessible(refs=" + question.refs + ", safe=" + question.safe + ") threw", e);
    }
  }

  // ---- always the same ----

  /**
   * Asks the same questions again: in other orders, of another object, by several threads at once,
   * and by a thread that is interrupted.
   */
  void checkSame(Stage stage) {
    List<Question> questions = questions();
    byte[] expected = new byte[questions.size()];
    String traits = traits(protocol);
    watch(
        stage,
        "a thread that asks the protocol",
        self -> {
          for (int i = 0; i < expected.length && !over; i++) {
            expected[i] = ask(protocol, questions.get(i));
          }
        });
    // First of all, since what is not compiled yet is slow enough for threads to meet in it.
    List<Party> together = new ArrayList<>();
    for (int i = 0; i < THREADS; i++) {
      long seed = SEED + i;
      together.add(
          stage.enter(
              "one of " + THREADS + " threads that ask the protocol at once",
              Set.of(),
              self -> askAgain(self, questions, expected, traits, TOGETHER_NANOS, seed)));
    }
    together.forEach(Party::join);
    watch(
        stage,
        "a thread that asks the protocol",
        self -> askAgain(self, questions, expected, traits, ALONE_NANOS, SEED));
    stage.run("an interrupted thread", self -> askInterrupted(questions, expected));
  }

  /** Runs what asks the protocol, and fails as soon as that is seen to block. */
  private void watch(Stage stage, String name, Party.Act act) {
    Party party = stage.enter(name, Set.of(), act);
    try {
      Pauses.joinAll(stage, List.of(party), protocol, Rule.STEPS);
    } finally {
      over = !party.isDone();
    }
  }

  private List<Question> questions() {
    List<Question> questions = new ArrayList<>();
    int[] some = {0, 1, 2, 3, 7, 128, 256, 1000, 1024, 4096, 32_767, 65_536, MAX_REFS};
    for (int others : some) {
      for (int guests : some) {
        if (guests <= MAX_SAFE) {
          int refs = 1 + others + guests * holding.refs;
          questions.add(new Question(refs, guests * holding.safe, Math.min(others, 2047)));
          questions.add(new Question(refs, guests * holding.safe, 0));
        }
      }
    }
    return questions;
  }

  /** The four answers, a bit each. */
  private static byte ask(ConversionProtocol protocol, Question question) {
    try {
      return (byte)
          ((protocol.mayTurnInaccessible(question.refs, question.safe) ? 1 : 0)
              | (protocol.mayPunch(question.refs, question.safe) ? 2 : 0)
              | (protocol.isWorthWaiting(question.refs, question.safe, question.accessible) ? 4 : 0)
              | (protocol.refusesOutright(question.refs, question.safe) ? 8 : 0));
    } catch (RuntimeException | Error e) {
      throw Rule.STEPS.broken("a question about " + question + " threw", e);
    }
  }

  private static String traits(ConversionProtocol protocol) {
    return "id="
        + protocol.id()
        + ", takes="
        + protocol.guestTakes()
        + ", drops="
        + protocol.guestDrops()
        + ", freezes="
        + protocol.freezes()
        + ", waitsWithFolioLock="
        + protocol.waitsWithFolioLock()
        + ", locksWholeFile="
        + protocol.locksWholeFile()
        + ", isSound="
        + protocol.isSound()
        + ", "
        + protocol.retryPolicy();
  }

  private void askAgain(
      Party self, List<Question> questions, byte[] expected, String traits, long nanos, long seed) {
    SplittableRandom random = new SplittableRandom(seed);
    ConversionProtocol[] asked = {protocol, protocols.get()};
    long end = System.nanoTime() + nanos;
    for (int pass = 0; System.nanoTime() < end && !over; pass++) {
      self.reach("pass " + pass);
      for (int i = 0; i < 1000; i++) {
        int at = random.nextInt(expected.length);
        byte answer = ask(asked[i & 1], questions.get(at));
        if (answer != expected[at]) {
          throw Rule.STEPS.broken(
              "asked again, "
                  + name(answer ^ expected[at])
                  + " answers otherwise about "
                  + questions.get(at)
                  + ((i & 1) == 0 ? "" : ", of another object of the same protocol")
                  + ": an answer may depend on the counts only, not on time, chance, other"
                  + " questions, or other files");
        }
      }
      String now = traits(asked[pass & 1]);
      Rule.STEPS.check(
          now.equals(traits), "asked again, its traits are " + now + ", before " + traits);
    }
  }

  private static String name(int difference) {
    return (difference & 1) != 0
        ? "mayTurnInaccessible"
        : (difference & 2) != 0
            ? "mayPunch"
            : (difference & 4) != 0 ? "isWorthWaiting" : "refusesOutright";
  }

  private void askInterrupted(List<Question> questions, byte[] expected) {
    Thread.currentThread().interrupt();
    for (int i = 0; i < expected.length; i++) {
      byte answer = ask(protocol, questions.get(i));
      Rule.STEPS.check(
          answer == expected[i],
          "asked by an interrupted thread, it answers otherwise about " + questions.get(i));
    }
    traits(protocol);
    Rule.STEPS.check(
        Thread.interrupted(), "a method of the protocol has lost an interrupt of its thread");
  }
}
