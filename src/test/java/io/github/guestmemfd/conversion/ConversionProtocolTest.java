package io.github.guestmemfd.conversion;

import static io.github.guestmemfd.conversion.Step.LOCK;
import static io.github.guestmemfd.conversion.Step.REF;
import static io.github.guestmemfd.conversion.Step.REF_AND_SAFE;
import static io.github.guestmemfd.conversion.Step.SAFE;
import static io.github.guestmemfd.conversion.Step.UNLOCK;
import static org.junit.jupiter.api.Assertions.assertAll;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Optional;
import java.util.function.Predicate;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** What each shipped protocol answers, asked directly, at the counts where its answer changes. */
class ConversionProtocolTest {

  static List<ConversionProtocol> all() {
    return ConversionProtocol.all();
  }

  private static void assertTakesAndDrops(
      ConversionProtocol protocol, List<Step> takes, List<Step> drops) {
    assertAll(
        protocol.id(),
        () -> assertEquals(takes, protocol.guestTakes()),
        () -> assertEquals(drops, protocol.guestDrops()));
  }

  @Test
  void guestsTakeAndDrop() {
    assertTakesAndDrops(ConversionProtocol.pinCheck(), List.of(REF), List.of(REF));
    assertTakesAndDrops(ConversionProtocol.bothCounters(), List.of(REF, SAFE), List.of(SAFE, REF));
    assertTakesAndDrops(ConversionProtocol.safeOnly(), List.of(SAFE), List.of(SAFE));
    assertTakesAndDrops(ConversionProtocol.lockOnly(), List.of(LOCK), List.of(LOCK));
    assertTakesAndDrops(
        ConversionProtocol.timedWait(), List.of(REF, LOCK, SAFE, UNLOCK), List.of(SAFE, REF));
    assertTakesAndDrops(ConversionProtocol.lastPut(), List.of(REF), List.of(REF));
    assertTakesAndDrops(ConversionProtocol.invalidateLock(), List.of(REF), List.of(REF));
    assertTakesAndDrops(
        ConversionProtocol.atomicPair(), List.of(REF_AND_SAFE), List.of(REF_AND_SAFE));
  }

  /** The page cache has a reference of its own. */
  @ParameterizedTest
  @MethodSource("all")
  void aFolioThatThePageCacheAloneHoldsMayTurnInaccessible(ConversionProtocol protocol) {
    assertTrue(protocol.mayTurnInaccessible(1, 0));
  }

  @ParameterizedTest
  @MethodSource("all")
  void aPlainReferenceIsInTheWayOfWhatIsSound(ConversionProtocol protocol) {
    assertEquals(!protocol.isSound(), protocol.mayTurnInaccessible(2, 0));
  }

  /** Where a safe holder takes a reference, the safe count says whose it is. */
  @ParameterizedTest
  @MethodSource("all")
  void aSafeHolderIsInNoWay(ConversionProtocol protocol) {
    List<Step> takes = protocol.guestTakes();
    boolean ref = takes.contains(REF) || takes.contains(REF_AND_SAFE);
    boolean safe = takes.contains(SAFE) || takes.contains(REF_AND_SAFE);
    assertEquals(
        safe || takes.contains(LOCK) || !protocol.isSound(),
        protocol.mayTurnInaccessible(ref ? 2 : 1, safe ? 1 : 0));
    assertEquals(!protocol.isSound(), protocol.mayTurnInaccessible(3, 1));
  }

  @Test
  void pinCheckRefusesFromAPinOn() {
    assertTrue(ConversionProtocol.pinCheck().mayTurnInaccessible(1023, 0));
    assertFalse(ConversionProtocol.pinCheck().mayTurnInaccessible(1024, 0));
  }

  private static List<String> those(Predicate<ConversionProtocol> predicate) {
    return all().stream().filter(predicate).map(ConversionProtocol::id).toList();
  }

  @Test
  void aPunchIsRefusedWhereItFindsSafeHolders() {
    assertEquals(List.of("both-counters", "safe-only"), those(p -> !p.mayPunch(2, 1)));
    assertEquals(List.of(), those(p -> !p.mayPunch(2, 0)));
  }

  @Test
  void timedWaitAloneDoesNotWaitForUsersOfAnAccessibleFolio() {
    assertEquals(List.of("timed-wait"), those(p -> !p.isWorthWaiting(2, 0, 1)));
    assertEquals(List.of(), those(p -> !p.isWorthWaiting(2, 0, 0)));
  }

  /** What the count refuses anyway: the kernel's "maybe pinned" comes first. */
  @Test
  void invalidateLockRefusesFromAPinOn() {
    assertEquals(List.of("invalidate-lock"), those(p -> p.refusesOutright(1025, 0)));
    assertTrue(ConversionProtocol.invalidateLock().refusesOutright(1024, 0));
    assertEquals(List.of(), those(p -> p.refusesOutright(1023, 0)));
    assertFalse(ConversionProtocol.invalidateLockV8().refusesOutright(1025, 0));
  }

  /** There are eight; the earlier version of one is found by its name alone. */
  @Test
  void theEarlierVersionIsFoundByItsNameAlone() {
    ConversionProtocol v8 = ConversionProtocol.invalidateLockV8();
    assertEquals(8, all().size());
    assertFalse(all().contains(v8));
    assertEquals("invalidate-lock-v8", v8.id());
    assertEquals(Optional.of(v8), ConversionProtocol.byId("invalidate-lock-v8"));
    assertTakesAndDrops(v8, List.of(REF), List.of(REF));
    assertTrue(v8.locksWholeFile() && v8.isSound() && !v8.freezes());
    assertTrue(v8.mayTurnInaccessible(1, 0));
    assertFalse(v8.mayTurnInaccessible(2, 0));
  }

  @Test
  void traits() {
    assertEquals(List.of("last-put"), those(ConversionProtocol::freezes));
    assertEquals(List.of("timed-wait"), those(ConversionProtocol::waitsWithFolioLock));
    assertEquals(List.of("invalidate-lock"), those(ConversionProtocol::locksWholeFile));
    assertEquals(List.of("pin-check"), those(p -> !p.isSound()));
    assertEquals(List.of("last-put"), those(p -> p.retryPolicy().completesLater()));
    assertEquals(
        List.of("pin-check", "last-put", "invalidate-lock"),
        those(p -> p.retryPolicy().waitNanos() == 0 && p.retryPolicy().spins() == 0));
  }

  @ParameterizedTest
  @MethodSource("all")
  void aProtocolIsFoundByItsId(ConversionProtocol protocol) {
    assertEquals(Optional.of(protocol), ConversionProtocol.byId(protocol.id()));
    assertEquals(protocol.id(), protocol.toString());
    assertFalse(protocol.chooseIt().isBlank());
  }

  @Test
  void noProtocolIsFoundByAnUnknownId() {
    assertEquals(Optional.empty(), ConversionProtocol.byId("none"));
  }
}
