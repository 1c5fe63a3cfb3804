package io.github.guestmemfd.conversion;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.guestmemfd.Folio;
import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.HolderKind;
import io.github.guestmemfd.fixtures.ProtocolFixture;
import io.github.guestmemfd.fixtures.Worker;
import io.github.guestmemfd.spi.RacePoint;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Every combination of steps and traits that a file accepts works: its holders can let go at every
 * moment of a conversion, whatever that does with the folio, and the conversion then succeeds.
 */
class AcceptedProtocolsTest extends ProtocolFixture {

  /** As strict as the steps allow: but for the page cache's, every reference is a safe one. */
  private record Made(
      List<Step> guestTakes, List<Step> guestDrops, boolean freezes, boolean waitsWithFolioLock)
      implements ConversionProtocol {

    @Override
    public String id() {
      return guestTakes
          + (freezes ? " freezes" : "")
          + (waitsWithFolioLock ? " waits with the lock" : "");
    }

    @Override
    public boolean mayTurnInaccessible(int refs, int safe) {
      boolean counted = guestDrops.contains(Step.REF) || guestDrops.contains(Step.REF_AND_SAFE);
      return refs == (counted ? safe : 0) + 1;
    }

    /** The last is dropped first. */
    static Made of(List<Step> takes, boolean freezes, boolean waits) {
      List<Step> drops = new ArrayList<>();
      for (Step step : takes) {
        if (step == Step.UNLOCK) {
          drops.remove(Step.LOCK);
        } else {
          drops.add(0, step);
        }
      }
      return new Made(takes, drops, freezes, waits);
    }

    @Override
    public String toString() {
      return id();
    }
  }

  /** Every list of up to four steps, sensible or not. */
  private static List<List<Step>> lists() {
    List<List<Step>> lists = new ArrayList<>(List.of(List.of()));
    for (int from = 0, length = 0; length < 4; length++) {
      int to = lists.size();
      for (List<Step> list : List.copyOf(lists.subList(from, to))) {
        for (Step step : Step.values()) {
          List<Step> longer = new ArrayList<>(list);
          longer.add(step);
          lists.add(longer);
        }
      }
      from = to;
    }
    return lists;
  }

  private boolean isAccepted(ConversionProtocol protocol) {
    try {
      file(1, protocol).close();
      return true;
    } catch (IllegalArgumentException e) {
      assertTrue(e.getMessage().contains(": expected "), e::getMessage);
      return false;
    }
  }

  private static final List<Step> SAFE_ALONE = List.of(Step.SAFE);

  /** What makes sense, by hand; freezing makes a difference to one list alone. */
  @Test
  void acceptsWhatMakesSense() {
    Set<String> accepted = new TreeSet<>();
    for (List<Step> takes : lists()) {
      boolean plain = isAccepted(Made.of(takes, false, false));
      assertEquals(plain, isAccepted(Made.of(takes, false, true)), takes::toString);
      boolean freezes = plain && !takes.equals(SAFE_ALONE);
      assertEquals(freezes, isAccepted(Made.of(takes, true, false)), takes::toString);
      assertEquals(freezes, isAccepted(Made.of(takes, true, true)), takes::toString);
      if (plain) {
        accepted.add(takes.toString());
      }
    }
    assertEquals(
        """
        [LOCK, REF, SAFE, UNLOCK]
        [LOCK, REF, SAFE]
        [LOCK, REF, UNLOCK, SAFE]
        [LOCK, REF, UNLOCK]
        [LOCK, REF]
        [LOCK]
        [REF, LOCK, SAFE, UNLOCK]
        [REF, LOCK, SAFE]
        [REF, LOCK, UNLOCK, SAFE]
        [REF, LOCK, UNLOCK]
        [REF, LOCK]
        [REF, SAFE, LOCK, UNLOCK]
        [REF, SAFE, LOCK]
        [REF, SAFE]
        [REF]
        [REF_AND_SAFE, LOCK, UNLOCK]
        [REF_AND_SAFE, LOCK]
        [REF_AND_SAFE]
        [SAFE]\
        """,
        String.join("\n", accepted));
  }

  static Stream<Made> made() {
    return lists().stream()
        .flatMap(
            takes ->
                Stream.of(0, 1, 2, 3)
                    .map(traits -> Made.of(takes, (traits & 1) != 0, (traits & 2) != 0)));
  }

  /** Points that a conversion passes with the pages busy. */
  private static final Set<RacePoint> POINTS =
      EnumSet.of(
          RacePoint.AFTER_UNMAP,
          RacePoint.BEFORE_FREEZE,
          RacePoint.ON_MISMATCH,
          RacePoint.BEFORE_COMMIT,
          RacePoint.AFTER_COMMIT);

  private @Nullable RacePoint closesAt;
  private @Nullable Folio closing;

  @Override
  protected void passes(RacePoint point, long index) {
    super.passes(point, index);
    Folio folio = closing;
    if (point == closesAt && folio != null) {
      closing = null;
      folio.close();
    }
  }

  @Test
  void holdersLetGoAtEveryMomentOfAConversion() throws Exception {
    for (Made protocol : made().filter(this::isAccepted).toList()) {
      for (RacePoint point : POINTS) {
        GuestMemfd memfd = file(1, protocol);
        int pfn = write(memfd, 0, SECRET);
        closing = memfd.grab(0);
        closesAt = point;
        Thread.currentThread().interrupt(); // who would have to wait gets EINTR instead
        Errno errno = memfd.tryMakeInaccessible(0, PAGE);
        assertTrue(Thread.interrupted());
        if (closing != null) {
          closing.close();
        }
        closesAt = null;
        closing = null;
        String story = protocol + ": " + errno + ", let go at " + point;
        if (errno != Errno.OK) {
          assertEquals(Errno.OK, memfd.tryMakeInaccessible(0, PAGE), story);
        }
        assertFalse(memfd.isAccessible(0), story);
        assertCounts(1, 0, pfn);
        assertEquals(SECRET, read(memfd, 0), story);
        memfd.close();
      }
    }
  }

  // ---- freezing, and holders that a folio is not frozen under ----

  /** Its holders have no reference: they would have to raise and lower a count that is frozen. */
  @Test
  void aProtocolThatFreezesAndHasSafeAloneIsRefused() {
    IllegalArgumentException e =
        assertThrows(
            IllegalArgumentException.class, () -> file(1, Made.of(SAFE_ALONE, true, false)));
    assertEquals(
        "protocol [SAFE] freezes: expected a protocol that freezes to have holders with a reference,"
            + " actual takes [SAFE] and drops [SAFE]",
        e.getMessage());
    assertEquals(0, host.used());
  }

  /**
   * The protocol lets the folio pass, but it cannot be frozen: the conversion is pending, and does
   * not try again before a holder lets go.
   */
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void aConversionThatFreezesCompletesWhenTheLastHolderLetsGo(boolean guest) throws Exception {
    ConversionProtocol yes =
        new Like(ConversionProtocol.lastPut()) {
          @Override
          public boolean mayTurnInaccessible(int refs, int safe) {
            return true;
          }
        };
    HolderKind kind = guest ? HolderKind.SAFE : HolderKind.UNSAFE;
    GuestMemfd memfd = file(1, yes, RetryPolicy.completeLater());
    int pfn = memfd.tryGrab(0, kind);
    Worker<CompletableFuture<Void>> begun =
        Worker.start(() -> memfd.makeInaccessibleLater(0, PAGE));
    CompletableFuture<Void> conversion = begun.result();
    assertNotNull(conversion);
    assertFalse(conversion.isDone());
    memfd.put(pfn, kind);
    assertTrue(conversion.isDone());
    assertFalse(memfd.isAccessible(0));
    assertQuiet(memfd);
  }
}
