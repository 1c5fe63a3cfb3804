package io.github.guestmemfd.lab.report;

import java.util.Collection;
import org.HdrHistogram.Histogram;

/** Some runs as if they were one: counts added, latencies merged by adding their histograms. */
final class Totals {

  private final Histogram latency = new Histogram(3);
  private double seconds;
  private long conversionsToInaccessible;
  private long refusedWithUnsafeHolder;
  private long refusedWithoutUnsafeHolder;
  private long leaks;
  private long retries;
  private long sigbus;
  private long guestOps;
  private long framesLeaked;

  private Totals() {}

  static Totals of(Collection<Measurement> measurements) {
    Totals all = new Totals();
    measurements.forEach(all::add);
    return all;
  }

  private void add(Measurement m) {
    seconds += m.seconds();
    conversionsToInaccessible += m.conversionsToInaccessible();
    refusedWithUnsafeHolder += m.refusedWithUnsafeHolder();
    refusedWithoutUnsafeHolder += m.refusedWithoutUnsafeHolder();
    leaks += m.leaks();
    retries += m.retries();
    sigbus += m.sigbus();
    guestOps += m.guestOps();
    framesLeaked += m.framesLeaked();
    latency.add(m.latency());
  }

  long conversionsToInaccessible() {
    return conversionsToInaccessible;
  }

  long refusedWithUnsafeHolder() {
    return refusedWithUnsafeHolder;
  }

  long refusedWithoutUnsafeHolder() {
    return refusedWithoutUnsafeHolder;
  }

  /**
   * How many of the conversions that nobody was in the way of were refused all the same.
   *
   * @return from 0 to 1; 0 if there were none
   */
  double falseBusyRate() {
    long free = latency.getTotalCount() + refusedWithoutUnsafeHolder;
    return free == 0 ? 0 : (double) refusedWithoutUnsafeHolder / free;
  }

  long leaks() {
    return leaks;
  }

  long retries() {
    return retries;
  }

  long sigbus() {
    return sigbus;
  }

  double guestOpsPerSecond() {
    return seconds > 0 ? guestOps / seconds : 0;
  }

  long framesLeaked() {
    return framesLeaked;
  }

  /** Whether any conversion to inaccessible succeeded, so that there is a latency. */
  boolean hasLatency() {
    return latency.getTotalCount() > 0;
  }

  /**
   * How long a conversion to inaccessible took.
   *
   * @param percentile from 0 to 100
   * @return nanoseconds; 0 if none succeeded
   */
  long nanosAt(double percentile) {
    return hasLatency() ? latency.getValueAtPercentile(percentile) : 0;
  }
}
