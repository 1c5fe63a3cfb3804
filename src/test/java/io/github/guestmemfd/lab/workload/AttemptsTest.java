package io.github.guestmemfd.lab.workload;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.GuestMemfd;
import io.github.guestmemfd.HostMapping;
import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.HostReference;
import io.github.guestmemfd.abi.CreateFlag;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Protection;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.conversion.RetryPolicy;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.policy.GpaRange;
import io.github.guestmemfd.spi.RacePoint;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * What counts as a first look that failed for nothing, and from when to when a conversion takes.
 */
class AttemptsTest {
  private static final GpaRange RANGE = new GpaRange(0, 4096);

  /** Longer than the clock's steps, and a lower bound only: nothing here depends on its end. */
  private static final long PAUSE_MILLIS = 3;

  private final Ledger ledger = new Ledger(8);
  private final Attempts attempts = new Attempts(ledger);

  private void begin() {
    attempts.begin(RANGE, MemoryAttribute.PRIVATE);
  }

  /** A first look at the counts of page 0 fails. */
  private static void mismatch() {
    Attempts.ON_MISMATCH.at(RacePoint.ON_MISMATCH, 0);
  }

  /** A new result of a conversion names page 0. */
  private void end(Errno errno) {
    attempts.end(RANGE, MemoryAttribute.PRIVATE, errno, new BusyGuestPage());
  }

  @Test
  void aFirstLookThatFindsNobodyIsNoMismatch() {
    begin();
    end(Errno.OK);
    assertThat(attempts.firstLooks()).isEqualTo(1);
    assertThat(attempts.firstLookMismatches()).isZero();
  }

  @Test
  void aMismatchWithNobodyThereCountsThoughASecondLookMendsIt() {
    begin();
    mismatch();
    end(Errno.OK);
    assertThat(attempts.firstLooks()).isEqualTo(1);
    assertThat(attempts.firstLookMismatches()).isEqualTo(1);
    assertThat(attempts.refusedWithoutHolder()).isZero();
  }

  @Test
  void aMismatchBecauseOfAHolderIsNotOne() {
    ledger.hold(0, 1);
    begin();
    mismatch();
    end(Errno.EAGAIN);
    assertThat(attempts.firstLooks()).isZero();
    assertThat(attempts.firstLookMismatches()).isZero();
    assertThat(attempts.refusedWithHolder()).isEqualTo(1);
  }

  /** A range of two pages: one that is not held and mends itself, and then one that is held. */
  @Test
  void anAttemptThatMetAHolderTooIsNoFirstLook() {
    ledger.hold(1, 1);
    begin();
    mismatch();
    Attempts.ON_MISMATCH.at(RacePoint.ON_MISMATCH, 1);
    end(Errno.OK);
    assertThat(attempts.firstLooks()).isZero();
    assertThat(attempts.firstLookMismatches()).isZero();
  }

  @Test
  void aHolderThatHasLetGoSinceTheBeginIsAReasonToo() {
    ledger.hold(0, 1);
    begin();
    ledger.release(0, 1);
    mismatch();
    end(Errno.OK);
    assertThat(attempts.firstLookMismatches()).isZero();
  }

  static List<ConversionProtocol> protocols() {
    return ConversionProtocol.all();
  }

  /**
   * Three conversions of a real file: of a page that is not held, of one whose reference in an LRU
   * batch is drained before the second look, and of one that the host has pinned.
   */
  @ParameterizedTest
  @MethodSource("protocols")
  void theFirstLooksOfEveryProtocolAreTold(ConversionProtocol protocol) {
    boolean looksAtReferences = protocol.isSound();
    try (HostMemory host =
            HostMemory.builder(1 << 20).lruBatches(1, 31).raceHook(Attempts.ON_MISMATCH).build();
        GuestMemfd memfd =
            GuestMemfd.builder(host)
                .size(8 * 4096)
                .flags(CreateFlag.MMAP, CreateFlag.INIT_SHARED)
                .protocol(protocol)
                .retryPolicy(RetryPolicy.failAtOnce())
                .build();
        HostMapping window = memfd.mmap(0, 8 * 4096, Protection.READ, Protection.WRITE)) {
      window.putLong(0, 1);
      host.drainLru();
      begin();
      end(memfd.tryMakeInaccessible(0, 4096));
      assertThat(attempts.firstLooks()).isEqualTo(1);
      assertThat(attempts.firstLookMismatches()).isZero();

      window.putLong(4096, 1); // and into a batch
      begin();
      end(memfd.tryMakeInaccessible(4096, 4096));
      assertThat(attempts.latency().getTotalCount()).isEqualTo(2);
      assertThat(attempts.firstLooks()).isEqualTo(2);
      assertThat(attempts.firstLookMismatches()).isEqualTo(looksAtReferences ? 1 : 0);

      window.putLong(0x2000, 1);
      host.drainLru();
      ledger.hold(2, 1);
      try (HostReference pin = window.pin(0x2000, 4096)) {
        assertThat(pin.isPinned()).isTrue();
        begin();
        assertThat(memfd.tryMakeInaccessible(0x2000, 4096)).isEqualTo(Errno.EAGAIN);
        BusyGuestPage busy = new BusyGuestPage();
        attempts.end(RANGE, MemoryAttribute.PRIVATE, Errno.EAGAIN, busy);
      }
      assertThat(attempts.firstLooks()).isEqualTo(2);
      assertThat(attempts.firstLookMismatches()).isEqualTo(looksAtReferences ? 1 : 0);
    }
  }

  @Test
  void otherRacePointsAndOtherConversionsDoNotCount() {
    mismatch(); // no attempt has begun
    attempts.begin(RANGE, MemoryAttribute.SHARED);
    mismatch();
    attempts.end(RANGE, MemoryAttribute.SHARED, Errno.OK, new BusyGuestPage());
    begin();
    for (RacePoint point : RacePoint.values()) {
      if (point != RacePoint.ON_MISMATCH) {
        Attempts.ON_MISMATCH.at(point, 0);
      }
    }
    end(Errno.OK);
    mismatch(); // it is over
    assertThat(attempts.firstLookMismatches()).isZero();
    assertThat(attempts.firstLooks()).isEqualTo(1);
  }

  @Test
  void theTimeRunsFromTheFirstAskThroughRefusalsAndPauses() throws InterruptedException {
    begin();
    end(Errno.EAGAIN);
    TimeUnit.MILLISECONDS.sleep(PAUSE_MILLIS);
    begin();
    end(Errno.OK);
    assertThat(attempts.latency().getTotalCount()).isEqualTo(1);
    assertThat(attempts.latency().getMaxValue())
        .isGreaterThanOrEqualTo(TimeUnit.MILLISECONDS.toNanos(PAUSE_MILLIS));
    assertThat(attempts.gaveUp().getTotalCount()).isZero();
    assertThat(attempts.refusedWithoutHolder()).isEqualTo(1);
  }

  @Test
  void whoGivesUpIsCountedApartAndTheNextAskBeginsAnew() throws InterruptedException {
    begin();
    end(Errno.EAGAIN);
    TimeUnit.MILLISECONDS.sleep(PAUSE_MILLIS);
    attempts.over();
    assertThat(attempts.latency().getTotalCount()).isZero();
    assertThat(attempts.gaveUp().getTotalCount()).isEqualTo(1);
    assertThat(attempts.gaveUp().getMaxValue())
        .isGreaterThanOrEqualTo(TimeUnit.MILLISECONDS.toNanos(PAUSE_MILLIS));
    attempts.over(); // it asks for nothing
    begin();
    end(Errno.OK);
    assertThat(attempts.gaveUp().getTotalCount()).isEqualTo(1);
    assertThat(attempts.latency().getTotalCount()).isEqualTo(1);
  }

  @Test
  void threadsCountForThemselves() throws InterruptedException {
    begin();
    Thread other =
        new Thread(
            () -> {
              mismatch(); // not of this thread's attempt, for it has none
              begin();
              end(Errno.OK);
            });
    other.start();
    other.join();
    end(Errno.OK);
    assertThat(attempts.firstLooks()).isEqualTo(2);
    assertThat(attempts.firstLookMismatches()).isZero();
    assertThat(attempts.latency().getTotalCount()).isEqualTo(2);
  }
}
