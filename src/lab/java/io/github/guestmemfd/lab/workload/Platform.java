package io.github.guestmemfd.lab.workload;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.platform.CcaGuest;
import io.github.guestmemfd.platform.PkvmGuest;
import io.github.guestmemfd.platform.PkvmHypervisor;
import io.github.guestmemfd.platform.PlatformGuest;
import io.github.guestmemfd.platform.Rmm;
import io.github.guestmemfd.platform.Rmp;
import io.github.guestmemfd.platform.SnpGuest;
import io.github.guestmemfd.platform.TdxGuest;
import io.github.guestmemfd.platform.TdxModule;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/** The platforms of guests, as {@code --platform} names them. */
public enum Platform {
  /** No hardware: a virtual machine that is protected by software. */
  NONE("none") {
    @Override
    @Nullable Hardware make(Condition condition) {
      return null;
    }
  },

  /** AMD SEV-SNP. */
  SNP("snp") {
    @Override
    Hardware make(Condition condition) {
      Rmp rmp = new Rmp();
      switch (condition) {
        case REFUSES -> rmp.faults().failEvery(Rmp.Call.MAKE_PRIVATE, Errno.EINVAL, OFTEN);
        case KEEPS -> rmp.faults().failEvery(Rmp.Call.MAKE_SHARED, Errno.EINVAL, SELDOM);
        default -> {}
      }
      return new Hardware(new SnpGuest(rmp), rmp::assigned);
    }
  },

  /** Intel TDX, on kernels that hold no reference on mapped pages. */
  TDX("tdx") {
    @Override
    Hardware make(Condition condition) {
      return tdx(condition, KernelProfile.LINUX_7_2);
    }
  },

  /** Intel TDX on Linux 6.18, which holds one. */
  TDX_6_18("tdx-6.18") {
    @Override
    Hardware make(Condition condition) {
      return tdx(condition, KernelProfile.LINUX_6_18);
    }
  },

  /** pKVM. */
  PKVM("pkvm") {
    @Override
    Hardware make(Condition condition) {
      PkvmHypervisor hypervisor = new PkvmHypervisor();
      switch (condition) {
        case REFUSES ->
            hypervisor.faults().failEvery(PkvmHypervisor.Call.DONATE, Errno.ENOMEM, OFTEN);
        case KEEPS ->
            hypervisor.faults().failEvery(PkvmHypervisor.Call.RECLAIM, Errno.EBUSY, SELDOM);
        default -> {}
      }
      return new Hardware(new PkvmGuest(hypervisor), hypervisor::ownedByGuests);
    }
  },

  /** Arm CCA. */
  CCA("cca") {
    @Override
    Hardware make(Condition condition) {
      Rmm rmm = new Rmm();
      switch (condition) {
        case REFUSES -> rmm.faults().failEvery(Rmm.Call.DATA_CREATE_UNKNOWN, Errno.EIO, OFTEN);
        case KEEPS -> rmm.faults().failEvery(Rmm.Call.UNDELEGATE, Errno.EIO, SELDOM);
        default -> {}
      }
      return new Hardware(new CcaGuest(rmm), rmm::delegated);
    }
  };

  /** How well the hardware works. */
  public enum Condition {
    /** Every call succeeds. */
    WORKS,
    /**
     * One call in seven that a fault makes is refused; of TDX, every seventh call finds it busy.
     */
    REFUSES,
    /** One call in 50 that gives a frame back to the host fails. */
    KEEPS
  }

  /**
   * The hardware of a run.
   *
   * @param guest its guest, launched
   * @param owned how many frames are not the host's
   */
  record Hardware(PlatformGuest guest, LongSupplier owned) {
    Hardware {
      guest.finishLaunch();
    }

    /** The references that are never given back are, and counted. */
    long putLeaked() {
      if (guest instanceof TdxGuest tdx) {
        long leaked = tdx.leakedPages();
        tdx.putLeakedPages();
        return leaked;
      }
      return 0;
    }
  }

  private static final long OFTEN = 7;
  private static final long SELDOM = 50;

  private final String id;

  Platform(String id) {
    this.id = id;
  }

  /**
   * Its name on the command line.
   *
   * @return the name in lower case
   */
  public String id() {
    return id;
  }

  /** Makes the hardware of a run; null if the platform has none. */
  abstract @Nullable Hardware make(Condition condition);

  private static Hardware tdx(Condition condition, KernelProfile kernel) {
    TdxModule module = new TdxModule();
    switch (condition) {
      case REFUSES -> {
        for (TdxModule.Call call : TdxModule.Call.values()) {
          if (call != TdxModule.Call.FINALIZE) {
            module.faults().failEvery(call, Errno.EBUSY, OFTEN);
          }
        }
      }
      case KEEPS -> module.faults().failEvery(TdxModule.Call.REMOVE, Errno.EIO, SELDOM);
      default -> {}
    }
    VirtualMachine vm = VirtualMachine.builder().kernelProfile(kernel).build();
    return new Hardware(new TdxGuest(module, vm), module::owned);
  }
}
