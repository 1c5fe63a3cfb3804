package io.github.guestmemfd.lab.workload;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.lab.report.Measurement;
import java.util.function.BooleanSupplier;

/** A run of the lab: puts something under load for a time, and measures it. */
public interface Run {

  /**
   * Returns a description for people.
   *
   * @return a few words
   */
  String name();

  /**
   * Returns how long it runs.
   *
   * @return the time in seconds
   */
  double seconds();

  /**
   * Returns the same run for another time.
   *
   * @param time in seconds
   * @return the run
   */
  Run withSeconds(double time);

  /**
   * How much memory its host needs.
   *
   * @return bytes; 0 if it brings its own
   */
  default long hostSize() {
    return 0;
  }

  /**
   * Runs it.
   *
   * @param host has the memory that it needs, or more; nothing of it is in use
   * @param stopped checked now and then; true ends the run early
   * @return what was measured, up to where it ended
   * @throws InterruptedException if the thread is interrupted; the run is over then
   * @throws IllegalStateException if an actor failed, or did not end
   */
  Measurement measure(HostMemory host, BooleanSupplier stopped) throws InterruptedException;
}
