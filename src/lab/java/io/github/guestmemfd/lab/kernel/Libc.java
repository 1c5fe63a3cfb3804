package io.github.guestmemfd.lab.kernel;

import com.sun.jna.Native;
import java.util.Locale;

/**
 * The system calls of the C library that the oracle needs, and the kernel's numbers for them. Each
 * returns what it returns in C; after -1, call {@link #errno} next, in the same thread. Addresses
 * are plain numbers: nothing here lets the JVM itself touch what they point to.
 */
final class Libc {
  static final int O_RDWR_CLOEXEC = 0x2 | 0x80000;
  static final int O_CLOEXEC = 0x80000;
  static final int F_SETPIPE_SZ = 1031;
  static final int F_ADD_SEALS = 1033;
  static final int F_GET_SEALS = 1034;
  static final int F_SEAL_WRITE = 8;
  static final int SYNC_FILE_RANGE_WRITE = 2;
  static final int POSIX_FADV_DONTNEED = 4;
  static final int SPLICE_F_NONBLOCK = 2;
  static final int AT_EMPTY_PATH = 0x1000;
  static final int STATX_BASIC_STATS = 0x7ff;
  static final int SYS_CACHESTAT = 451;

  private static final boolean IS_AMD64 = System.getProperty("os.arch").equals("amd64");

  /** On other machines, as on arm64. */
  static final int SYS_MBIND = IS_AMD64 ? 237 : 235;

  static final int SYS_GET_MEMPOLICY = IS_AMD64 ? 239 : 236;
  static final int MPOL_F_ADDR = 2;

  static final int PROT_NONE = 0;
  static final int PROT_READ = 1;
  static final int PROT_WRITE = 2;
  static final int PROT_EXEC = 4;
  static final int MAP_SHARED = 1;
  static final int MAP_PRIVATE = 2;
  static final int MAP_ANONYMOUS = 0x20;
  static final int MAP_NORESERVE = 0x4000;
  static final int MAP_FIXED_NOREPLACE = 0x100000;
  static final int MREMAP_MAYMOVE = 1;
  static final int MREMAP_FIXED = 2;

  static final int EINTR = 4;
  static final int ENOMEM = 12;
  static final int EFAULT = 14;
  static final int EEXIST = 17;

  static final long KVM_CREATE_VM = 0xae01;
  static final long KVM_CHECK_EXTENSION = 0xae03;
  static final long KVM_SET_USER_MEMORY_REGION2 = 0x40a0ae49L;
  static final long KVM_GET_VCPU_MMAP_SIZE = 0xae04;
  static final long KVM_CREATE_VCPU = 0xae41;
  static final long KVM_RUN = 0xae80;
  static final long KVM_SET_REGS = 0x4090ae82L;
  static final long KVM_GET_SREGS = 0x8138ae83L;
  static final long KVM_SET_SREGS = 0x4138ae84L;
  static final long KVM_GET_SUPPORTED_CPUID = 0xc008ae05L;
  static final long KVM_SET_CPUID2 = 0x4008ae90L;
  static final long KVM_CREATE_GUEST_MEMFD = 0xc040aed4L;
  static final long KVM_SET_MEMORY_ATTRIBUTES2 = 0xc080aed2L;
  static final long KVM_CAP_GUEST_MEMFD = 234;
  static final long KVM_CAP_GUEST_MEMFD_FLAGS = 244;
  static final int KVM_MEM_LOG_DIRTY_PAGES = 1;
  static final int KVM_MEM_GUEST_MEMFD = 4;
  static final long KVM_GET_DIRTY_LOG = 0x4010ae42L;
  static final long KVM_CLEAR_DIRTY_LOG = 0xc018aec0L;
  static final long KVM_SET_MEMORY_ATTRIBUTES = 0x4020aed2L;
  static final long KVM_MEMORY_ATTRIBUTE_PRIVATE = 8;

  static {
    Native.register(Libc.class, "c");
  }

  private Libc() {}

  static native int getpagesize();

  static native int open(String path, int flags);

  static native int close(int fd);

  static native int dup(int fd);

  static native int fcntl(int fd, int command, long argument);

  static native int ftruncate(int fd, long length);

  static native long pread(int fd, byte[] into, long length, long offset);

  static native long pwrite(int fd, byte[] from, long length, long offset);

  static native long lseek(int fd, long offset, int whence);

  static native int fsync(int fd);

  static native int fdatasync(int fd);

  static native int sync_file_range(int fd, long offset, long length, int flags);

  /** Returns the number of the error itself. */
  static native int posix_fadvise(int fd, long offset, long length, int advice);

  static native long readahead(int fd, long offset, long length);

  static native int fchmod(int fd, int mode);

  static native int fchown(int fd, int owner, int group);

  static native int futimens(int fd, long[] times);

  static native int fallocate(int fd, int mode, long offset, long length);

  static native int statx(int fd, String path, int flags, int mask, byte[] status);

  static native int ioctl(int fd, long request, long argument);

  static native int ioctl(int fd, long request, long[] argument);

  static native long syscall(long number, long fd, long[] range, long[] status, long flags);

  static native long syscall(
      long number, long address, long length, long mode, long[] nodes, long count, long flags);

  static native long syscall(
      long number, int[] mode, long[] nodes, long count, long address, long flags);

  static native long mmap(long address, long length, int prot, int flags, int fd, long offset);

  static native int munmap(long address, long length);

  static native int mprotect(long address, long length, int prot);

  static native long mremap(
      long address, long oldLength, long newLength, int flags, long newAddress);

  static native int mincore(long address, long length, byte[] pages);

  static native int madvise(long address, long length, int advice);

  static native int waitpid(int pid, long status, int options);

  static native int pipe2(int[] fds, int flags);

  static native long read(int fd, long address, long length);

  static native long read(int fd, byte[] into, long length);

  static native long write(int fd, long address, long length);

  static native long write(int fd, byte[] from, long length);

  static native long vmsplice(int fd, long[] vectors, long count, int flags);

  /** The number of the last call's error, of this thread. */
  static int errno() {
    return Native.getLastError();
  }

  /** The name of an error, as a trace has it. */
  static String name(int errno) {
    return switch (errno) {
      case 1 -> "EPERM";
      case 2 -> "ENOENT";
      case EINTR -> "EINTR";
      case 5 -> "EIO";
      case 6 -> "ENXIO";
      case 9 -> "EBADF";
      case 11 -> "EAGAIN";
      case ENOMEM -> "ENOMEM";
      case 13 -> "EACCES";
      case EFAULT -> "EFAULT";
      case 16 -> "EBUSY";
      case EEXIST -> "EEXIST";
      case 19 -> "ENODEV";
      case 20 -> "ENOTDIR";
      case 21 -> "EISDIR";
      case 22 -> "EINVAL";
      case 23 -> "ENFILE";
      case 24 -> "EMFILE";
      case 25 -> "ENOTTY";
      case 27 -> "EFBIG";
      case 29 -> "ESPIPE";
      case 75 -> "EOVERFLOW";
      case 95 -> "EOPNOTSUPP";
      case 133 -> "EHWPOISON";
      default -> String.format(Locale.ROOT, "E%d", errno);
    };
  }
}
