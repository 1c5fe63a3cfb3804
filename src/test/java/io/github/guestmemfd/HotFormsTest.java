package io.github.guestmemfd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.abi.Advice;
import io.github.guestmemfd.fixtures.Duel;
import io.github.guestmemfd.fixtures.HostFixture;
import io.github.guestmemfd.spi.RacePoint;
import io.github.guestmemfd.testing.RacePoints;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The forms for hot loops answer where the others throw, also when the page goes at any moment. */
class HotFormsTest extends HostFixture {

  /** The page goes between the lookup, or the fault that maps it, and the access that needs it. */
  @ParameterizedTest
  @EnumSource(
      value = RacePoint.class,
      names = {"BEFORE_PTE_INSTALL", "AFTER_PTE_INSTALL"})
  void theyAnswerOtherwiseWhenThePageGoesDuringTheirFault(RacePoint point) throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    RacePoints.Action goes =
        () -> {
          memfd.punchHole(0, PAGE);
          memfd.makeInaccessible(0, PAGE);
        };
    races.at(point, goes);
    run(() -> assertEquals(-1, window.tryGetLong(0, -1)));
    memfd.makeAccessible(0, PAGE);
    races.at(point, goes);
    run(() -> assertFalse(window.tryPutLong(0, 1)));
    assertEquals(0, host.used(), "the folios are gone");
    assertQuiet(memfd);
  }

  /** Without a punch: a conversion unmaps the page, whose content it must keep. */
  @Test
  void aWriteAnswersFalseWhenThePageGoesAfterItsFault() throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping window = map(memfd);
    races.at(RacePoint.AFTER_PTE_INSTALL, () -> memfd.makeInaccessible(0, PAGE));
    run(() -> assertFalse(window.tryPutLong(0, 1)));
    assertEquals(0, read(memfd, 0), "content of the folio");
    assertQuiet(memfd);
  }

  @Test
  void theyAnswerWhenTheMappingIsClosedAfterTheirFault() throws Exception {
    GuestMemfd memfd = file(1);
    HostMapping one = map(memfd);
    HostMapping other = map(memfd);
    races.at(RacePoint.AFTER_PTE_INSTALL, one::close);
    run(() -> assertEquals(-1, one.tryGetLong(0, -1)));
    races.at(RacePoint.AFTER_PTE_INSTALL, other::close);
    run(() -> assertFalse(other.tryPutLong(0, 1)));
    run(() -> assertEquals(-1, other.tryGetLong(0, -1)));
    assertQuiet(memfd);
  }

  /** Conversions and zaps at full speed: every answer is one that the page can have given. */
  @Test
  @Tag("duel")
  void theyNeverThrowWhileAnotherThreadConverts() throws Exception {
    GuestMemfd memfd = file(2);
    HostMapping window = map(memfd);
    long[] numbers = new long[4]; // read, read otherwise, written, not written
    Duel.race(
        round -> {
          memfd.tryMakeInaccessible(0, 2L * PAGE); // EAGAIN where a fault is under way
          memfd.tryMakeAccessible(0, 2L * PAGE);
          if (round % 8 == 0) {
            window.madvise(0, PAGE, Advice.DONTNEED);
          } else if (round % 8 == 4) {
            memfd.punchHole(0, PAGE);
          }
          return true;
        },
        round -> {
          long value = window.tryGetLong(8 * (round & 63), -1);
          assertTrue(value == -1 || value == 0 || value == 42, () -> "read " + value);
          numbers[value == -1 ? 1 : 0]++;
          numbers[window.tryPutLong(PAGE * (round & 1) + 8 * (round & 63), 42) ? 2 : 3]++;
          return numbers[0] > 0 && numbers[1] > 0 && numbers[2] > 0 && numbers[3] > 0;
        });
    assertQuiet(memfd);
  }
}
