package io.github.guestmemfd.kvm;

import java.util.concurrent.atomic.LongAdder;

/**
 * What has happened in a virtual machine since it was made. Each number is exact once all is quiet,
 * and may miss what is happening while it is read.
 */
public final class VmStats {
  final LongAdder faultCount = new LongAdder();
  final LongAdder retryCount = new LongAdder();
  final LongAdder zapCount = new LongAdder();
  final LongAdder invalidationCount = new LongAdder();
  final LongAdder memoryFaultCount = new LongAdder();
  final LongAdder mmioCount = new LongAdder();
  final LongAdder hypercallCount = new LongAdder();
  final LongAdder interruptCount = new LongAdder();

  VmStats() {}

  /**
   * Accesses that found their page not mapped, and looked for it; a fault that is retried counts
   * once.
   *
   * @return how many
   */
  public long faults() {
    return faultCount.sum();
  }

  /**
   * Faults that were done again because an invalidation came in between, each time.
   *
   * @return how many
   */
  public long retries() {
    return retryCount.sum();
  }

  /**
   * Entries taken out of guest page tables.
   *
   * @return how many
   */
  public long zaps() {
    return zapCount.sum();
  }

  /**
   * Invalidations by the files: conversions, punches, memory failures, ends of files.
   *
   * @return how many have begun
   */
  public long invalidations() {
    return invalidationCount.sum();
  }

  /**
   * Exits of vCPUs with a {@link VcpuExit.MemoryFault}.
   *
   * @return how many
   */
  public long memoryFaultExits() {
    return memoryFaultCount.sum();
  }

  /**
   * Exits of vCPUs with an {@link VcpuExit.Mmio}.
   *
   * @return how many
   */
  public long mmioExits() {
    return mmioCount.sum();
  }

  /**
   * Exits of vCPUs with a {@link VcpuExit.Hypercall}.
   *
   * @return how many
   */
  public long hypercallExits() {
    return hypercallCount.sum();
  }

  /**
   * Exits of vCPUs with an {@link VcpuExit.Interrupted}.
   *
   * @return how many
   */
  public long interruptExits() {
    return interruptCount.sum();
  }

  /**
   * All exits.
   *
   * @return how many
   */
  public long exits() {
    return memoryFaultExits() + mmioExits() + hypercallExits() + interruptExits();
  }

  @Override
  public String toString() {
    return "faults "
        + faults()
        + ", retries "
        + retries()
        + ", invalidations "
        + invalidations()
        + ", zaps "
        + zaps()
        + ", exits: memory fault "
        + memoryFaultExits()
        + ", MMIO "
        + mmioExits()
        + ", hypercall "
        + hypercallExits()
        + ", interrupt "
        + interruptExits();
  }
}
