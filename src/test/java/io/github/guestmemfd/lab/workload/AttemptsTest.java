package io.github.guestmemfd.lab.workload;

import static org.assertj.core.api.Assertions.assertThat;

import io.github.guestmemfd.Errno;
import io.github.guestmemfd.kvm.BusyGuestPage;
import io.github.guestmemfd.kvm.MemoryAttribute;
import io.github.guestmemfd.policy.GpaRange;
import io.github.guestmemfd.spi.RacePoint;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

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

  /** A range of two pages: one that nobody holds and mends itself, and then one that is held. */
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

  @Test
  void otherRacePointsAndOtherConversionsDoNotCount() {
    mismatch(); // nobody has begun an attempt
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
