package io.github.guestmemfd.testing;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE_INTERESTING;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.conversion.ConversionProtocol;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.I_Result;

/**
 * Hypothesis: of a plain reference and a conversion, with a protocol of one's own, one succeeds.
 */
@JCStressTest
@Outcome(
    id = {"1", "2"},
    expect = ACCEPTABLE,
    desc = "One of the two.")
@Outcome(expect = FORBIDDEN, desc = "A plain reference on an inaccessible page, or none.")
@State
public class OwnProtocolTest {
  private final ReferenceVersusConversion race =
      new ReferenceVersusConversion(ConversionProtocol.bothCounters()); // yours

  @Actor
  public void reference() {
    race.actor1();
  }

  @Actor
  public void convert() {
    race.actor2();
  }

  @Arbiter
  public void outcome(I_Result r) {
    r.r1 = race.outcome();
  }

  /** Broken: looks for pins only. */
  @JCStressTest
  @Outcome(
      id = {"1", "2"},
      expect = ACCEPTABLE,
      desc = "As with a sound one.")
  @Outcome(
      id = "3",
      expect = ACCEPTABLE_INTERESTING,
      desc = "A plain reference on an inaccessible page.")
  @State
  public static class Twin {
    private final ReferenceVersusConversion race =
        new ReferenceVersusConversion(ConversionProtocol.pinCheck());

    @Actor
    public void reference() {
      race.actor1();
    }

    @Actor
    public void convert() {
      race.actor2();
    }

    @Arbiter
    public void outcome(I_Result r) {
      r.r1 = race.outcome();
    }
  }
}
