package io.github.guestmemfd.file;

import static io.github.guestmemfd.abi.HolderKind.UNSAFE;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.spi.RacePoint;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Lookups against what happens to the folio that they have in mind. */
class LookupTest extends RaceFixture {
  /** What becomes of the frame that the lookup has in mind. */
  enum Fate {
    /** It is free when the lookup tries to take its reference: it must not come back to life. */
    FREE,
    /** It is another page's: the lookup gets its reference, and must give it back. */
    ELSEWHERE,
    /** It is at the same place again, but another life of it. */
    SAME_PLACE
  }

  @ParameterizedTest
  @EnumSource(Fate.class)
  void findsTheNewFolioWhenTheOldOneGoesBeforeItsReference(Fate fate) throws Exception {
    GuestMemfd memfd = file(3, AT_ONCE);
    HostMapping window = map(memfd);
    window.putLong(0, 1);
    Folio first = memfd.grab(0);
    int old = first.pfn();
    first.close();
    races.at(
        RacePoint.AFTER_SLOT_LOAD,
        () -> {
          if (fate == Fate.FREE) {
            memfd.allocate(PAGE, PAGE); // the frame freed last is the first to be used again
            memfd.punchHole(0, PAGE);
            memfd.punchHole(PAGE, PAGE);
          } else {
            memfd.punchHole(0, PAGE);
          }
          if (fate == Fate.ELSEWHERE) {
            window.putLong(PAGE, 3);
          }
          window.putLong(0, 2);
        });
    Folio folio = memfd.grab(0);
    assertEquals(2, folio.buffer().getLong(0), "content of the new folio");
    assertFalse(folio.isOrphan());
    assertEquals(fate == Fate.SAME_PLACE, folio.pfn() == old, "the race went as planned");
    folio.close();
    memfd.allocate(0, memfd.size()); // a frame brought back to life by mistake would show here
    assertEquals(fate == Fate.ELSEWHERE ? 3 : 0, window.getLong(PAGE));
    assertQuiet(memfd);
  }

  @Test
  void dropsItsReferenceOnAFolioThatWasPunchedBeforeItLookedAgain() throws Exception {
    GuestMemfd memfd = file(2, AT_ONCE);
    HostMapping window = map(memfd);
    window.putLong(0, 1);
    races.at(
        RacePoint.BEFORE_SLOT_RELOAD,
        () -> {
          memfd.punchHole(0, PAGE); // the frame lives on, held by the lookup
          window.putLong(0, 2);
          assertEquals(2L * PAGE, host.used());
        });
    Folio folio = memfd.grab(0);
    assertEquals(2, folio.buffer().getLong(0));
    folio.close();
    assertQuiet(memfd);
  }

  @ParameterizedTest
  @EnumSource(
      value = RacePoint.class,
      names = {"AFTER_SLOT_LOAD", "BEFORE_SLOT_RELOAD"})
  void refusesAnUnsafeReferenceOnAPageThatTurnedInaccessibleMeanwhile(RacePoint point)
      throws Exception {
    // At BEFORE_SLOT_RELOAD the lookup has its reference already, and a protocol that does not
    // count lets the conversion pass in spite of it: only the second look at the slot is left.
    GuestMemfd memfd =
        file(
            1,
            b ->
                b.protocol(
                    new ConversionProtocol() {
                      @Override
                      public String id() {
                        return "does-not-count";
                      }

                      @Override
                      public boolean mayTurnInaccessible(int refs, int safe) {
                        return true;
                      }
                    }));
    map(memfd).putLong(0, 1);
    races.at(point, () -> memfd.makeInaccessible(0, PAGE));
    refused(Errno.EFAULT, () -> memfd.grab(0, UNSAFE));
    assertQuiet(memfd);
  }

  @Test
  void throwsAwayTheFrameItMadeWhenAnotherFilledTheHoleFirst() throws Exception {
    GuestMemfd memfd = file(1, AT_ONCE);
    HostMapping window = map(memfd);
    races.at(RacePoint.BEFORE_SLOT_FILL, () -> window.putLong(0, 5));
    assertEquals(5, window.getLong(0));
    assertEquals(1, memfd.cachedPages());
    assertQuiet(memfd);
  }
}
