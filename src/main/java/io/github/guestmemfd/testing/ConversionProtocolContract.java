package io.github.guestmemfd.testing;

import io.github.guestmemfd.BusyFolio;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.conversion.Step;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.ThreadLocalRandom;
import org.junit.jupiter.api.Test;

/**
 * The promises of a {@link ConversionProtocol}, as tests for JUnit Jupiter. Extend this class,
 * return your protocol, and run it.
 *
 * <pre>{@code
 * class MyProtocolTest extends ConversionProtocolContract {
 *   @Override
 *   protected ConversionProtocol protocol() {
 *     return new MyProtocol();
 *   }
 * }
 * }</pre>
 *
 * <p>Guest-side and host-side holders meet a conversion. Each is stopped at every step of what it
 * does, so that every run covers every race of two or three parties; {@link #stress} adds random
 * interleavings. The tests compare bytes: after a conversion that reported success the guest
 * writes, and each thread that held the page before tries to read and overwrite what it wrote.
 *
 * <p>The contract is for protocols that claim to be {@linkplain ConversionProtocol#isSound sound}.
 * It checks that claim, and makes no exception for protocols that do not claim it: they fail, with
 * the leak in the message. It allows for three traits of a protocol:
 *
 * <ul>
 *   <li>Guest-side holders that do not raise the safe count may block a conversion for as long as
 *       they hold the folio.
 *   <li>A protocol that {@linkplain ConversionProtocol#waitsWithFolioLock waits with the folio
 *       lock} may refuse while holders wait for that lock, but not afterwards.
 *   <li>One that never waits ({@link ConversionProtocol#isWorthWaiting} is false for a plain
 *       reference) may refuse for a holder that is about to go, but not afterwards: its caller
 *       tries again.
 * </ul>
 *
 * <p>It does not allow for a protocol that keeps no orphans, and refuses a punch for any reference:
 * a punch asks before it unmaps, so that a refusal changes nothing, and a page that the host has
 * mapped could never be punched. To refuse for safe holders, whom {@code invalidateBegin} has told
 * to let go, is allowed.
 *
 * <p>A thread that makes no progress for 2 seconds fails the test, with the positions of all.
 *
 * <p>Each failure names the rule that is broken: SOUNDNESS, COMPLETENESS, ALL_OR_NOTHING,
 * NOTHING_LOST or STEPS. Needs junit-jupiter-api on the class path; the library does not depend on
 * it.
 */
public abstract class ConversionProtocolContract {
  private static final int PAGE = Scene.PAGE;
  private static final RetryPolicy AT_ONCE = RetryPolicy.failAtOnce();

  /** Longer than a holder needs that goes on to its next stop. */
  private static final RetryPolicy PATIENT =
      RetryPolicy.spinThenWait(64, Duration.ofMillis(Stage.PATIENCE_MILLIS));

  /** The longest wait of a protocol's own retry policy: it has to end some time. */
  private static final Duration LONGEST_WAIT = Duration.ofSeconds(10);

  /** The most looks, which take a second or so. */
  private static final int MOST_SPINS = 1_000_000;

  /** For subclasses. */
  protected ConversionProtocolContract() {}

  /**
   * The protocol under test.
   *
   * @return the protocol; called once or more in each test
   */
  protected abstract ConversionProtocol protocol();

  /**
   * The seed of {@link #stress}, which a failure names.
   *
   * @return a new seed each time by default; override this to reproduce a failure
   */
  protected long seed() {
    return ThreadLocalRandom.current().nextLong();
  }

  private Scene scene(Stage stage, RetryPolicy policy) {
    return new Scene(stage, protocol(), policy, 1);
  }

  private List<String> guestSteps(Stage stage) {
    try (Scene scene = scene(stage, AT_ONCE)) {
      return stage.steps(scene::guestAct);
    }
  }

  private List<String> hostSteps(Stage stage, Scene.Host host) {
    try (Scene scene = scene(stage, AT_ONCE)) {
      return stage.steps(self -> scene.hostAct(host, self));
    }
  }

  /** Whether guest-side holders raise the safe count. */
  private boolean raisesSafe() {
    List<Step> takes = protocol().guestTakes();
    return takes.contains(Step.SAFE) || takes.contains(Step.REF_AND_SAFE);
  }

  /**
   * Whether a conversion may be refused for holders that are about to go: it may hold the lock that
   * they need to go on, or never waits.
   */
  private boolean refusesInPassing() {
    ConversionProtocol protocol = protocol();
    return neverWaits()
        || (protocol.waitsWithFolioLock() && protocol.guestTakes().contains(Step.LOCK));
  }

  /** Whether a conversion does not even wait for a plain reference, which may be gone at once. */
  private boolean neverWaits() {
    return !protocol().isWorthWaiting(2, 0, 0);
  }

  // ---- steps ----

  /** The library accepts the steps, traits and policy, and they do not change. */
  @Test
  public final void stepsMakeSense() {
    ConversionProtocol protocol = protocol();
    Rule.STEPS.checkName(protocol.id(), protocol, ConversionProtocol.byId(protocol.id()));
    Rule.STEPS.check(
        protocol.guestTakes().equals(protocol.guestTakes())
            && protocol.guestDrops().equals(protocol.guestDrops()),
        "guestTakes or guestDrops answers differently when asked again");
    RetryPolicy policy = protocol.retryPolicy();
    Rule.STEPS.check(
        policy.spins() <= MOST_SPINS && policy.waitNanos() <= LONGEST_WAIT.toNanos(),
        "expected a retry policy of up to "
            + MOST_SPINS
            + " spins and a wait of up to "
            + LONGEST_WAIT
            + ", so that a conversion comes to an end whatever holds its folios, actual "
            + policy);
    Rule.STEPS.check(
        protocol.mayTurnInaccessible(1, 0),
        "mayTurnInaccessible(refs=1, safe=0) said false, but only the page cache holds the folio");
    Rule.STEPS.check(
        protocol.mayPunch(1, 0),
        "mayPunch(refs=1, safe=0) said false, but only the page cache holds the folio");
    try (Stage stage = new Stage();
        Scene scene = new Scene(stage, protocol, protocol.retryPolicy(), 1)) {
      scene.assertContent("at first");
    } catch (IllegalArgumentException e) {
      throw Rule.STEPS.broken("the library refuses them", e);
    }
  }

  /**
   * The answers are a function of the counts: the same later, in another order, for another object
   * of the protocol, from several threads at once and from an interrupted one. They come without
   * waiting.
   */
  @Test
  public final void answersAreAlwaysTheSame() {
    try (Stage stage = new Stage()) {
      new Answers(this::protocol).checkSame(stage);
    }
  }

  /**
   * The answers are right for every number of holders, up to the largest: those that the steps of
   * the protocol lead to, with references and pins of the host among them and without.
   */
  @Test
  public final void countsOfAnySizeAreToldApart() {
    try (Stage stage = new Stage()) {
      new Answers(this::protocol).checkCounts(stage);
    }
  }

  // ---- soundness ----

  /**
   * Host holders of every kind, each stopped at every one of its steps, meet a conversion; with no
   * guest-side holder, and with one stopped at every one of its steps.
   */
  @Test
  public final void noHostHolderOutlivesAConversion() {
    try (Stage stage = new Stage()) {
      List<String> guestSteps = guestSteps(stage);
      for (Scene.Host host : Scene.Host.values()) {
        List<String> hostSteps = hostSteps(stage, host);
        for (int h = 0; h < hostSteps.size(); h++) {
          for (int g = -1; g < guestSteps.size(); g++) {
            try (Scene scene = scene(stage, AT_ONCE)) {
              String story = host.text + " at " + hostSteps.get(h);
              if (g >= 0) {
                scene.guest(g);
                story += ", a guest-side holder at " + guestSteps.get(g);
              }
              scene.host(host, h);
              scene.assertSound(scene.convert(), story);
            }
          }
        }
      }
    }
  }

  /** As above: a plain reference, and two or three guest-side holders at every pair of steps. */
  @Test
  public final void noReferenceHidesBehindGuests() {
    try (Stage stage = new Stage()) {
      List<String> steps = guestSteps(stage);
      for (int one = 0; one < steps.size(); one++) {
        for (int other = one; other < steps.size(); other++) {
          try (Scene scene = scene(stage, AT_ONCE)) {
            scene.guest(one);
            scene.guest(other);
            scene.guest(other);
            scene.host(Scene.Host.PLAIN, Party.AT_HOLDING);
            scene.assertSound(
                scene.convert(),
                "a plain reference (GUP), guest-side holders at "
                    + steps.get(one)
                    + " and, two of them, at "
                    + steps.get(other));
          }
        }
      }
    }
  }

  /**
   * Host holders of every kind arrive while a conversion is stopped at each of its steps, with and
   * without a plain reference that makes the conversion fail.
   */
  @Test
  public final void noHostHolderArrivesDuringAConversion() {
    try (Stage stage = new Stage()) {
      for (boolean held : new boolean[] {false, true}) {
        List<String> steps;
        try (Scene scene = scene(stage, AT_ONCE)) {
          if (held) {
            scene.host(Scene.Host.PLAIN, Party.AT_HOLDING);
          }
          Scene.Conversion dry = scene.convert();
          dry.result();
          steps = dry.party().steps();
        }
        for (int c = 0; c < steps.size(); c++) {
          for (Scene.Host host : Scene.Host.values()) {
            try (Scene scene = scene(stage, AT_ONCE)) {
              if (held) {
                scene.host(Scene.Host.PLAIN, Party.AT_HOLDING);
              }
              Scene.Conversion conversion = scene.convert(c);
              conversion.party().awaitStill();
              scene.host(host, Party.AT_HOLDING);
              scene.guest();
              conversion.party().goAway();
              scene.assertSound(
                  conversion, host.text + " that came when the conversion was at " + steps.get(c));
            }
          }
        }
      }
    }
  }

  /** A conversion closes the mapping, the direct map and GUP; the conversion back opens them. */
  @Test
  public final void allWaysOfTheHostCloseAndOpen() {
    try (Stage stage = new Stage();
        Scene scene = scene(stage, AT_ONCE)) {
      for (int round = 0; round < 3; round++) {
        scene.assertSound(scene.convert(), "no holders");
        for (Scene.Host host : Scene.Host.values()) {
          scene.host(host);
        }
        scene.assertSound(scene.convert(), "each kind of host access tries an inaccessible page");
        stage.run("conversion", self -> scene.memfd.makeAccessible(0, PAGE));
        int pfn;
        try (HostReference reference = scene.window.getUserPages(0, 8)) {
          pfn = reference.pfn(0);
        }
        Rule.NOTHING_LOST.check(
            stage.host.directMap().contains(pfn),
            "an accessible page is not in the direct map again");
        scene.window.putLong(0, 0); // overwrites the secret
      }
    }
  }

  // ---- completeness ----

  /**
   * One or two guest-side holders, at every step, go on as soon as the conversion has to wait for
   * them. Those that have raised the safe count keep the folio.
   */
  @Test
  public final void guestsAreNotInTheWay() {
    try (Stage stage = new Stage()) {
      List<String> steps = guestSteps(stage);
      RetryPolicy policy = refusesInPassing() ? protocol().retryPolicy() : PATIENT;
      for (int one = 0; one < steps.size(); one++) {
        for (int other = one; other < steps.size(); other++) {
          try (Scene scene = scene(stage, policy)) {
            guest(scene, steps, one);
            guest(scene, steps, other);
            assertComplete(
                scene,
                "guest-side holders at " + steps.get(one) + " and " + steps.get(other),
                refusesInPassing());
          }
        }
      }
    }
  }

  private void guest(Scene scene, List<String> steps, int step) {
    if (raisesSafe() && step < steps.indexOf(Party.HOLDING)) {
      scene.guest(step, Party.AT_HOLDING);
    } else {
      scene.guest(step);
    }
  }

  /** A conversion does not wait for guest-side holders that have raised the safe count. */
  @Test
  public final void safeHoldersMayStay() {
    try (Stage stage = new Stage()) {
      for (int holders = 1; holders <= 3; holders++) {
        try (Scene scene = scene(stage, AT_ONCE)) {
          for (int i = 0; i < holders; i++) {
            scene.guest(Party.AT_HOLDING);
          }
          assertComplete(scene, holders + " guest-side holders that hold the folio", !raisesSafe());
        }
      }
    }
  }

  /**
   * A conversion waits for host-side lookups that came too late, and succeeds once they give up.
   */
  @Test
  public final void speculativeLookupsAreNotInTheWay() {
    try (Stage stage = new Stage()) {
      for (Scene.Host host : new Scene.Host[] {Scene.Host.GRAB, Scene.Host.PLAIN}) {
        List<String> steps = hostSteps(stage, host);
        for (String step : List.of("AFTER_SLOT_LOAD", "BEFORE_SLOT_RELOAD")) {
          try (Scene scene = scene(stage, PATIENT)) {
            scene.host(host, steps.indexOf(step));
            scene.host(host, steps.indexOf(step));
            assertComplete(scene, "two lookups at " + step, neverWaits());
          }
        }
      }
    }
  }

  /**
   * Asserts that a conversion succeeds.
   *
   * @param mayRefuse whether it may be refused until the other parties have left
   */
  private static void assertComplete(Scene scene, String story, boolean mayRefuse) {
    Scene.Conversion conversion = scene.convert();
    if (conversion.result() != Errno.OK) {
      Rule.COMPLETENESS.check(mayRefuse, story + ": " + conversion);
      scene.assertRefused(conversion, story);
      scene.leave();
      conversion = scene.convert();
      Rule.COMPLETENESS.check(conversion.result() == Errno.OK, story + ", all gone: " + conversion);
    }
    scene.assertSound(conversion, story);
  }

  // ---- all or nothing ----

  /** If the host holds one page of a range, the conversion fails and changes nothing. */
  @Test
  public final void aHeldPageRefusesItsRangeWhole() {
    try (Stage stage = new Stage()) {
      for (int page : MixedRange.ACCESSIBLE) {
        RefusingClient client = new RefusingClient();
        try (MixedRange range = new MixedRange(stage, protocol(), client)) {
          HostReference reference = range.scene.window.getUserPages((long) page * PAGE, 8);
          BusyFolio busy = new BusyFolio();
          Errno[] errno = new Errno[1];
          stage.run("conversion", self -> errno[0] = range.convert(busy));
          String story = "a plain reference on page " + page;
          Rule.SOUNDNESS.check(errno[0] != Errno.OK, story + ": its range was converted");
          Rule.ALL_OR_NOTHING.check(
              errno[0] == Errno.EAGAIN && busy.offset() == (long) page * PAGE,
              story + ": expected EAGAIN for it, actual " + errno[0] + ", " + busy);
          range.assertUnchanged(story);
          client.assertPaired(story);
          reference.close();
          Rule.COMPLETENESS.check(range.tryConvert(false), story + ", gone: its range is refused");
        }
      }
    }
  }

  /** If the client refuses or throws, in any callback, nothing changes. */
  @Test
  public final void aClientThatRefusesLeavesNothingChanged() {
    try (Stage stage = new Stage()) {
      for (boolean thrown : new boolean[] {false, true}) {
        boolean refused = true;
        for (int at = 0; refused; at++) {
          RefusingClient client = new RefusingClient();
          try (MixedRange range = new MixedRange(stage, protocol(), client)) {
            client.refuse(at, thrown);
            refused = !range.tryConvert(thrown);
            String story =
                "callback " + at + " of the client " + (thrown ? "threw" : "answered ENOMEM");
            client.assertPaired(story);
            if (refused) {
              range.assertUnchanged(story);
              Rule.COMPLETENESS.check(
                  range.tryConvert(false), story + ", and refuses the next conversion too");
            }
          }
        }
      }
    }
  }

  // ---- nothing lost ----

  /** The guest reads what the host wrote, and the host what the guest wrote, page for page. */
  @Test
  public final void contentSurvivesBothWays() {
    try (Stage stage = new Stage();
        MixedRange range = new MixedRange(stage, protocol(), new RefusingClient())) {
      for (int round = 0; round < 3; round++) {
        int seed = round;
        stage.run(
            "content",
            self -> {
              range.assertContent("round " + seed);
              Rule.COMPLETENESS.check(range.tryConvert(false), "no holders");
              range.assertContent("made inaccessible");
              range.write(seed + 1);
              range.scene.memfd.makeAccessible(0, 3L * PAGE);
              range.scene.memfd.makeAccessible(3L * PAGE, 3L * PAGE);
              range.assertContent("made accessible");
              range.write(seed + 100);
            });
      }
    }
  }

  /** A punch, with a guest-side holder at every step, discards its page or is refused. */
  @Test
  public final void aPunchDiscardsExactlyWhatWasAsked() {
    try (Stage stage = new Stage()) {
      List<String> steps = guestSteps(stage);
      for (int g = -1; g < steps.size(); g++) {
        try (MixedRange range = new MixedRange(stage, protocol(), new RefusingClient())) {
          Scene scene = range.scene;
          String story = "no holders";
          if (g >= 0) {
            scene.guest(g);
            story = "a guest-side holder at " + steps.get(g);
          }
          if (!scene.punch()) {
            range.assertUnchanged("refused for " + story);
            scene.leave();
            Rule.COMPLETENESS.check(
                scene.punch(), story + ": the punch is refused when it is gone");
          }
          range.assertPunched(story);
          scene.leave();
          range.assertPunched(story + ", gone");
        }
      }
    }
  }

  /** An orphan keeps its content and its frame for as long as it is held, even after the close. */
  @Test
  public final void orphansLiveUntilTheLastPut() {
    try (Stage stage = new Stage()) {
      HostReference reference;
      try (Scene scene = scene(stage, AT_ONCE)) {
        reference = scene.window.getUserPages(0, 64);
        Rule.NOTHING_LOST.check(
            scene.punch(), "a punch is refused for a plain reference, which is no safe holder");
        scene.window.putLong(Scene.CONTENT_AT, 1); // a new folio
        Rule.NOTHING_LOST.check(
            reference.buffer().getLong(Scene.CONTENT_AT) == Scene.CONTENT,
            "an orphan has not kept its content");
        scene.endsWith(PAGE);
      }
      Rule.NOTHING_LOST.check(
          reference.buffer().getLong(Scene.CONTENT_AT) == Scene.CONTENT,
          "an orphan has not kept its content past the end of its file");
      reference.close();
      Rule.NOTHING_LOST.check(
          stage.host.used() == 0, "the frame of an orphan does not return when it is let go");
    }
  }

  /** A guest-side holder may drop the folio after the file has been closed. */
  @Test
  public final void guestsMayLetGoAfterTheEnd() {
    try (Stage stage = new Stage()) {
      Scene scene = scene(stage, AT_ONCE);
      scene.guest(Party.AT_HOLDING);
      scene.window.close();
      stage.run("close", self -> scene.memfd.close());
      scene.close();
    }
  }

  // ---- stress ----

  /**
   * Runs guests, host holders, conversions and punches at random for about a second; then guests
   * alone, which must not make any conversion fail.
   */
  @Test
  public final void stress() {
    long seed = seed();
    try (Stage stage = new Stage()) {
      new Stress(stage, protocol(), seed, refusesInPassing()).run();
    } catch (InterruptedException | RuntimeException | AssertionError e) {
      throw new AssertionError("seed " + seed + "L: " + e.getMessage(), e);
    }
  }
}
