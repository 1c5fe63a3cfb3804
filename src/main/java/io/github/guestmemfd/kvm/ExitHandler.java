package io.github.guestmemfd.kvm;

/** The part of a virtual machine monitor that a vCPU exits to. */
@FunctionalInterface
public interface ExitHandler {

  /**
   * Handles an exit. Runs on the thread of the vCPU, which holds no lock of the library, so that
   * this may convert, punch, bind, close and wait.
   *
   * @param vcpu the vCPU; to be asked to {@linkplain Vcpu#completeMmio complete} what it exited for
   * @param exit why it exited
   * @return true to enter the guest again, where what was not completed is done again; false to end
   *     the {@linkplain Vcpu#run run}
   */
  boolean handle(Vcpu vcpu, VcpuExit exit);
}
