package org.example;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.testing.ReferenceVersusConversion;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.I_Result;

@JCStressTest
@Outcome(id = "1", expect = ACCEPTABLE, desc = "Referenced; the conversion is refused.")
@Outcome(id = "2", expect = ACCEPTABLE, desc = "Converted; the reference is refused.")
@Outcome(expect = FORBIDDEN, desc = "A plain reference on an inaccessible page, or neither.")
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
}
