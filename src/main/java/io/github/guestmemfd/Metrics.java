package io.github.guestmemfd;

import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.observe.Meter;
import io.github.guestmemfd.spi.Counters;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The counters of a file, or of all files of a host, since it was made: an immutable snapshot.
 *
 * <p>Each number only grows, and is exact while no call is under way. Otherwise each is read by
 * itself, so sums of two may be off by what happens between the reads. Reading stops no thread.
 * Calls that are refused for their arguments alone (EINVAL, EBADF) are not counted.
 *
 * <p><b>What a refusal tells.</b> A refused conversion is filed by the counts it saw when it gave
 * up, which is all that the kernel could see. {@code refusedOthersCounted} says that there were
 * more references than the page cache's and those counted as safe; it does not say that a holder
 * would have kept one. A lookup about to be dropped, or a safe holder between its two steps under a
 * protocol that takes them one after the other, looks the same.
 */
public final class Metrics {
  private final Counters.Reading<Meter> reading;

  Metrics(Counters.Reading<Meter> reading) {
    this.reading = reading;
  }

  /**
   * Ranges made inaccessible, also by a pending conversion that completed, and if they were
   * inaccessible already.
   *
   * @return how many
   */
  public long conversionsToInaccessible() {
    return reading.of(Meter.CONVERSIONS_TO_INACCESSIBLE);
  }

  /**
   * Ranges made accessible, also if they were already.
   *
   * @return how many
   */
  public long conversionsToAccessible() {
    return reading.of(Meter.CONVERSIONS_TO_ACCESSIBLE);
  }

  /**
   * Conversions refused with EAGAIN over a folio whose counts showed references besides the page
   * cache's and the safe ones.
   *
   * @return how many
   */
  public long refusedOthersCounted() {
    return reading.of(Meter.REFUSED_OTHERS_COUNTED);
  }

  /**
   * Conversions refused with EAGAIN over a folio whose counts showed no others: the protocol
   * refuses because of safe references, or the last other one had just gone.
   *
   * @return how many
   */
  public long refusedNoOthersCounted() {
    return reading.of(Meter.REFUSED_NO_OTHERS_COUNTED);
  }

  /**
   * Conversions that ended otherwise: EINTR, ENOMEM, EBADF, EDEADLK, or what a callback answered or
   * threw.
   *
   * @return how many
   */
  public long conversionsFailed() {
    return reading.of(Meter.CONVERSIONS_FAILED);
  }

  /**
   * Times a range operation looked at a folio's counts again, idling in between, as the retry
   * policy says.
   *
   * @return how many
   */
  public long retries() {
    return reading.of(Meter.RETRIES);
  }

  /**
   * Times a range operation waited on a folio for its holders to let go.
   *
   * @return how many
   */
  public long holderWaits() {
    return reading.of(Meter.HOLDER_WAITS);
  }

  /**
   * Times a lookup or an allocation waited for a range operation to be over.
   *
   * @return how many
   */
  public long busyWaits() {
    return reading.of(Meter.BUSY_WAITS);
  }

  /**
   * Conversions left pending, to be completed by the last holder.
   *
   * @return how many
   */
  public long pendingBegun() {
    return reading.of(Meter.PENDING_BEGUN);
  }

  /**
   * Pending conversions that were completed.
   *
   * @return how many
   */
  public long pendingCompleted() {
    return reading.of(Meter.PENDING_COMPLETED);
  }

  /**
   * Pending conversions that were undone: cancelled, overtaken by another operation or the end of
   * the file, or refused by a callback. What is begun and neither completed nor undone is pending
   * now.
   *
   * @return how many
   */
  public long pendingUndone() {
    return reading.of(Meter.PENDING_UNDONE);
  }

  /**
   * Punches done, also of nothing.
   *
   * @return how many
   */
  public long punches() {
    return reading.of(Meter.PUNCHES);
  }

  /**
   * Punches that answered anything but OK, or threw.
   *
   * @return how many
   */
  public long punchesRefused() {
    return reading.of(Meter.PUNCHES_REFUSED);
  }

  /**
   * Faults of the host in mappings, also to populate.
   *
   * @return how many
   */
  public long faults() {
    return reading.of(Meter.FAULTS);
  }

  /**
   * Folios zeroed and prepared for the first time.
   *
   * @return how many
   */
  public long firstUses() {
    return reading.of(Meter.FIRST_USES);
  }

  /**
   * Accesses through a mapping that were a {@link SigBusException}, or where a form for hot loops
   * answered otherwise for that reason.
   *
   * @return how many
   */
  public long sigbus() {
    return reading.of(Meter.SIGBUS);
  }

  /**
   * Lookups by the guest's side that did not find the folio ready at once: they waited, allocated,
   * prepared, or were refused.
   *
   * @return how many
   */
  public long slowGrabs() {
    return reading.of(Meter.SLOW_GRABS);
  }

  /**
   * Speculative references taken back because the page changed under the lookup.
   *
   * @return how many
   */
  public long lookupsStartedOver() {
    return reading.of(Meter.LOOKUPS_STARTED_OVER);
  }

  /**
   * Pages taken from their users because their memory failed.
   *
   * @return how many
   */
  public long memoryFailures() {
    return reading.of(Meter.MEMORY_FAILURES);
  }

  /**
   * Times a use of a page was refused with EHWPOISON.
   *
   * @return how many
   */
  public long poisonedUses() {
    return reading.of(Meter.POISONED_USES);
  }

  /**
   * The differences between two snapshots.
   *
   * @param earlier a snapshot of the same numbers
   * @return the differences
   */
  public Metrics minus(Metrics earlier) {
    return new Metrics(reading.minus(earlier.reading));
  }

  /**
   * Every number by the name of its method, to be exported elsewhere.
   *
   * @return an unmodifiable map
   */
  public Map<String, Long> asMap() {
    return reading.asMap();
  }

  @Override
  public boolean equals(@Nullable Object other) {
    return other instanceof Metrics metrics && reading.equals(metrics.reading);
  }

  @Override
  public int hashCode() {
    return reading.hashCode();
  }

  /** The numbers that are not 0. */
  @Override
  public String toString() {
    return "Metrics" + reading;
  }
}
