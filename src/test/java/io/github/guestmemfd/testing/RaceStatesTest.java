package io.github.guestmemfd.testing;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfdOps;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.conversion.ConversionProtocol;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

/** The states for jcstress, one actor after the other: every outcome that has a name is there. */
class RaceStatesTest {

  @Test
  void aReferenceAgainstAConversion() {
    ReferenceVersusConversion race = new ReferenceVersusConversion(ConversionProtocol.atomicPair());
    race.actor1();
    race.actor2();
    assertEquals(ReferenceVersusConversion.REFERENCED, race.outcome());
    race = new ReferenceVersusConversion(ConversionProtocol.atomicPair());
    race.actor2();
    race.actor1();
    assertEquals(ReferenceVersusConversion.CONVERTED, race.outcome());
    assertTrue(ReferenceVersusConversion.isAllowed(ReferenceVersusConversion.CONVERTED));
    race = new ReferenceVersusConversion(ConversionProtocol.pinCheck());
    race.actor1();
    race.actor2();
    assertFalse(ReferenceVersusConversion.isAllowed(race.outcome()), "a leak");
  }

  @Test
  void aGuestAgainstAConversion() {
    GuestVersusConversion race = new GuestVersusConversion(ConversionProtocol.bothCounters());
    race.actor1();
    race.actor2();
    assertTrue(GuestVersusConversion.isAllowed(race.outcome()));
    race = new GuestVersusConversion(ConversionProtocol.bothCounters());
    race.actor1();
    assertFalse(GuestVersusConversion.isAllowed(race.outcome()), "not converted");
  }

  @Test
  void aPunchAgainstAGrab() {
    PunchVersusGrab race =
        new PunchVersusGrab(ConversionProtocol.bothCounters(), GuestMemfdOps.NONE);
    race.actor1();
    race.actor2();
    assertEquals(PunchVersusGrab.REFUSED, race.outcome());
    race = new PunchVersusGrab(ConversionProtocol.atomicPair(), GuestMemfdOps.NONE);
    race.actor1();
    race.actor2();
    assertEquals(PunchVersusGrab.ORPHAN, race.outcome());
    AtomicInteger freed = new AtomicInteger();
    race =
        new PunchVersusGrab(
            ConversionProtocol.atomicPair(),
            new GuestMemfdOps() {
              @Override
              public Errno invalidateBegin(long offset, long length) {
                return Errno.OK;
              }

              @Override
              public void freeFolio(Folio folio) {
                freed.incrementAndGet();
              }
            });
    race.actor2();
    race.actor1();
    int outcome = race.outcome();
    assertEquals(PunchVersusGrab.NEW, outcome);
    assertTrue(PunchVersusGrab.isAllowed(outcome));
    assertEquals(2, freed.get());
    assertFalse(PunchVersusGrab.isAllowed(0));
  }
}
