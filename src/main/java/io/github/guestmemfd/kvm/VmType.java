package io.github.guestmemfd.kvm;

import io.github.guestmemfd.abi.CreateFlag;

/**
 * The type of a virtual machine, as {@code KVM_CREATE_VM} takes it on x86: which memory it can
 * have.
 *
 * <p>A machine of a type has <em>two memories</em>: an attribute for each guest address, which
 * belongs to the machine ({@code KVM_SET_MEMORY_ATTRIBUTES}), says whether the guest uses the page
 * of the guest_memfd (private) or the host's memory at the memslot's user address (shared). That is
 * how released kernels work. A machine {@linkplain VirtualMachine.Builder#type without a type}
 * converts in place.
 */
public enum VmType {
  /** An ordinary machine ({@code KVM_X86_DEFAULT_VM}): all its memory is shared. */
  DEFAULT(0, false, false),
  /** Private memory without any hardware, for tests ({@code KVM_X86_SW_PROTECTED_VM}). */
  SW_PROTECTED(1, true, false),
  /** AMD SEV: encrypted memory, which the host may touch ({@code KVM_X86_SEV_VM}). */
  SEV(2, false, false),
  /** AMD SEV-ES: the state of its vCPUs is encrypted too ({@code KVM_X86_SEV_ES_VM}). */
  SEV_ES(3, false, true),
  /** AMD SEV-SNP ({@code KVM_X86_SNP_VM}). */
  SNP(4, true, true),
  /** Intel TDX ({@code KVM_X86_TDX_VM}). */
  TDX(5, true, true);

  private final int number;
  private final boolean privateMemory;
  private final boolean protectedState;

  VmType(int number, boolean privateMemory, boolean protectedState) {
    this.number = number;
    this.privateMemory = privateMemory;
    this.protectedState = protectedState;
  }

  /**
   * The number that {@code KVM_CREATE_VM} takes for it.
   *
   * @return 0 to 5
   */
  public int number() {
    return number;
  }

  /**
   * Whether its pages can be private: {@code KVM_CAP_MEMORY_ATTRIBUTES} is not 0.
   *
   * @return false for types of which all memory is shared
   */
  public boolean hasPrivateMemory() {
    return privateMemory;
  }

  /**
   * Whether it can have read-only memslots ({@code KVM_CAP_READONLY_MEM}): not where the host
   * cannot see the state of its vCPUs, which it needs to complete a write.
   *
   * @return the answer
   */
  public boolean canHaveReadOnlyMemslots() {
    return !protectedState;
  }

  /**
   * Whether its launch populates pages of its files ({@code kvm_gmem_populate}), through the host's
   * direct map.
   *
   * @return the answer
   */
  public boolean populates() {
    return this == SNP || this == TDX;
  }

  /**
   * The flags that its files may be created with ({@code KVM_CAP_GUEST_MEMFD_FLAGS}): {@link
   * CreateFlag#MMAP}, and where no memory is private {@link CreateFlag#INIT_SHARED} and {@link
   * CreateFlag#WRITE}, which no released kernel has.
   *
   * <p>{@link CreateFlag#NO_DIRECT_MAP} is not among them, and every machine takes it, but one that
   * {@linkplain #populates populates} where the kernel has version 12 of that series ({@link
   * KernelProfile#NO_DIRECT_MAP_V12}).
   *
   * @return the bits of flags
   */
  public long fileFlags() {
    return privateMemory
        ? CreateFlag.bits(CreateFlag.MMAP)
        : CreateFlag.bits(CreateFlag.MMAP, CreateFlag.INIT_SHARED, CreateFlag.WRITE);
  }
}
