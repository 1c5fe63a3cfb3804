package io.github.guestmemfd.kvm;

import io.github.guestmemfd.HostMemory;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.Hex;
import io.github.guestmemfd.spi.Announce;
import io.github.guestmemfd.spi.Counters;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Why a vCPU exited, and what its handler answered: {@code struct kvm_run}. It is for the thread of
 * the vCPU; other threads may only request an exit.
 */
final class KvmRun {
  private static final int PAGE_SIZE = HostMemory.PAGE_SIZE;
  private static final int PAGE_SHIFT = Integer.numberOfTrailingZeros(PAGE_SIZE);
  private static final long OFFSET_MASK = PAGE_SIZE - 1;

  private enum Reason {
    NONE,
    MEMORY_FAULT,
    HOST_FAULT,
    MMIO,
    HYPERCALL,
    INTERRUPTED
  }

  /** The name of the vCPU, for messages. */
  private final String vcpu;

  private final Counters<VmMeter> counters;

  private volatile boolean immediateExit;

  // Why the vCPU exited.
  private Reason reason = Reason.NONE;
  private long gpa;
  private long size;
  private long value;
  private Access access = Access.READ;
  private MemoryAttribute attribute = MemoryAttribute.SHARED;
  private Errno errno = Errno.OK;
  private @Nullable BusyGuestPage busy;

  // What the handler answered.
  private boolean completed;
  private long mmioValue;
  private Errno hypercallResult = Errno.OK;
  private long convertedUpTo;

  KvmRun(String vcpu, Counters<VmMeter> counters) {
    this.vcpu = vcpu;
    this.counters = counters;
  }

  // ---- exits ----

  /** Makes the vCPU exit at its next access or hypercall; for any thread. */
  void requestExit() {
    Announce.write(this).immediateExit = true;
  }

  boolean isExitRequested() {
    return Announce.read(this).immediateExit;
  }

  /** Exits if that was requested. */
  boolean tryExitAsRequested() {
    if (!Announce.read(this).immediateExit) {
      return false;
    }
    Announce.write(this).immediateExit = false;
    exitInterrupted();
    return true;
  }

  void exitInterrupted() {
    reason = Reason.INTERRUPTED;
    counters.count(VmMeter.INTERRUPT_EXITS);
  }

  void exitMemoryFault(long at, MemoryAttribute view, Access by, Errno why) {
    reason = Reason.MEMORY_FAULT;
    gpa = at & ~OFFSET_MASK;
    size = PAGE_SIZE;
    attribute = view;
    access = by;
    errno = why;
    busy = null;
    counters.count(VmMeter.MEMORY_FAULT_EXITS);
  }

  void exitHostFault(long at, long userAddress, Access by) {
    reason = Reason.HOST_FAULT;
    gpa = at & ~OFFSET_MASK;
    value = userAddress;
    access = by;
    counters.count(VmMeter.HOST_FAULT_EXITS);
  }

  void exitMmio(long at, int bytes, Access by, long number) {
    reason = Reason.MMIO;
    gpa = at;
    size = bytes;
    access = by;
    value = number;
    counters.count(VmMeter.MMIO_EXITS);
  }

  void exitHypercall(long at, long pages, MemoryAttribute wanted) {
    reason = Reason.HYPERCALL;
    gpa = at;
    size = pages;
    attribute = wanted;
    hypercallResult = Errno.OK;
    convertedUpTo = endOfHypercall();
    counters.count(VmMeter.HYPERCALL_EXITS);
  }

  /** The last exit, as a new object. */
  VcpuExit exit() {
    return switch (reason) {
      case MEMORY_FAULT -> new VcpuExit.MemoryFault(gpa, size, attribute, access, errno, busy);
      case HOST_FAULT -> new VcpuExit.HostFault(gpa, value, access);
      case MMIO -> new VcpuExit.Mmio(gpa, size, access, value);
      case HYPERCALL -> new VcpuExit.Hypercall(gpa, size, attribute);
      case INTERRUPTED -> new VcpuExit.Interrupted();
      case NONE -> throw new IllegalStateException(vcpu + " has not exited");
    };
  }

  boolean isHypercall() {
    return reason == Reason.HYPERCALL;
  }

  /** The size of the access that exited for MMIO. */
  int mmioSize() {
    return (int) size;
  }

  // ---- answers ----

  /** Forgets what was completed before. */
  void beginHandling() {
    completed = false;
  }

  /** Whether the handler has completed what the vCPU exited for. */
  boolean isCompleted() {
    return completed;
  }

  /** What a read by MMIO is to return. */
  long mmioValue() {
    return mmioValue;
  }

  Errno hypercallResult() {
    return hypercallResult;
  }

  long convertedUpTo() {
    return convertedUpTo;
  }

  /** A hypercall was refused without an exit. */
  void refuseHypercall(long at) {
    convertedUpTo = at;
  }

  /** See {@link Vcpu#completeMmio}. */
  void completeMmio(long number) {
    require(Reason.MMIO);
    completed = true;
    mmioValue = number;
  }

  /** See {@link Vcpu#failMemoryFault}. */
  void failMemoryFault(Errno why, @Nullable BusyGuestPage page) {
    require(Reason.MEMORY_FAULT);
    errno = Objects.requireNonNull(why, "why");
    busy = page;
  }

  /** See {@link Vcpu#completeHypercall(Errno)}. */
  void completeHypercall(Errno result) {
    require(Reason.HYPERCALL);
    hypercallResult = Objects.requireNonNull(result, "result");
    convertedUpTo = result == Errno.OK ? endOfHypercall() : gpa;
  }

  /** See {@link Vcpu#completeHypercall(Errno, long)}. */
  void completeHypercall(Errno result, long upTo) {
    require(Reason.HYPERCALL);
    if ((upTo & OFFSET_MASK) != 0 || Long.compareUnsigned((upTo - gpa) >>> PAGE_SHIFT, size) > 0) {
      throw new IllegalArgumentException(
          "expected a page of " + exit() + ", or its end, actual " + Hex.of(upTo));
    }
    hypercallResult = Objects.requireNonNull(result, "result");
    convertedUpTo = upTo;
  }

  private void require(Reason expected) {
    if (reason != expected) {
      throw new IllegalStateException(
          vcpu + ": expected an exit for " + expected + ", actual " + reason);
    }
  }

  private long endOfHypercall() {
    return gpa + (size << PAGE_SHIFT);
  }
}
