package io.github.guestmemfd;

import java.util.concurrent.atomic.LongAdder;
import org.jspecify.annotations.Nullable;

/**
 * The counters of a file or of a host. What a file counts, its host counts too, so that the host's
 * sum outlives the file.
 *
 * <p>Counting is two additions without contention between threads, and is for slow paths: neither a
 * grab of a folio that is ready nor an access to a mapped page counts anything.
 */
@SuppressWarnings("EnumOrdinal") // an index into an array that nobody else sees
final class Meters {
  private final LongAdder[] adders = new LongAdder[Meter.values().length];
  private final @Nullable Meters whole;

  /**
   * Makes counters that stand at 0.
   *
   * @param whole what these are a part of, if anything
   */
  Meters(@Nullable Meters whole) {
    this.whole = whole;
    for (int i = 0; i < adders.length; i++) {
      adders[i] = new LongAdder();
    }
  }

  void count(Meter meter) {
    adders[meter.ordinal()].increment();
    if (whole != null) {
      whole.count(meter);
    }
  }

  private long sum(Meter meter) {
    return adders[meter.ordinal()].sum();
  }

  Metrics snapshot() {
    return new Metrics(
        sum(Meter.TO_INACCESSIBLE),
        sum(Meter.TO_ACCESSIBLE),
        sum(Meter.REFUSED_OTHERS_COUNTED),
        sum(Meter.REFUSED_NO_OTHERS_COUNTED),
        sum(Meter.FAILED),
        sum(Meter.RETRIES),
        sum(Meter.HOLDER_WAITS),
        sum(Meter.BUSY_WAITS),
        sum(Meter.PENDING_BEGUN),
        sum(Meter.PENDING_COMPLETED),
        sum(Meter.PENDING_UNDONE),
        sum(Meter.PUNCHES),
        sum(Meter.PUNCHES_REFUSED),
        sum(Meter.FAULTS),
        sum(Meter.FIRST_USES),
        sum(Meter.SIGBUS),
        sum(Meter.SLOW_GRABS),
        sum(Meter.LOOKUPS_STARTED_OVER),
        sum(Meter.MEMORY_FAILURES),
        sum(Meter.POISONED_USES));
  }
}
