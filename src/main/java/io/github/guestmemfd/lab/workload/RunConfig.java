package io.github.guestmemfd.lab.workload;

import io.github.guestmemfd.conversion.ConversionProtocol;
import io.github.guestmemfd.policy.PrivatePages;

/**
 * One run of the lab.
 *
 * @param protocol tells who holds a folio
 * @param policy the id of the policy that says when to convert
 * @param onShared what becomes of private pages on conversion to shared
 * @param workload what guests and hosts do
 * @param vcpus how many vCPUs, at least 1
 * @param size the guest's memory in bytes, at least 16 pages for each vCPU
 * @param seconds how long to run
 * @param seed what the requests come from
 */
public record RunConfig(
    ConversionProtocol protocol,
    String policy,
    PrivatePages onShared,
    Workload workload,
    int vcpus,
    long size,
    double seconds,
    long seed) {

  /**
   * The same run for another time.
   *
   * @param time in seconds
   * @return the run
   */
  public RunConfig withSeconds(double time) {
    return new RunConfig(protocol, policy, onShared, workload, vcpus, size, time, seed);
  }

  /**
   * What it is, for people.
   *
   * @return a few words
   */
  public String name() {
    return workload.id() + ", " + protocol.id() + ", " + policy + ", " + vcpus + " vCPUs";
  }
}
