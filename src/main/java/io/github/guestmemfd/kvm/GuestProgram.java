package io.github.guestmemfd.kvm;

/** What a vCPU executes: the guest's code. */
@FunctionalInterface
public interface GuestProgram {

  /**
   * Executes the guest's code, by way of {@link Vcpu#read}, {@link Vcpu#write}, {@link
   * Vcpu#mapGpaRange} and the others. Must let through what they throw.
   *
   * @param vcpu the vCPU that executes it
   */
  void execute(Vcpu vcpu);
}
