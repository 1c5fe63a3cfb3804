package io.github.guestmemfd.lab.workload;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.lab.report.Measurement;
import java.util.function.BooleanSupplier;

/** A run of the lab: something under load for a time, measured. */
public interface Run {

  /**
   * What it is, for people.
   *
   * @return a few words
   */
  String name();

  /**
   * How long it runs.
   *
   * @return the time in seconds
   */
  double seconds();

  /**
   * The same run for another time.
   *
   * @param time in seconds
   * @return the run
   */
  Run withSeconds(double time);

  /**
   * Does it.
   *
   * @param host has memory for a guest; nothing of it is in use
   * @param stopped asked now and then whether to end before the time
   * @return what was measured, up to where it ended
   * @throws InterruptedException if the thread is interrupted; the run is over then
   * @throws IllegalStateException if an actor failed, or did not end
   */
  Measurement measure(HostMemory host, BooleanSupplier stopped) throws InterruptedException;
}
