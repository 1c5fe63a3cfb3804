package io.github.guestmemfd.kvm;

/** The counters of a virtual machine; each is a method of {@link VmMetrics}. */
enum VmMeter {
  FAULTS,
  RETRIES,
  ZAPS,
  INVALIDATIONS,
  MEMORY_FAULT_EXITS,
  HOST_FAULT_EXITS,
  MMIO_EXITS,
  HYPERCALL_EXITS,
  INTERRUPT_EXITS
}
