package io.github.guestmemfd.testing;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * The contract of clients finds the mistakes that it is for, each by the test that is for it, and
 * has nothing against clients that are right. {@code -Dcontract.runs=20} runs each so many times;
 * the build runs each wrong one once, and one right one in five.
 */
class ClientContractTest {
  /** How often each is run; 0 for what the build does. */
  private static final int ASKED = Integer.getInteger("contract.runs", 0);

  private static final int RUNS = Math.max(1, ASKED);

  private static final List<Class<?>> WRONG =
      List.of(
          WrongClients.class,
          WrongInvalidations.class,
          WrongFaults.class,
          WrongPlaces.class,
          WrongFrames.class,
          WrongChains.class);

  /** What is caught: sample, rule, test, and a part of the message. */
  private static final String TABLE =
      """
      KeepsWhatIsInvalidated | NO_GRIP | punchesLeaveNothingHeld | 4 pages are in use
      KeepsWhatIsInvalidated | NO_GRIP | conversionsLeaveNothingHeld | after makeInaccessible
      KeepsAtRelease | NO_GRIP | releaseLetsGoOfEverything | 16384 bytes
      ThrowsAtTheEnd | NO_THROW | conversionsLeaveNothingHeld | invalidateEnd
      ThrowsAtRelease | NO_THROW | releaseLetsGoOfEverything | release
      ForgetsOrphans | NO_THROW | orphansMayBeFreedAfterRelease | freeFolio
      ScrubsTooEarly | UNDO | refusalsAreUndone | content
      RefusesToUndo | UNDO | refusalsAreUndone | EACCES
      CallsBack | NO_WAIT | punchesLeaveNothingHeld | EDEADLK
      CallsBack | NO_WAIT | conversionsLeaveNothingHeld | EDEADLK
      HoldsAsTheHostDoes | NO_GRIP | conversionsLeaveNothingHeld | expected SAFE
      AnswersNull | AGREEMENT | conversionsLeaveNothingHeld | answered null
      AnswersBeforeVcpusStop | FOLLOWS | accessesUnderWayAreWaitedFor | only when the accesses under way are over
      GivesUpWaiting | FOLLOWS | accessesUnderWayAreWaitedFor | only when the accesses under way are over
      SwallowsTheInterrupt | FOLLOWS | accessesUnderWayAreWaitedFor | interrupted, while the guest is accessing page 2
      WaitsBeforeItZaps | STANDSTILL | theGuestStandsStill | pages are zapped in invalidateBegin
      OneFlag | STANDSTILL | theGuestStandsStill | count them, a flag does not do
      ActsOnlyAtTheEnd | STANDSTILL | theGuestStandsStill | when invalidateBegin has answered OK
      RemembersTheLastRange | NO_GRIP | theGuestStandsStill | where several invalidations are under way
      DropsAPartAndRefuses | AGREEMENT | accessesUnderWayAreWaitedFor | put twice
      RefusesAndStaysBegun | SERVES | accessesUnderWayAreWaitedFor | count an invalidation that is over
      ZapsTheFirstPage | NO_GRIP | punchesLeaveNothingHeld | 3 pages are in use
      ZapsOneTooFew | NO_GRIP | punchesLeaveNothingHeld | 3 pages are in use
      IgnoresWhatBeginsBefore | NO_GRIP | slotsMayBeFarAway | what the slot has of it
      DropsReferencesFirst | STANDSTILL | theGuestStandsStill | pages are zapped in invalidateBegin
      SwallowsADeadlock | NO_WAIT | callbacksDoNotWait | makeAccessible inside callback invalidateBegin
      SwallowsAnException | NO_GRIP | conversionsLeaveNothingHeld | the client still holds it
      DropsLater | NO_GRIP | usesDoNotAddUp | 1 pages
      RemembersPerVcpu | FOLLOWS | theGuestFollowsItsFile | flush what each vCPU remembers
      HoldsItsLockOverTheGrab | SERVES | faultsMeetOperations | does not come to its end
      TakesAnErrnoForAFrame | SERVES | theHostMayBeFull | IndexOutOfBounds
      DropsTwice | AGREEMENT | punchesLeaveNothingHeld | put without get
      NoSecondLook | NO_GRIP | faultsMeetOperations | take the sequence number before the grab
      SequenceAfterTheGrab | NO_GRIP | faultsMeetOperations | take the sequence number before the grab
      SequenceOnlyAtTheEnd | NO_GRIP | faultsMeetOperations | stood at INVALIDATE_HAS_BEGUN
      LooksForInvalidationsUnderWay | NO_GRIP | faultsMeetOperations | of pages 1 to 2
      LooksThenMaps | FOLLOWS | everyOrderOfAFaultAndAPunch | under one lock with that
      ShowsAPageThatIsNotAccepted | FOLLOWS | everyOrderOfAFaultAndAPunch | only when the guest may access it
      MapsTheLastFrame | FOLLOWS | theHostMayBeFull | A grab that fails must leave nothing mapped
      LeaksWhenItTriesAgain | NO_GRIP | faultsMeetOperations | stood at INVALIDATE_HAS_BEGUN
      LeaksWhenItIsMapped | NO_GRIP | punchesLeaveNothingHeld | still holds folios
      QuotaLeaksWhenAGrabFails | SERVES | theHostMayBeFull | there is memory again
      QuotaLeaksWhenItIsMapped | SERVES | usesDoNotAddUp | does a quota count what was given back
      QuotaLeaksWhenPagesGo | SERVES | usesDoNotAddUp | 300 uses and punches
      GivesAPageUp | SERVES | theHostMayBeFull | there is memory again
      OffsetForAnAddress | NO_GRIP | punchesLeaveNothingHeld | 4 pages are in use
      ForgetsTheOffsetOfTheSlot | NO_GRIP | slotsMayBeFarAway | offset=0x180003000
      GrabsByTheAddress | FOLLOWS | slotsMayBeFarAway | the file has no page there
      IntOffsets | SERVES | slotsMayBeFarAway | by another number than it maps it by
      IntLength | NO_GRIP | slotsMayBeFarAway | offset=0x180003000
      IntMultiplication | NO_GRIP | slotsMayBeFarAway | offset=0x280003000
      KeepsTheBytes | FOLLOWS | framesAreUsedAgain | its bytes, its frame number
      KeepsTheBytesOfACallback | FOLLOWS | framesAreUsedAgain | its bytes, its frame number
      KeepsFrameNumbers | FOLLOWS | framesAreUsedAgain | its bytes, its frame number
      OneTableForAllFiles | FOLLOWS | filesAreIndependent | of two files
      ScrubsTooLate | FOLLOWS | framesAreUsedAgain | another file, which took the frames
      ScrubsNotAtTheEnd | SCRUBS | whatIsScrubbedIsGone | also after release
      ScrubsNever | SCRUBS | whatIsScrubbedIsGone | scrub the whole folio in freeFolio
      ScrubsTheHeader | SCRUBS | whatIsScrubbedIsGone | at byte 4088
      ScrubsWhatIsMapped | UNDO | refusalsAreUndone | content
      ScrubsWhatIsMapped | SCRUBS | whatIsScrubbedIsGone | page 3 has become accessible
      NoSecondReadOfTheEntry | FOLLOWS | everyOrderOfAFaultAndAPunch | look at the entry again after that
      AnnouncesTooLate | FOLLOWS | accessesUnderWayAreWaitedFor | only when the accesses under way are over
      NoSequence | FOLLOWS | faultsMeetOperations | AFTER_LOOKUP
      KeepsWhatTurnsAccessible | FOLLOWS | theGuestFollowsItsFile | takes pages from the guest, either way
      TakesAnInterruptForDone | FOLLOWS | accessesUnderWayAreWaitedFor | interrupted, while the guest is accessing page 2
      EndsWhoRefused | PASSES_ON | refusalsArePassedOn | that it has not agreed to
      LeavesTheOthersBegun | PASSES_ON | refusalsArePassedOn | is not told of their end
      BothRefuse | PASSES_ON | refusalsArePassedOn | every client behind it refuses
      AnswersForTheLast | PASSES_ON | refusalsArePassedOn | the refusal is lost
      ForgetsExceptions | PASSES_ON | refusalsArePassedOn | throws at callback
      KeepsMakePrivate | PASSES_ON | refusalsArePassedOn | was not told of makePrivate
      ForgetsWhoRefused | PASSES_ON | refusalsArePassedOn | its refusal is lost
      KeepsMakeShared | PASSES_ON | refusalsArePassedOn | was not told of makeShared
      MakesPrivateOnce | AGREEMENT | pagesAreMadePrivateAgain | fault 4 on a private page answered ENOENT
      ThrowsWhenShared | NO_THROW | pagesAreMadePrivateAgain | makeShared
      KeepsFreeFolio | PASSES_ON | refusalsArePassedOn | was not told of freeFolio
      """;

  /** A row of the table. */
  record Row(String sample, String rule, String test, String message) {
    static Row of(String line) {
      String[] cells = line.split(" \\| ", -1);
      return new Row(cells[0], cells[1], cells[2], cells[3]);
    }
  }

  static Stream<Row> rows() {
    return TABLE.lines().map(Row::of);
  }

  private static Map<String, Class<?>> wrong() {
    return WRONG.stream()
        .flatMap(samples -> ContractRun.samplesIn(samples, GuestMemfdOpsContract.class))
        .collect(Collectors.toMap(Class::getSimpleName, contract -> contract));
  }

  static Stream<Class<?>> right() {
    List<Class<?>> all =
        ContractRun.samplesIn(RightClients.class, GuestMemfdOpsContract.class)
            .sorted(Comparator.comparing(Class::getName))
            .toList();
    return IntStream.range(0, all.size()).filter(i -> ASKED > 0 || i % 5 == 0).mapToObj(all::get);
  }

  @ParameterizedTest
  @MethodSource("rows")
  void aWrongClientIsCaught(Row row) {
    Class<?> contract = wrong().get(row.sample);
    List<String> messages = new ArrayList<>();
    for (int run = 0; run < RUNS; run++) {
      messages.add(
          Objects.requireNonNullElse(ContractRun.failure(contract, row.test), "not caught"));
    }
    assertThat(messages)
        .allSatisfy(
            message ->
                assertThat(message)
                    .startsWith(row.rule + " (")
                    .contains("is broken: ", row.message));
  }

  /** The rate is that of all samples: none is left out. */
  @Test
  void everyWrongClientIsInTheTable() {
    Set<String> samples = new TreeSet<>(wrong().keySet());
    assertThat(rows().map(Row::sample).collect(Collectors.toSet())).isEqualTo(samples);
    assertThat(samples).hasSizeGreaterThan(60);
  }

  @ParameterizedTest
  @MethodSource("right")
  void aRightClientPasses(Class<?> contract) {
    for (int run = 0; run < RUNS; run++) {
      assertThat(ContractRun.failures(contract)).isEmpty();
    }
  }
}
