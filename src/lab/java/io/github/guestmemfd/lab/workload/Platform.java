package io.github.guestmemfd.lab.workload;

import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.kvm.KernelProfile;
import io.github.guestmemfd.kvm.VirtualMachine;
import io.github.guestmemfd.kvm.VmType;
import io.github.guestmemfd.lab.report.Condition;
import io.github.guestmemfd.lab.report.Monitor;
import io.github.guestmemfd.platform.CcaGuest;
import io.github.guestmemfd.platform.PkvmGuest;
import io.github.guestmemfd.platform.PkvmHypervisor;
import io.github.guestmemfd.platform.PlatformGuest;
import io.github.guestmemfd.platform.Rmm;
import io.github.guestmemfd.platform.Rmp;
import io.github.guestmemfd.platform.SnpGuest;
import io.github.guestmemfd.platform.TdxGuest;
import io.github.guestmemfd.platform.TdxModule;
import java.util.Objects;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/** The platforms of guests, as {@code --platform} names them. */
public enum Platform {
  /** No hardware: a virtual machine that is protected by software. */
  NONE("none", VmType.SW_PROTECTED, KernelProfile.LINUX_6_18) {
    @Override
    @Nullable Hardware make(Condition condition) {
      return null;
    }
  },

  /** AMD SEV-SNP. */
  SNP("snp", VmType.SNP, KernelProfile.LINUX_6_18) {
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
  TDX("tdx", VmType.TDX, KernelProfile.LINUX_7_2) {
    @Override
    Hardware make(Condition condition) {
      return tdx(condition, kernel);
    }
  },

  /** Intel TDX on Linux 6.18, which holds one. */
  TDX_6_18("tdx-6.18", VmType.TDX, KernelProfile.LINUX_6_18) {
    @Override
    Hardware make(Condition condition) {
      return tdx(condition, kernel);
    }
  },

  /** pKVM. */
  PKVM("pkvm", null, KernelProfile.LINUX_6_18) {
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
  CCA("cca", null, KernelProfile.LINUX_6_18) {
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

  /** The type of its machines with two memories; null if there are none. */
  private final @Nullable VmType type;

  final KernelProfile kernel;

  Platform(String id, @Nullable VmType type, KernelProfile kernel) {
    this.id = id;
    this.type = type;
    this.kernel = kernel;
  }

  /**
   * Its name on the command line.
   *
   * @return the name in lower case
   */
  public String id() {
    return id;
  }

  /**
   * Whether there are monitors of such a kind: guests of pKVM share pages in place, and the series
   * of CCA has attributes of files alone.
   *
   * @param memory what memory they give their guests
   * @return false for two memories of those
   */
  public boolean has(Monitor.Memory memory) {
    return memory == Monitor.Memory.IN_PLACE || type != null;
  }

  /** A machine with two memories. */
  VirtualMachine machineOfTwo() {
    return VirtualMachine.builder()
        .type(Objects.requireNonNull(type, "two memories of " + id))
        .kernelProfile(kernel)
        .build();
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
