package io.github.guestmemfd.kvm;

/** An exit of a vCPU outside {@link Vcpu#run}, where no handler gets it. */
public final class VcpuExitException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final transient VcpuExit exit;

  VcpuExitException(VcpuExit exit) {
    super("the vCPU left the guest outside of run: " + exit);
    this.exit = exit;
  }

  /**
   * Returns why the vCPU exited.
   *
   * @return the exit
   */
  public VcpuExit exit() {
    return exit;
  }
}
