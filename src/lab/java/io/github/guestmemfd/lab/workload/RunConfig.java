package io.github.guestmemfd.lab.workload;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.lab.report.Condition;
import io.github.guestmemfd.lab.report.Measurement;
import io.github.guestmemfd.lab.report.Monitor;
import io.github.guestmemfd.lab.report.Survival;
import java.util.function.BooleanSupplier;

/**
 * A run of a workload.
 *
 * @param protocol detects holders of a folio
 * @param policy the id of the policy that says when to convert
 * @param monitor what memory the guest has, and what is discarded on conversion
 * @param workload what guests and hosts do
 * @param vcpus how many vCPUs, at least 1
 * @param size the guest's memory in bytes, at least 16 pages for each vCPU
 * @param seconds how long to run
 * @param seed the seed of the requests
 */
public record RunConfig(
    ConversionProtocol protocol,
    String policy,
    Monitor monitor,
    Workload workload,
    int vcpus,
    long size,
    double seconds,
    long seed)
    implements Run {

  @Override
  public RunConfig withSeconds(double time) {
    return new RunConfig(protocol, policy, monitor, workload, vcpus, size, time, seed);
  }

  @Override
  public String name() {
    String kind = monitor.equals(Monitor.IN_PLACE) ? "" : ", " + monitor.name();
    return workload.id()
        + ", "
        + protocol.id()
        + ", "
        + policy
        + kind
        + ", "
        + (vcpus == 1 ? "1 vCPU" : vcpus + " vCPUs");
  }

  @Override
  public Measurement measure(HostMemory host, BooleanSupplier stopped) throws InterruptedException {
    return LabRun.run(this, host, stopped);
  }

  /**
   * Runs it with a guest of a platform, on a host of its own.
   *
   * @param platform the platform
   * @param condition how well its hardware works
   * @param stopped checked now and then; true ends the run early
   * @return what has become of the guest
   * @throws InterruptedException if the thread is interrupted; the run is over then
   * @throws IllegalStateException if an actor failed
   */
  @SuppressWarnings("resource") // where an actor is stuck, the host cannot be closed
  public Survival survive(Platform platform, Condition condition, BooleanSupplier stopped)
      throws InterruptedException {
    HostMemory host = host(hostSize());
    Survival survival = LabRun.run(this, platform, condition, host, stopped);
    if (!survival.stuck()) {
      host.close();
    }
    return survival;
  }

  /**
   * How much memory the host has.
   *
   * @return bytes, for the guest's memories, for orphans and for another mapping of the same index
   */
  @Override
  public long hostSize() {
    long spare = (size / 4 & -HostMemory.PAGE_SIZE) + (1 << 20);
    return (monitor.hasTwoMemories() ? 2 * size : size) + spare;
  }

  /**
   * Creates a host for runs, one after the other.
   *
   * @param size its memory in bytes
   * @return the host
   */
  public static HostMemory host(long size) {
    return HostMemory.builder(size).lruBatches(2, 31).raceHook(Attempts.ON_MISMATCH).build();
  }
}
