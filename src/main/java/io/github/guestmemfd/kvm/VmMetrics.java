package io.github.guestmemfd.kvm;

import io.github.guestmemfd.spi.Counters;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The counters of a virtual machine, of one of its vCPUs, or of one of its memslots, since it was
 * created: an immutable snapshot.
 *
 * <p>Each counter only grows, and is exact while nothing is going on. Otherwise, each is read by
 * itself, so that the sum of two may be off by what happens between the reads. Reading blocks no
 * thread.
 *
 * <p>A vCPU has faults, retries and exits. A memslot has faults, retries, zaps and invalidations.
 * Only the virtual machine counts what belongs to neither, so that its counters may be above the
 * sum over vCPUs or memslots.
 */
public final class VmMetrics {
  private final Counters.Reading<VmMeter> reading;

  VmMetrics(Counters.Reading<VmMeter> reading) {
    this.reading = reading;
  }

  /**
   * Accesses that found their page not mapped, and looked for it; a fault that is retried counts
   * once.
   *
   * @return how many
   */
  public long faults() {
    return reading.of(VmMeter.FAULTS);
  }

  /**
   * Faults that were done again because an invalidation came in between, each time.
   *
   * @return how many
   */
  public long retries() {
    return reading.of(VmMeter.RETRIES);
  }

  /**
   * Entries taken out of guest page tables.
   *
   * @return how many
   */
  public long zaps() {
    return reading.of(VmMeter.ZAPS);
  }

  /**
   * Invalidations by the files: conversions, punches, memory failures, ends of files.
   *
   * @return how many
   */
  public long invalidations() {
    return reading.of(VmMeter.INVALIDATIONS);
  }

  /**
   * Exits of vCPUs with a {@link VcpuExit.MemoryFault}.
   *
   * @return how many
   */
  public long memoryFaultExits() {
    return reading.of(VmMeter.MEMORY_FAULT_EXITS);
  }

  /**
   * Exits of vCPUs with a {@link VcpuExit.HostFault}.
   *
   * @return how many
   */
  public long hostFaultExits() {
    return reading.of(VmMeter.HOST_FAULT_EXITS);
  }

  /**
   * Exits of vCPUs with an {@link VcpuExit.Mmio}.
   *
   * @return how many
   */
  public long mmioExits() {
    return reading.of(VmMeter.MMIO_EXITS);
  }

  /**
   * Exits of vCPUs with a {@link VcpuExit.Hypercall}.
   *
   * @return how many
   */
  public long hypercallExits() {
    return reading.of(VmMeter.HYPERCALL_EXITS);
  }

  /**
   * Exits of vCPUs with an {@link VcpuExit.Interrupted}.
   *
   * @return how many
   */
  public long interruptExits() {
    return reading.of(VmMeter.INTERRUPT_EXITS);
  }

  /**
   * All exits.
   *
   * @return how many
   */
  public long exits() {
    return memoryFaultExits()
        + hostFaultExits()
        + mmioExits()
        + hypercallExits()
        + interruptExits();
  }

  /**
   * What has happened between two snapshots.
   *
   * @param earlier a snapshot of the same numbers
   * @return the differences
   */
  public VmMetrics minus(VmMetrics earlier) {
    return new VmMetrics(reading.minus(earlier.reading));
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
    return other instanceof VmMetrics metrics && reading.equals(metrics.reading);
  }

  @Override
  public int hashCode() {
    return reading.hashCode();
  }

  /** The numbers that are not 0. */
  @Override
  public String toString() {
    return "VmMetrics" + reading;
  }
}
