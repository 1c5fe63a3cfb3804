package io.github.guestmemfd.lab.report;

import org.HdrHistogram.Histogram;

/**
 * The result of one run of the lab: one protocol, policy, workload and number of vCPUs.
 *
 * @param protocol the id of the conversion protocol
 * @param sound whether the protocol claims to be sound
 * @param policy the id of the conversion policy
 * @param monitor what memory the guest had, and what was discarded on conversion
 * @param workload the name of the workload
 * @param vcpus how many vCPUs ran
 * @param round the round of the session that it was made in, from 0
 * @param seconds how long it ran
 * @param seed what the sequence of requested operations came from
 * @param size the guest's memory in bytes
 * @param conversionsToInaccessible ranges that became private
 * @param conversionsToAccessible ranges that became shared
 * @param refusedWithUnsafeHolder conversions to inaccessible that were refused while a host thread
 *     held the busy page, at any time of the attempt
 * @param refusedWithoutUnsafeHolder conversions to inaccessible that were refused although no host
 *     thread held the busy page: false busy
 * @param refusedToAccessible conversions to accessible that were refused: by a device that could
 *     not pin the pages
 * @param firstLooks attempts to convert to inaccessible whose first look at the counts met no host
 *     thread that held the page; 0 if that is not known, or there are no looks
 * @param firstLookMismatches how many of them found counts that do not allow the conversion, even
 *     if a second look succeeded
 * @param leaks how often the host reached content after its page had become private
 * @param firstLeak how the first leak was found; empty if there was none
 * @param corruptions how often the guest found other content in a page than it should have, where
 *     no host had a hand in it
 * @param retries how often conversions looked at the counts once more
 * @param guestFaults faults of vCPUs
 * @param hostFaults faults of host mappings
 * @param sigbus accesses of the host that ended in SIGBUS
 * @param guestOps what the guest's side has done of what it was asked for
 * @param hostOps what the host's side has done
 * @param latency from the first ask for a page to be inaccessible until it was, in nanoseconds,
 *     with all attempts that were refused, and all waits
 * @param gaveUp from the first ask until the vCPU gave up, in nanoseconds
 * @param doubled what both memories of the guest held
 * @param framesLeaked frames still in use when everything had been closed
 * @param map the guest's pages over time
 */
public record Measurement(
    String protocol,
    boolean sound,
    String policy,
    Monitor monitor,
    String workload,
    int vcpus,
    int round,
    double seconds,
    long seed,
    long size,
    long conversionsToInaccessible,
    long conversionsToAccessible,
    long refusedWithUnsafeHolder,
    long refusedWithoutUnsafeHolder,
    long refusedToAccessible,
    long firstLooks,
    long firstLookMismatches,
    long leaks,
    String firstLeak,
    long corruptions,
    long retries,
    long guestFaults,
    long hostFaults,
    long sigbus,
    long guestOps,
    long hostOps,
    Histogram latency,
    Histogram gaveUp,
    Doubled doubled,
    long framesLeaked,
    PageMap map) {

  /**
   * The same, made in a round of a session.
   *
   * @param number from 0
   * @return the measurement
   */
  public Measurement inRound(int number) {
    return new Measurement(
        protocol,
        sound,
        policy,
        monitor,
        workload,
        vcpus,
        number,
        seconds,
        seed,
        size,
        conversionsToInaccessible,
        conversionsToAccessible,
        refusedWithUnsafeHolder,
        refusedWithoutUnsafeHolder,
        refusedToAccessible,
        firstLooks,
        firstLookMismatches,
        leaks,
        firstLeak,
        corruptions,
        retries,
        guestFaults,
        hostFaults,
        sigbus,
        guestOps,
        hostOps,
        latency,
        gaveUp,
        doubled,
        framesLeaked,
        map);
  }

  /** What it was a measurement of, which each round measures again. */
  Cell cell() {
    return new Cell(protocol, policy, monitor, workload, vcpus);
  }

  /** One combination of what the lab varies. */
  record Cell(String protocol, String policy, Monitor monitor, String workload, int vcpus) {}
}
