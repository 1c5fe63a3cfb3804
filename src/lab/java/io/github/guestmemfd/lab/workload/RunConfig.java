package io.github.guestmemfd.lab.workload;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.lab.report.Measurement;
import io.github.guestmemfd.policy.PrivatePages;
import java.util.function.BooleanSupplier;

/**
 * A run of a workload.
 *
 * @param protocol detects holders of a folio
 * @param policy the id of the policy that says when to convert
 * @param onShared what becomes of private pages on conversion to shared
 * @param workload what guests and hosts do
 * @param vcpus how many vCPUs, at least 1
 * @param size the guest's memory in bytes, at least 16 pages for each vCPU
 * @param seconds how long to run
 * @param seed the seed of the requests
 */
public record RunConfig(
    ConversionProtocol protocol,
    String policy,
    PrivatePages onShared,
    Workload workload,
    int vcpus,
    long size,
    double seconds,
    long seed)
    implements Run {

  @Override
  public RunConfig withSeconds(double time) {
    return new RunConfig(protocol, policy, onShared, workload, vcpus, size, time, seed);
  }

  @Override
  public String name() {
    String pages = onShared == PrivatePages.KEEP ? "" : ", " + onShared.id();
    return workload.id()
        + ", "
        + protocol.id()
        + ", "
        + policy
        + pages
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
  public Survival survive(Platform platform, Platform.Condition condition, BooleanSupplier stopped)
      throws InterruptedException {
    HostMemory host = host(size);
    Survival survival = LabRun.run(this, platform, condition, host, stopped);
    if (!survival.stuck()) {
      host.close();
    }
    return survival;
  }

  /**
   * Creates a host for runs, one after the other, with memory for the guest, for orphans and for
   * another mapping of the same index.
   *
   * @param guestSize the guest's memory in bytes
   * @return the host
   */
  public static HostMemory host(long guestSize) {
    long spare = (guestSize / 4 & -HostMemory.PAGE_SIZE) + (1 << 20);
    return HostMemory.builder(guestSize + spare)
        .lruBatches(2, 31)
        .raceHook(Attempts.ON_MISMATCH)
        .build();
  }
}
