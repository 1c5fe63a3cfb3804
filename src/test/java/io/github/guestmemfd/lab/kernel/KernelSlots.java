package io.github.guestmemfd.lab.kernel;

import com.sun.jna.Memory;
import java.util.HashMap;
import java.util.Map;

/** Memslots of the kernel that runs here: of a virtual machine of type 0. */
final class KernelSlots implements SlotCalls {
  private static final long KVM_GET_DIRTY_LOG = 0x4010ae42L;
  private static final long KVM_CLEAR_DIRTY_LOG = 0xc018aec0L;
  private static final int NO_FILE = -1;

  private final int vm;
  private final Map<Integer, Integer> fds = new HashMap<>();

  KernelSlots() {
    int kvm = Libc.open("/dev/kvm", Libc.O_RDWR_CLOEXEC);
    vm = Libc.ioctl(kvm, Libc.KVM_CREATE_VM, 0);
    int errno = Libc.errno();
    Libc.close(kvm);
    if (vm < 0) {
      throw new IllegalStateException("KVM_CREATE_VM: " + Libc.name(errno));
    }
  }

  private static String answer(int result) {
    return result < 0 ? Libc.name(Libc.errno()) : "ok";
  }

  @Override
  public String set(Region r) {
    long[] region = new long[20];
    region[0] = (r.slot() & 0xffff_ffffL) | ((long) r.flags() << 32);
    region[1] = r.gpa();
    region[2] = r.size();
    region[3] = r.user();
    region[4] = r.offset();
    region[5] = fds.getOrDefault(r.file(), NO_FILE) & 0xffff_ffffL;
    return answer(Libc.ioctl(vm, Libc.KVM_SET_USER_MEMORY_REGION2, region));
  }

  @Override
  public String dirtyLog(int slot) {
    try (Memory bitmap = new Memory(1 << 16)) {
      long[] log = {slot & 0xffff_ffffL, com.sun.jna.Pointer.nativeValue(bitmap)};
      return answer(Libc.ioctl(vm, KVM_GET_DIRTY_LOG, log));
    }
  }

  @Override
  public String clearDirtyLog(int slot, int pages) {
    try (Memory bitmap = new Memory(1 << 16)) {
      bitmap.clear();
      long[] log = {
        (slot & 0xffff_ffffL) | ((long) pages << 32), 0, com.sun.jna.Pointer.nativeValue(bitmap)
      };
      return answer(Libc.ioctl(vm, KVM_CLEAR_DIRTY_LOG, log));
    }
  }

  @Override
  public String create(int file, long size, long flags) {
    close(file);
    int fd =
        Libc.ioctl(vm, Libc.KVM_CREATE_GUEST_MEMFD, new long[] {size, flags, 0, 0, 0, 0, 0, 0});
    if (fd < 0) {
      return Libc.name(Libc.errno());
    }
    fds.put(file, fd);
    return "ok";
  }

  @Override
  public void close(int file) {
    Integer fd = fds.remove(file);
    if (fd != null) {
      Libc.close(fd);
    }
  }

  @Override
  public void close() {
    fds.values().forEach(Libc::close);
    Libc.close(vm);
  }
}
