package io.github.guestmemfd.kvm;

/** A vCPU left the guest, and was not in a {@link Vcpu#run}, where a handler would be told. */
public final class VcpuExitException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final transient VcpuExit exit;

  VcpuExitException(VcpuExit exit) {
    super("the vCPU left the guest outside of run: " + exit);
    this.exit = exit;
  }

  /**
   * Why it left.
   *
   * @return the exit
   */
  public VcpuExit exit() {
    return exit;
  }
}
