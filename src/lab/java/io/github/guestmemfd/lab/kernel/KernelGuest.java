package io.github.guestmemfd.lab.kernel;

import com.sun.jna.Pointer;
import java.util.Locale;
import java.util.concurrent.locks.ReentrantLock;
import java.util.stream.LongStream;

/**
 * A guest of the kernel that runs here: a vCPU of a virtual machine that reads or writes a byte,
 * and says so. Its code and page tables are in memory of its own, in a memslot with the highest
 * number but one, far above the addresses that it can reach. Safe for use by any number of threads.
 */
final class KernelGuest {
  /** Whether the instructions below are those of this machine. */
  static final boolean IS_POSSIBLE = System.getProperty("os.arch").equals("amd64");

  /** One past the last guest address that the guest can reach: its page table has one table. */
  static final long REACH = 512L << 12;

  /** The memslot of the guest itself. */
  static final int SLOT = 32762;

  private static final long PAGE = 4096;
  private static final long HOME = 7L << 32;
  private static final long HOME_BYTES = 8 * PAGE;

  /** Where the guest has its code: addresses of its own, after all that it can reach. */
  private static final long CODE = REACH;

  /** A page of zeroes: a task state that lets the guest do I/O on every port. */
  private static final long TASK_STATE = CODE + PAGE;

  private static final long STORE = CODE + 0x100;

  /** {@code mov al, [rbx]; out 0x10, al; jmp $}. */
  private static final byte[] LOAD_CODE = {
    (byte) 0x8a, 0x03, (byte) 0xe6, 0x10, (byte) 0xeb, (byte) 0xfe
  };

  /** {@code mov [rbx], cl; out 0x10, al; jmp $}. */
  private static final byte[] STORE_CODE = {
    (byte) 0x88, 0x0b, (byte) 0xe6, 0x10, (byte) 0xeb, (byte) 0xfe
  };

  /** Present, writable, for user mode. */
  private static final long ENTRY = 7;

  private static final int EXIT_IO = 2;
  private static final int EXIT_MMIO = 6;
  private static final int EXIT_MEMORY_FAULT = 39;

  // where things are in struct kvm_run
  private static final int IMMEDIATE_EXIT = 1;
  private static final int EXIT_REASON = 8;
  private static final int IO_DATA_OFFSET = 40;

  private final ReentrantLock lock = new ReentrantLock();
  private final long home;
  private final int vcpu;
  private final long runBytes;
  private final long runAddress;
  private final Pointer run;

  /**
   * Gives a machine a vCPU, with memory for it.
   *
   * @param device the device of KVM
   * @param vm the machine
   */
  KernelGuest(String device, int vm) {
    home = Libc.mmap(0, HOME_BYTES, 3, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS, -1, 0);
    require(home, "mmap");
    build(new Pointer(home));
    long[] region = new long[20];
    region[0] = SLOT;
    region[1] = HOME;
    region[2] = HOME_BYTES;
    region[3] = home;
    require(Libc.ioctl(vm, Libc.KVM_SET_USER_MEMORY_REGION2, region), "the guest's own memslot");
    vcpu = Libc.ioctl(vm, Libc.KVM_CREATE_VCPU, 0);
    require(vcpu, "KVM_CREATE_VCPU");
    int kvm = Libc.open(device, Libc.O_RDWR_CLOEXEC);
    require(kvm, device);
    runBytes = Libc.ioctl(kvm, Libc.KVM_GET_VCPU_MMAP_SIZE, 0);
    long[] cpuid = new long[1 + 5 * 256];
    cpuid[0] = 256;
    require(Libc.ioctl(kvm, Libc.KVM_GET_SUPPORTED_CPUID, cpuid), "KVM_GET_SUPPORTED_CPUID");
    Libc.close(kvm);
    require(Libc.ioctl(vcpu, Libc.KVM_SET_CPUID2, cpuid), "KVM_SET_CPUID2");
    runAddress = Libc.mmap(0, runBytes, 3, Libc.MAP_SHARED, vcpu, 0);
    require(runAddress, "mmap of a vCPU");
    run = new Pointer(runAddress);
    setMode();
  }

  private static void require(long result, String what) {
    if (result == -1) {
      throw new IllegalStateException(what + ": " + Libc.name(Libc.errno()));
    }
  }

  void close() {
    Libc.munmap(runAddress, runBytes);
    Libc.close(vcpu);
    Libc.munmap(home, HOME_BYTES);
  }

  /** The entries of the pages that it can reach, none of them written. */
  private static final long[] CLEAN =
      LongStream.range(0, REACH / PAGE).map(page -> page * PAGE | ENTRY).toArray();

  /** Code in the first page, then tables: below {@link #REACH} a page is at its own address. */
  private static void build(Pointer memory) {
    memory.write(0, LOAD_CODE, 0, LOAD_CODE.length);
    memory.write(STORE - CODE, STORE_CODE, 0, STORE_CODE.length);
    memory.setLong(PAGE, table(2)); // the root: one table of gigabytes
    memory.setLong(2 * PAGE, table(3)); // the first gigabyte
    memory.setLong(3 * PAGE, table(4));
    memory.setLong(3 * PAGE + 8, table(5));
    memory.write(4 * PAGE, CLEAN, 0, CLEAN.length);
    memory.setLong(5 * PAGE, table(0)); // the code
    memory.setLong(5 * PAGE + 8, table(6)); // the task state
  }

  private static long table(int page) {
    return HOME + page * PAGE | ENTRY;
  }

  /** User mode of 64 bits, with paging, and allowed to do port I/O. */
  private void setMode() {
    long[] sregs = new long[39];
    require(Libc.ioctl(vcpu, Libc.KVM_GET_SREGS, sregs), "KVM_GET_SREGS");
    segment(sregs, 0, 0x0b, 8 | 3, false); // cs
    for (int data = 1; data < 6; data++) {
      segment(sregs, data, 0x03, 16 | 3, true);
    }
    sregs[18] = TASK_STATE; // tr
    sregs[28] = 0x80050033L; // cr0: PG, AM, WP, NE, ET, MP, PE
    sregs[30] = HOME + PAGE; // cr3
    sregs[31] = 0x20; // cr4: PAE
    sregs[33] = 0x501; // efer: LMA, LME, SCE
    require(Libc.ioctl(vcpu, Libc.KVM_SET_SREGS, sregs), "KVM_SET_SREGS");
  }

  /** A flat segment of user mode: base, limit, selector and type, and seven bits in bytes. */
  private static void segment(long[] sregs, int number, int type, int selector, boolean isData) {
    sregs[3 * number] = 0;
    sregs[3 * number + 1] = 0xffff_ffffL | (long) selector << 32 | (long) type << 48 | 1L << 56;
    long dpl = 3;
    long db = isData ? 1 : 0;
    long s = 1;
    long l = isData ? 0 : 1;
    long g = 1;
    sregs[3 * number + 2] = dpl | db << 8 | s << 16 | l << 24 | g << 32;
  }

  /** Reads a byte. */
  String load(long gpa) {
    return execute(CODE, gpa, 0, true);
  }

  /** Writes a byte. */
  String store(long gpa, byte value) {
    return execute(STORE, gpa, value, false);
  }

  private String execute(long code, long gpa, long value, boolean isLoad) {
    if (gpa < 0 || gpa >= REACH) {
      throw new IllegalArgumentException(
          "expected a guest address below " + REACH + ", actual " + gpa);
    }
    lock.lock();
    try {
      // KVM maps a page that is only read for writing, and logs it as dirty, if the guest's entry
      // says that it has been written: by a store that ended as MMIO, for instance.
      new Pointer(home).write(4 * PAGE, CLEAN, 0, CLEAN.length);
      long[] regs = new long[18];
      regs[1] = gpa; // rbx
      regs[2] = value & 0xff; // rcx
      regs[16] = code; // rip
      regs[17] = 0x3002; // rflags: IOPL 3
      require(Libc.ioctl(vcpu, Libc.KVM_SET_REGS, regs), "KVM_SET_REGS");
      int result;
      do {
        result = Libc.ioctl(vcpu, Libc.KVM_RUN, 0);
      } while (result < 0 && Libc.errno() == Libc.EINTR);
      int errno = Libc.errno();
      return result < 0 ? refused(errno) : exited(isLoad);
    } finally {
      lock.unlock();
    }
  }

  private String refused(int errno) {
    boolean isFault = run.getInt(EXIT_REASON) == EXIT_MEMORY_FAULT;
    return isFault && errno == Libc.EFAULT ? "MEMORY_FAULT" : Libc.name(errno);
  }

  private String exited(boolean isLoad) {
    int reason = run.getInt(EXIT_REASON);
    String answer =
        switch (reason) {
          case EXIT_IO ->
              isLoad
                  ? String.format(
                      Locale.ROOT, "0x%02x", run.getByte(run.getLong(IO_DATA_OFFSET)) & 0xff)
                  : "ok";
          case EXIT_MMIO -> "MMIO";
          default -> throw new IllegalStateException("the guest exited for " + reason);
        };
    run.setByte(IMMEDIATE_EXIT, (byte) 1); // ends the instruction, and no other begins
    Libc.ioctl(vcpu, Libc.KVM_RUN, 0);
    run.setByte(IMMEDIATE_EXIT, (byte) 0);
    return answer;
  }
}
