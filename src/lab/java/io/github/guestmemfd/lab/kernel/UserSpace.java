package io.github.guestmemfd.lab.kernel;

/**
 * The system calls of one process on its addresses. Each answers as the kernel does: below 0, the
 * number of an error, negated.
 */
interface UserSpace {
  /** The JVM's own. */
  UserSpace OWN = new OwnSpace();

  /** See mmap(2). */
  long mmap(long address, long length, int prot, int flags, int fd, long offset);

  /** See munmap(2). */
  long munmap(long address, long length);

  /** See mprotect(2). */
  long mprotect(long address, long length, int prot);

  /** See mremap(2), with the flags MREMAP_MAYMOVE and MREMAP_FIXED. */
  long mremap(long address, long oldLength, long newLength, long newAddress);

  /** See madvise(2). */
  long madvise(long address, long length, int advice);

  /** See mbind(2), of up to 64 nodes and without flags. */
  long mbind(long address, long length, int mode, long nodes);

  /**
   * See get_mempolicy(2), of an address.
   *
   * @param policy receives the mode and the nodes
   */
  long mempolicy(long address, long[] policy);

  /** See mincore(2), of one page; its answer is thrown away. */
  long mincore(long page);

  /** See read(2). */
  long read(int fd, long address, long length);

  /** See write(2). */
  long write(int fd, long address, long length);

  /** See vmsplice(2), of one range, with the flag SPLICE_F_NONBLOCK. */
  long vmsplice(int fd, long address, long length);

  /** Forks it. */
  ForkedProcess fork();

  /** By the C library. */
  final class OwnSpace implements UserSpace {
    private OwnSpace() {}

    private static long answer(long result) {
      return result == -1 ? -Libc.errno() : result;
    }

    @Override
    public long mmap(long address, long length, int prot, int flags, int fd, long offset) {
      return answer(Libc.mmap(address, length, prot, flags, fd, offset));
    }

    @Override
    public long munmap(long address, long length) {
      return answer(Libc.munmap(address, length));
    }

    @Override
    public long mprotect(long address, long length, int prot) {
      return answer(Libc.mprotect(address, length, prot));
    }

    @Override
    public long mremap(long address, long oldLength, long newLength, long newAddress) {
      int flags = Libc.MREMAP_MAYMOVE | Libc.MREMAP_FIXED;
      return answer(Libc.mremap(address, oldLength, newLength, flags, newAddress));
    }

    @Override
    public long madvise(long address, long length, int advice) {
      return answer(Libc.madvise(address, length, advice));
    }

    @Override
    public long mbind(long address, long length, int mode, long nodes) {
      long[] mask = {nodes};
      return answer(Libc.syscall(Libc.SYS_MBIND, address, length, mode, mask, Long.SIZE + 1, 0));
    }

    @Override
    public long mempolicy(long address, long[] policy) {
      int[] mode = new int[1];
      long[] mask = new long[1];
      long result =
          answer(
              Libc.syscall(
                  Libc.SYS_GET_MEMPOLICY, mode, mask, Long.SIZE, address, Libc.MPOL_F_ADDR));
      policy[0] = mode[0];
      policy[1] = mask[0];
      return result;
    }

    @Override
    public long mincore(long page) {
      return answer(Libc.mincore(page, KernelExecutor.PAGE_SIZE, new byte[1]));
    }

    @Override
    public long read(int fd, long address, long length) {
      return answer(Libc.read(fd, address, length));
    }

    @Override
    public long write(int fd, long address, long length) {
      return answer(Libc.write(fd, address, length));
    }

    @Override
    public long vmsplice(int fd, long address, long length) {
      long[] vector = {address, length};
      return answer(Libc.vmsplice(fd, vector, 1, Libc.SPLICE_F_NONBLOCK));
    }

    @Override
    public ForkedProcess fork() {
      return ForkedProcess.ofJvm();
    }
  }
}
